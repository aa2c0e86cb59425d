//! Payloads: small ones in the state file, where one commit stores many; large ones as files.

use std::{
    io::{self, Read, Seek},
    sync::Arc,
};

use async_trait::async_trait;
use blake3::Hash;
use bytes::Bytes;
use redb::ReadableTable;
use tempfile::NamedTempFile;

use super::{schema::PAYLOADS, writer::Store};
use crate::{
    ByteStream, Error, Payloads, Result,
    payloads::{
        blocking,
        encoding::{self, Encoded},
        files::PayloadFiles,
        incoming::{Received, receive},
        name, parse,
    },
};

/// Encoded payloads up to this size go to the state file: a file of its own would cost two syncs each.
const SMALL: usize = 64 << 10;

/// Payloads of one folder.
pub(super) struct EmbeddedPayloads {
    store: Arc<Store>,
    files: PayloadFiles,
}

impl EmbeddedPayloads {
    pub(super) fn new(store: Arc<Store>, files: PayloadFiles) -> Self {
        Self { store, files }
    }

    /// The stored bytes, from wherever they lie.
    async fn stored(&self, digest: Hash) -> Result<Option<Vec<u8>>> {
        let small = self
            .store
            .read("read a payload", |transaction| {
                let payloads = transaction.open_table(PAYLOADS)?;
                Ok(payloads.get(digest.as_bytes())?.map(|stored| stored.value().to_vec()))
            })
            .await?;
        match small {
            Some(stored) => Ok(Some(stored)),
            None => self.with_files("read a payload", move |files| files.read(&digest)).await,
        }
    }

    async fn in_state_file(&self, digest: Hash) -> Result<bool> {
        self.store
            .read("look for a payload", |transaction| {
                Ok(transaction.open_table(PAYLOADS)?.get(digest.as_bytes())?.is_some())
            })
            .await
    }

    async fn with_files<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&PayloadFiles) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let files = self.files.clone();
        blocking(action, move || work(&files)).await?.map_err(|source| Error::Store { action, source: source.into() })
    }

    /// Gives a payload that was written its name. Where it lies is decided as for one that came at once, so that each lies
    /// in one place.
    async fn keep(&self, filed: Encoded<NamedTempFile>) -> Result<()> {
        let Encoded { writer: mut file, stored, digest, .. } = filed;
        if stored <= SMALL as u64 {
            let read = move |_: &PayloadFiles| {
                let mut bytes = Vec::new();
                file.rewind()?;
                file.read_to_end(&mut bytes)?;
                Ok(bytes)
            };
            let bytes = self.with_files("store a payload", read).await?;
            return self.write_small(digest, bytes).await;
        }
        self.with_files("store a payload", move |files| files.keep(file, &digest)).await?;
        self.remove_small(digest).await
    }

    /// The state file's bytes would be read before a file's.
    async fn remove_small(&self, digest: Hash) -> Result<()> {
        if !self.in_state_file(digest).await? {
            return Ok(());
        }
        self.store
            .write("delete a payload", move |batch| {
                if batch.payloads.remove(digest.as_bytes())?.is_some() {
                    batch.mark_changed();
                }
                Ok(())
            })
            .await
    }

    async fn write_small(&self, digest: Hash, stored: Vec<u8>) -> Result<()> {
        self.store
            .write("store a payload", move |batch| {
                batch.payloads.insert(digest.as_bytes(), stored.as_slice())?;
                batch.mark_changed();
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl Payloads for EmbeddedPayloads {
    async fn put(&self, bytes: Bytes) -> Result<String> {
        let payload = bytes.clone();
        let digest = blocking("name a payload", move || blake3::hash(&payload)).await?;
        // What is there is read, not trusted: a damaged payload is healed by putting it again.
        if let Some(stored) = self.stored(digest).await?
            && blocking("check a payload", move || encoding::decode(stored.into(), &digest)).await?.is_some()
        {
            return Ok(name(digest));
        }
        let stored = blocking("compress a payload", move || encoding::encode(&bytes)).await?;
        if stored.len() <= SMALL {
            self.write_small(digest, stored).await?;
        } else {
            self.with_files("store a payload", move |files| files.write(&digest, &stored)).await?;
        }
        Ok(name(digest))
    }

    async fn put_stream(&self, bytes: ByteStream<'_>) -> Result<(String, u64)> {
        let files = self.files.clone();
        match receive(bytes, move || files.begin()).await? {
            Received::Gathered(bytes) => {
                let length = bytes.len() as u64;
                self.put(bytes).await.map(|digest| (digest, length))
            }
            Received::Filed(filed) => {
                let (digest, length) = (filed.digest, filed.length);
                self.keep(filed).await.map(|()| (name(digest), length))
            }
        }
    }

    async fn get(&self, digest: &str) -> Result<Bytes> {
        let not_found = || Error::NotFound { name: digest.to_owned() };
        let hash = parse(digest).ok_or_else(not_found)?;
        let stored = self.stored(hash).await?.ok_or_else(not_found)?;
        blocking("read a payload", move || encoding::decode(stored.into(), &hash))
            .await?
            .ok_or_else(|| Error::Damaged { digest: digest.to_owned() })
    }

    async fn contains(&self, digest: &str) -> Result<bool> {
        let Some(hash) = parse(digest) else { return Ok(false) };
        Ok(self.in_state_file(hash).await?
            || self.with_files("look for a payload", move |files| files.contains(&hash)).await?)
    }

    async fn delete(&self, digest: &str) -> Result<()> {
        let Some(hash) = parse(digest) else { return Ok(()) };
        self.remove_small(hash).await?;
        self.with_files("delete a payload", move |files| files.remove(&hash)).await
    }

    async fn list(&self) -> Result<Vec<String>> {
        let mut digests = self
            .store
            .read("list payloads", |transaction| {
                let mut digests = Vec::new();
                for row in transaction.open_table(PAYLOADS)?.iter()? {
                    digests.push(name(Hash::from_bytes(*row?.0.value())));
                }
                Ok(digests)
            })
            .await?;
        let files = self.with_files("list payloads", PayloadFiles::list).await?;
        digests.extend(files.into_iter().map(name));
        digests.sort_unstable();
        digests.dedup();
        Ok(digests)
    }
}
