//! Payloads in a stream of the broker, where no object store is given.
//!
//! ```text
//! PREFIX.payloads.DIGEST               the head: the bytes themselves, or how many pieces of which upload they are
//! PREFIX.payloads.DIGEST.UPLOAD.n      a piece
//! ```
//! Pieces are stored first and the head last, so a payload is there whole or not at all. Each upload has pieces of its
//! own: two that meet, perhaps with other versions of the compression, never mix.

use std::{collections::BTreeSet, fs::File, sync::Arc};

use async_nats::{HeaderMap, jetstream::message::StreamMessage};
use async_trait::async_trait;
use blake3::Hash;
use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, FuturesUnordered},
};

use super::{broker::Broker, failure::Failure};
use crate::{
    ByteStream, Error, Payloads, Result as PortResult,
    payloads::{
        blocking,
        encoding::{self, Check, Encoded},
        incoming::{Received, read_part, receive},
        name, parse,
    },
};

const PIECES_HEADER: &str = "Docket-Pieces";
const UPLOAD_HEADER: &str = "Docket-Upload";
/// Size of a piece: half of what servers take by default, so that headers and stricter servers fit in.
const PIECE: usize = 512 << 10;
/// Room for subject and headers within what the server takes.
const OVERHEAD: usize = 4 << 10;
/// Pieces that are stored at once, by each who stores.
const UNDER_WAY: usize = 4;
/// Pieces that are read at once where all of the payload is wanted in memory.
const READ_AHEAD: usize = 8;

/// Payloads of a broker.
pub(super) struct JetStreamPayloads {
    broker: Arc<Broker>,
    stream: String,
    subjects: String,
    piece: usize,
}

/// What was found under a digest.
struct Found {
    head: StreamMessage,
    /// `None` if pieces are missing.
    stored: Option<Bytes>,
}

/// Encoded bytes that are to be stored.
enum Source {
    Bytes(Bytes),
    File { file: Arc<File>, length: usize },
}

impl Source {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File { length, .. } => *length,
        }
    }

    async fn part(&self, start: usize, most: usize) -> Result<Bytes, Failure> {
        let end = self.len().min(start + most);
        match self {
            Self::Bytes(bytes) => Ok(bytes.slice(start..end)),
            Self::File { file, .. } => read_part(file, start as u64, end - start).await.map_err(Failure::File),
        }
    }
}

impl JetStreamPayloads {
    pub(super) async fn open(broker: Arc<Broker>) -> Result<Self, Failure> {
        let (stream, subjects) = (format!("{}-payloads", broker.prefix), format!("{}.payloads", broker.prefix));
        let config = async_nats::jetstream::stream::Config {
            max_messages_per_subject: 1,
            ..broker.stream(&stream, &format!("{subjects}.>"))
        };
        broker.ensure_stream(&config).await?;
        let piece = PIECE.min(broker.client.max_payload().saturating_sub(OVERHEAD)).max(1);
        Ok(Self { broker, stream, subjects, piece })
    }

    fn head_subject(&self, digest: &Hash) -> String {
        format!("{}.{}", self.subjects, digest.to_hex())
    }

    async fn find(&self, digest: &Hash) -> Result<Option<Found>, Failure> {
        let subject = self.head_subject(digest);
        let Some(head) = self.broker.last(&self.stream, &subject).await? else { return Ok(None) };
        let Some((upload, pieces)) = pieces(&head) else {
            let stored = Some(head.payload.clone());
            return Ok(Some(Found { head, stored }));
        };
        let reads = (0..pieces).map(|piece| {
            let subject = format!("{subject}.{upload}.{piece}");
            async move { self.broker.last(&self.stream, &subject).await }
        });
        let found: Vec<Option<StreamMessage>> = stream::iter(reads).buffered(READ_AHEAD).try_collect().await?;
        let mut stored = BytesMut::new();
        for piece in &found {
            match piece {
                Some(piece) => stored.extend_from_slice(&piece.payload),
                None => return Ok(Some(Found { head, stored: None })),
            }
        }
        Ok(Some(Found { head, stored: Some(stored.freeze()) }))
    }

