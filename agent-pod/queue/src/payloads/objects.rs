//! Payloads as objects, one each, named by digest: `ab/cdef…`.

use std::sync::Arc;

use async_trait::async_trait;
use blake3::Hash;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path};

use super::{blocking, encoding, name, parse};
use crate::{Error, Payloads, Result};

/// Folders that are listed at once.
const LISTED_AT_ONCE: usize = 8;

/// Payloads of one object store.
pub(super) struct ObjectPayloads {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl ObjectPayloads {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, prefix }
    }

    fn path(&self, digest: &Hash) -> Path {
        let hex = digest.to_hex();
        let (start, rest) = hex.split_at(2);
        self.prefix.clone().join(start).join(rest)
    }

    async fn stored(&self, digest: &Hash) -> Result<Option<Bytes>> {
        let found = async { self.store.get(&self.path(digest)).await?.bytes().await };
        match found.await {
            Ok(stored) => Ok(Some(stored)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("read a payload", error)),
        }
    }

    async fn write(&self, digest: &Hash, stored: Bytes, mode: PutMode) -> std::result::Result<(), StoreError> {
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store.put_opts(&self.path(digest), stored.into(), options).await.map(drop)
    }
}

#[async_trait]
impl Payloads for ObjectPayloads {
    async fn put(&self, bytes: Bytes) -> Result<String> {
        let digest = {
            let bytes = bytes.clone();
            blocking("name a payload", move || blake3::hash(&bytes)).await?
        };
        let stored = blocking("compress a payload", move || Bytes::from(encoding::encode(&bytes))).await?;
        match self.write(&digest, stored.clone(), PutMode::Create).await {
            Ok(()) => return Ok(name(digest)),
            // A store that cannot refuse what is there already is asked whether it is there.
            Err(StoreError::AlreadyExists { .. } | StoreError::NotImplemented { .. }) => {}
            Err(error) => return Err(failed("store a payload", error)),
        }
        // What is there is read, not trusted: a damaged payload is healed by putting it again.
        if let Some(there) = self.stored(&digest).await?
            && blocking("check a payload", move || encoding::decode(there, &digest)).await?.is_some()
        {
            return Ok(name(digest));
        }
        let written = self.write(&digest, stored, PutMode::Overwrite).await;
        written.map(|()| name(digest)).map_err(|error| failed("store a payload", error))
    }

    async fn get(&self, digest: &str) -> Result<Bytes> {
        let not_found = || Error::NotFound { name: digest.to_owned() };
        let hash = parse(digest).ok_or_else(not_found)?;
        let stored = self.stored(&hash).await?.ok_or_else(not_found)?;
        blocking("read a payload", move || encoding::decode(stored, &hash))
            .await?
            .ok_or_else(|| Error::Damaged { digest: digest.to_owned() })
    }

    async fn contains(&self, digest: &str) -> Result<bool> {
        let Some(hash) = parse(digest) else { return Ok(false) };
        match self.store.head(&self.path(&hash)).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("look for a payload", error)),
        }
    }

    async fn delete(&self, digest: &str) -> Result<()> {
        let Some(hash) = parse(digest) else { return Ok(()) };
        match self.store.delete(&self.path(&hash)).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete a payload", error)),
        }
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let top = self.store.list_with_delimiter(Some(&self.prefix)).await;
        let mut folders = top.map_err(|error| failed("list payloads", error))?.common_prefixes;
        folders.sort_unstable();
        // Folders are named by the first two digits: those before the last digest of the page before have been listed.
        let first = after.and_then(|after| after.get(..2)).unwrap_or_default();
        folders.retain(|folder| folder.filename().is_some_and(|name| name >= first));
        let listed: Vec<_> = folders.iter().map(|folder| self.store.list_with_delimiter(Some(folder))).collect();
        let mut pages = stream::iter(listed).buffered(LISTED_AT_ONCE);
        let mut digests = Vec::new();
        while let Some(page) = pages.try_next().await.map_err(|error| failed("list payloads", error))? {
            for object in &page.objects {
                // Anything else in here was not put by us: leave it alone.
                let mut parts: Vec<_> = object.location.parts().collect();
                let (rest, start) = (parts.pop(), parts.pop());
                if let (Some(start), Some(rest)) = (start, rest) {
                    let digest = parse(&format!("{}{}", start.as_ref(), rest.as_ref())).map(name);
                    digests.extend(digest.filter(|digest| after.is_none_or(|after| digest.as_str() > after)));
                }
            }
            if digests.len() >= limit {
                break;
            }
        }
        digests.sort_unstable();
        digests.truncate(limit);
        Ok(digests)
    }

    async fn scrub(&self) -> Result<()> {
        Ok(())
    }
}

fn failed(action: &'static str, error: StoreError) -> Error {
    Error::Store { action, source: Box::new(error) }
}
