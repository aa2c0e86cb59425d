//! Records: a key-value bucket, one message a key, changed on the condition of the key's last sequence.
//!
//! The stream has the name and the subjects of a bucket of the broker's own key-value store, so its tools can look inside.
//! Reads go to the stream's leader: a follower may answer with what was. Deleting leaves nothing behind; revisions are
//! sequences of the stream, so none is ever used again.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_nats::{HeaderMap, jetstream::stream::Config, jetstream::stream::DiscardPolicy};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{broker::Broker, failure::Failure, names};
use crate::{Error, Records, Result as PortResult, Versioned};

/// Names a write, so that its writer finds it again when the answer was lost.
const ATTEMPT_HEADER: &str = "Docket-Attempt";
/// Tries of a write whose outcome stays unclear.
const TRIES: usize = 3;
/// Records of a page that are read at once.
const READS_AT_ONCE: usize = 32;

/// The records of one bucket.
pub(super) struct JetStreamRecords {
    broker: Arc<Broker>,
    stream: String,
    subjects: String,
    // Unique together: this store's token, and a count of its writes.
    token: String,
    writes: AtomicU64,
}

impl JetStreamRecords {
    /// Opens the bucket, which is made if it does not exist.
    pub(super) async fn open(broker: Arc<Broker>, bucket: &str) -> Result<Self, Failure> {
        if !names::is_plain(bucket) {
            let problem = format!("\"{bucket}\" is not 1 to 64 letters, digits, \"-\" and \"_\"");
            return Err(Failure::Setting { setting: "records", problem });
        }
        let bucket = format!("{}-{bucket}", broker.prefix);
        let (stream, subjects) = (format!("KV_{bucket}"), format!("$KV.{bucket}"));
        let config = Config {
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: false,
            ..broker.stream(&stream, &format!("{subjects}.>"))
        };
        broker.ensure_stream(&config).await?;
        let token = broker.client.new_inbox();
        Ok(Self { broker, stream, subjects, token, writes: AtomicU64::new(0) })
    }

    fn subject(&self, key: &str) -> String {
        format!("{}.{}", self.subjects, names::path(key))
    }

    async fn read(&self, key: &str) -> Result<Option<Versioned>, Failure> {
        let message = self.broker.last(&self.stream, &self.subject(key)).await?;
        Ok(message.map(|message| Versioned { revision: message.sequence, bytes: message.payload }))
    }

    /// Writes `key` if its revision is `expected` (0: if it does not exist).
    async fn write(&self, key: &str, expected: u64, bytes: Bytes) -> PortResult<u64> {
        let failed = |failure: Failure| failure.during("write a record");
        let conflict = || Error::Conflict { key: key.to_owned() };
        let subject = self.subject(key);
        let attempt = format!("{}.{}", self.token, self.writes.fetch_add(1, Ordering::Relaxed));
        let mut headers = HeaderMap::new();
        headers.insert(ATTEMPT_HEADER, attempt.as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        let mut unclear = None;
        for _ in 0..TRIES {
            match self.broker.publish(&subject, headers.clone(), bytes.clone()).await {
                Ok(revision) => return Ok(revision),
                Err(failure) if failure.is_conflict() && unclear.is_none() => return Err(conflict()),
                // The first try may have been written, and be what stands in the way now.
                Err(failure) if failure.is_conflict() => {}
                Err(failure) if failure.is_unclear() => unclear = Some(failure),
                Err(failure) => return Err(failed(failure)),
            }
            let found = match self.broker.last(&self.stream, &subject).await {
                Ok(found) => found,
                Err(_) => continue,
            };
            let written = found.as_ref().and_then(|found| found.headers.get(ATTEMPT_HEADER));
            match found.as_ref().map_or(0, |found| found.sequence) {
                revision if written.is_some_and(|written| written.as_str() == attempt) => return Ok(revision),
                revision if revision != expected => return Err(conflict()),
                // Not written, or not yet: the next try decides.
                _ => {}
            }
        }
        Err(unclear.map_or_else(conflict, failed))
    }

    /// Up to `limit` keys, in order.
    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<BTreeSet<String>, Failure> {
        let start = self.subjects.len() + 1;
        let mut keys = BTreeSet::new();
        let filter = format!("{}.{}", self.subjects, names::wildcard(prefix));
        self.broker
            .subjects(&self.stream, &filter, |subject| {
                let Some(key) = subject.get(start..).and_then(names::path_of) else { return };
                if key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after) {
                    keys.insert(key);
                    if keys.len() > limit {
                        keys.pop_last();
                    }
                }
            })
            .await?;
        Ok(keys)
    }

    async fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Versioned)>, Failure> {
        let keys = self.keys(prefix, after, limit).await?;
        let reads = keys.into_iter().map(|key| async move {
            let record = self.read(&key).await?;
            Ok::<_, Failure>(record.map(|record| (key, record)))
        });
        // A record that was deleted since its key was listed is not there.
        stream::iter(reads).buffered(READS_AT_ONCE).try_filter_map(async |found| Ok(found)).try_collect().await
    }
}

#[async_trait]
impl Records for JetStreamRecords {
    async fn get(&self, key: &str) -> PortResult<Option<Versioned>> {
        self.read(key).await.map_err(|failure| failure.during("read a record"))
    }

    async fn create(&self, key: &str, bytes: Bytes) -> PortResult<u64> {
        self.write(key, 0, bytes).await
    }

    async fn update(&self, key: &str, revision: u64, bytes: Bytes) -> PortResult<u64> {
        if revision == 0 {
            // No record has this revision; the broker would take it for "does not exist".
            return Err(Error::Conflict { key: key.to_owned() });
        }
        self.write(key, revision, bytes).await
    }

    async fn delete(&self, key: &str) -> PortResult<()> {
        let purged = self.broker.purge(&self.stream, &self.subject(key), None).await;
        purged.map_err(|failure| failure.during("delete a record"))
    }

    async fn remove(&self, key: &str, revision: u64) -> PortResult<()> {
        let failed = |failure: Failure| failure.during("remove a record");
        let subject = self.subject(key);
        // What is newer stays.
        self.broker.purge(&self.stream, &subject, Some(revision.saturating_add(1))).await.map_err(failed)?;
        match self.broker.last(&self.stream, &subject).await.map_err(failed)? {
            Some(_) => Err(Error::Conflict { key: key.to_owned() }),
            None => Ok(()),
        }
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> PortResult<Vec<(String, Versioned)>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.page(prefix, after, limit).await.map_err(|failure| failure.during("read a page of records"))
    }
}