    /// Whether what lies under this head is the payload, whole; holds one piece of it at a time.
    async fn is_sound(&self, digest: &Hash, head: &StreamMessage) -> PortResult<bool> {
        let failed = |failure: Failure| failure.during("look for a payload");
        let mut check = Check::default();
        let Some((upload, pieces)) = pieces(head) else {
            check.write(&head.payload);
            return Ok(check.matches(digest));
        };
        for piece in 0..pieces {
            let subject = format!("{}.{upload}.{piece}", self.head_subject(digest));
            let Some(piece) = self.broker.last(&self.stream, &subject).await.map_err(failed)? else { return Ok(false) };
            let checked = blocking("check a payload", move || {
                check.write(&piece.payload);
                check
            });
            check = checked.await?;
        }
        Ok(check.matches(digest))
    }

    /// Stores what was written to a temporary file, unless it is there.
    async fn upload(&self, filed: Encoded<File>) -> PortResult<(String, u64)> {
        let Encoded { writer: file, stored, digest, length } = filed;
        let head = self.broker.last(&self.stream, &self.head_subject(&digest)).await;
        let head = head.map_err(|failure| failure.during("look for a payload"))?;
        // One that is sound stays: whoever is reading it would find its pieces replaced.
        if let Some(head) = &head
            && self.is_sound(&digest, head).await?
        {
            return Ok((name(digest), length));
        }
        let stored = usize::try_from(stored)
            .map_err(|source| Error::Store { action: "store a payload", source: source.into() })?;
        let source = Source::File { file: Arc::new(file), length: stored };
        let put = self.store(&digest, source, head).await;
        put.map(|()| (name(digest), length)).map_err(|failure| failure.during("store a payload"))
    }

    async fn store(&self, digest: &Hash, stored: Source, before: Option<StreamMessage>) -> Result<(), Failure> {
        let subject = self.head_subject(digest);
        let mut headers = HeaderMap::new();
        let expected = before.as_ref().map_or(0, |before| before.sequence);
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        let (head, upload) = if stored.len() <= self.piece {
            (stored.part(0, self.piece).await?, None)
        } else {
            let upload = self.broker.client.new_inbox().replace('.', "-");
            let pieces = stored.len().div_ceil(self.piece);
            let mut under_way = FuturesUnordered::new();
            for piece in 0..pieces {
                let part = stored.part(piece * self.piece, self.piece).await?;
                under_way.push(self.publish_piece(format!("{subject}.{upload}.{piece}"), part));
                if under_way.len() == UNDER_WAY {
                    under_way.try_next().await?;
                }
            }
            under_way.try_collect::<()>().await?;
            headers.insert(PIECES_HEADER, pieces.to_string());
            headers.insert(UPLOAD_HEADER, upload.as_str());
            (Bytes::new(), Some(upload))
        };
        let replaced = match self.broker.publish(&subject, headers, head).await {
            Ok(_) => before.as_ref().and_then(pieces).map(|(upload, _)| upload),
            // Somebody else has stored the same: our pieces are of no use.
            Err(failure) if failure.is_conflict() => upload,
            Err(failure) => return Err(failure),
        };
        match replaced {
            Some(upload) => self.broker.purge(&self.stream, &format!("{subject}.{upload}.*"), None).await,
            None => Ok(()),
        }
    }

    async fn publish_piece(&self, subject: String, piece: Bytes) -> Result<(), Failure> {
        self.broker.publish(&subject, HeaderMap::new(), piece).await.map(drop)
    }

    /// The server overwrites each message: what is purged stays in its files for a while.
    async fn remove(&self, digest: &Hash) -> Result<(), Failure> {
        let subject = self.head_subject(digest);
        self.broker.erase(&self.stream, &subject).await?;
        let mut pieces = Vec::new();
        self.broker.subjects(&self.stream, &format!("{subject}.>"), |piece| pieces.push(piece)).await?;
        let erased: Vec<_> = pieces.iter().map(|piece| self.broker.erase(&self.stream, piece)).collect();
        stream::iter(erased).buffered(UNDER_WAY).try_collect().await
    }

