//! Payloads that a sweep cannot take away from those who are about to refer to them: every store is opened with this in front.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{blocking, name, parse};
use crate::{ByteStream, Condemned, Error, Payloads, Records, Result};

/// Payloads whose writers keep them; see [`Condemned`].
pub(crate) struct GuardedPayloads {
    inner: Arc<dyn Payloads>,
    condemned: Condemned,
}

/// The name of a payload among those that are condemned.
pub fn condemned_name(digest: &str) -> String {
    format!("payloads/{digest}")
}

impl GuardedPayloads {
    pub(crate) fn over(inner: Arc<dyn Payloads>, records: &Arc<dyn Records>) -> Arc<dyn Payloads> {
        Arc::new(Self { inner, condemned: Condemned::new(Arc::clone(records)) })
    }
}

#[async_trait]
impl Payloads for GuardedPayloads {
    async fn put(&self, bytes: Bytes) -> Result<String> {
        let digest = {
            let bytes = bytes.clone();
            name(blocking("name a payload", move || blake3::hash(&bytes)).await?)
        };
        // Before the store looks whether it has them: see the guarantee of `Condemned`.
        self.condemned.keep(&condemned_name(&digest)).await?;
        self.inner.put(bytes).await
    }

    async fn put_stream(&self, bytes: ByteStream<'_>) -> Result<(String, u64)> {
        let stored = self.inner.put_stream(bytes).await?;
        // The name is known only now, so the store may have found bytes that were being removed. What is there once they are
        // kept stays; what is not has to be sent again.
        self.condemned.keep(&condemned_name(&stored.0)).await?;
        if !self.inner.contains(&stored.0).await? {
            let source = "the same bytes were being removed as they came; send them again".into();
            return Err(Error::Store { action: "store a payload", source });
        }
        Ok(stored)
    }

    async fn get(&self, digest: &str) -> Result<Bytes> {
        self.inner.get(digest).await
    }

    async fn contains(&self, digest: &str) -> Result<bool> {
        // A payload that is being removed is not there any more.
        let kept = parse(digest).is_some() && self.condemned.keep_now(&condemned_name(digest)).await?;
        Ok(kept && self.inner.contains(digest).await?)
    }

    async fn delete(&self, digest: &str) -> Result<()> {
        self.inner.delete(digest).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.inner.list(after, limit).await
    }

    async fn scrub(&self) -> Result<()> {
        self.inner.scrub().await
    }
}
