//! Payloads in a map.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;

use super::count_write;
use crate::{ByteStream, Error, Faults, Payloads, Result};

/// Payloads of one process.
pub(super) struct MemoryPayloads {
    payloads: Mutex<BTreeMap<String, Bytes>>,
    faults: Faults,
}

impl MemoryPayloads {
    pub(super) fn new(faults: Faults) -> Self {
        Self { payloads: Mutex::default(), faults }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.payloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Payloads for MemoryPayloads {
    async fn put(&self, bytes: Bytes) -> Result<String> {
        let digest = blake3::hash(&bytes).to_hex().to_string();
        let mut payloads = self.lock();
        count_write(&self.faults, "store a payload")?;
        payloads.entry(digest.clone()).or_insert(bytes);
        Ok(digest)
    }

    async fn put_stream(&self, bytes: ByteStream<'_>) -> Result<(String, u64)> {
        let gather = |mut all: BytesMut, next: Bytes| async move {
            all.extend_from_slice(&next);
            Ok(all)
        };
        let all = bytes.try_fold(BytesMut::new(), gather).await.map_err(Error::Source)?.freeze();
        let length = all.len() as u64;
        self.put(all).await.map(|digest| (digest, length))
    }

    async fn get(&self, digest: &str) -> Result<Bytes> {
        self.lock().get(digest).cloned().ok_or_else(|| Error::NotFound { name: digest.to_owned() })
    }

    async fn contains(&self, digest: &str) -> Result<bool> {
        Ok(self.lock().contains_key(digest))
    }

    async fn delete(&self, digest: &str) -> Result<()> {
        let mut payloads = self.lock();
        count_write(&self.faults, "delete a payload")?;
        payloads.remove(digest);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<String>> {
        Ok(self.lock().keys().cloned().collect())
    }
}