    async fn digests(&self, after: Option<&str>, limit: usize) -> Result<BTreeSet<String>, Failure> {
        let start = self.subjects.len() + 1;
        let mut digests = BTreeSet::new();
        // Pieces without a head are what a process that died has left: listed too, so that they are cleared away.
        self.broker
            .subjects(&self.stream, &format!("{}.>", self.subjects), |subject| {
                let digest = subject.get(start..).and_then(|rest| rest.split('.').next()).and_then(parse);
                digests.extend(digest.map(name).filter(|digest| after.is_none_or(|after| digest.as_str() > after)));
                if digests.len() > limit {
                    digests.pop_last();
                }
            })
            .await?;
        Ok(digests)
    }
}

/// The upload of a payload that lies in pieces, and how many there are.
fn pieces(head: &StreamMessage) -> Option<(String, usize)> {
    let pieces = head.headers.get(PIECES_HEADER)?.as_str().parse().ok()?;
    Some((head.headers.get(UPLOAD_HEADER)?.as_str().to_owned(), pieces))
}

#[async_trait]
impl Payloads for JetStreamPayloads {
    async fn put(&self, bytes: Bytes) -> PortResult<String> {
        let digest = {
            let bytes = bytes.clone();
            blocking("name a payload", move || blake3::hash(&bytes)).await?
        };
        let found = self.find(&digest).await.map_err(|failure| failure.during("look for a payload"))?;
        let mut before = None;
        if let Some(found) = found {
            // What is there is read, not trusted: a damaged payload is healed by putting it again.
            if let Some(stored) = found.stored
                && blocking("check a payload", move || encoding::decode(stored, &digest)).await?.is_some()
            {
                return Ok(name(digest));
            }
            before = Some(found.head);
        }
        let stored = blocking("compress a payload", move || Bytes::from(encoding::encode(&bytes))).await?;
        let put = self.store(&digest, Source::Bytes(stored), before).await;
        put.map(|()| name(digest)).map_err(|failure| failure.during("store a payload"))
    }

    async fn put_stream(&self, bytes: ByteStream<'_>) -> PortResult<(String, u64)> {
        match receive(bytes, tempfile::tempfile).await? {
            Received::Gathered(bytes) => {
                let length = bytes.len() as u64;
                self.put(bytes).await.map(|digest| (digest, length))
            }
            Received::Filed(filed) => self.upload(filed).await,
        }
    }

    async fn get(&self, digest: &str) -> PortResult<Bytes> {
        let not_found = || Error::NotFound { name: digest.to_owned() };
        let damaged = || Error::Damaged { digest: digest.to_owned() };
        let failed = |failure: Failure| failure.during("read a payload");
        let hash = parse(digest).ok_or_else(not_found)?;
        let found = self.find(&hash).await.map_err(failed)?.ok_or_else(not_found)?;
        let Some(stored) = found.stored else {
            // Its head is removed first: perhaps it is being deleted right now.
            let head = self.broker.last(&self.stream, &self.head_subject(&hash)).await.map_err(failed)?;
            return Err(if head.is_some() { damaged() } else { not_found() });
        };
        blocking("read a payload", move || encoding::decode(stored, &hash)).await?.ok_or_else(damaged)
    }

    async fn contains(&self, digest: &str) -> PortResult<bool> {
        let Some(hash) = parse(digest) else { return Ok(false) };
        let head = self.broker.last(&self.stream, &self.head_subject(&hash)).await;
        head.map(|head| head.is_some()).map_err(|failure| failure.during("look for a payload"))
    }

    async fn delete(&self, digest: &str) -> PortResult<()> {
        let Some(hash) = parse(digest) else { return Ok(()) };
        self.remove(&hash).await.map_err(|failure| failure.during("delete a payload"))
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> PortResult<Vec<String>> {
        let digests = self.digests(after, limit).await.map_err(|failure| failure.during("list payloads"))?;
        Ok(digests.into_iter().collect())
    }

    async fn scrub(&self) -> PortResult<()> {
        Ok(())
    }
}
