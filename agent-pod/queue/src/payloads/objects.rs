//! Payloads as objects, one each, named by digest: `ab/cdef…`.

use std::{fs::File, io, sync::Arc};

use async_trait::async_trait;
use blake3::Hash;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    Error as StoreError, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path,
};
use tempfile::NamedTempFile;
use tokio::runtime::Handle;

use super::{
    blocking,
    encoding::{self, Encoded},
    files::PayloadFiles,
    hidden::Hidden,
    incoming::{Received, read_part, receive},
    name, parse,
};
use crate::{ByteStream, Error, Payloads, Result};

/// Folders that are listed at once.
const LISTED_AT_ONCE: usize = 8;
/// Bytes of one part of an upload: S3 takes no less than 5 MiB.
const PART: usize = 8 << 20;

/// Payloads of one object store.
pub(super) struct ObjectPayloads {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The files of a store that is a folder: what comes in pieces is written there at once. For other stores it goes
    /// through a temporary file, which has no name and is gone with the process.
    files: Option<PayloadFiles>,
    hidden: Hidden,
}

impl ObjectPayloads {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, prefix, files: None, hidden: Hidden::default() }
    }

    pub(super) fn with_files(self, files: PayloadFiles) -> Self {
        Self { files: Some(files), ..self }
    }

    /// What errors are not to tell.
    pub(super) fn hiding(self, hidden: Hidden) -> Self {
        Self { hidden, ..self }
    }

    fn failed(&self, action: &'static str, error: StoreError) -> Error {
        Error::Store { action, source: self.hidden.told(error) }
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
            Err(error) => Err(self.failed("read a payload", error)),
        }
    }

    async fn write(&self, digest: &Hash, stored: Bytes, mode: PutMode) -> std::result::Result<(), StoreError> {
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store.put_opts(&self.path(digest), stored.into(), options).await.map(drop)
    }
}

impl ObjectPayloads {
    /// Stores what was written to a temporary file, in place of what is there: the same bytes, or damaged ones.
    async fn upload(&self, filed: Encoded<File>) -> Result<(String, u64)> {
        let failed = |error| self.failed("store a payload", error);
        let Encoded { writer: file, stored, digest, length } = filed;
        let file = Arc::new(file);
        if stored <= PART as u64 {
            let all = read_part(&file, 0, usize::try_from(stored).unwrap_or(PART)).await.map_err(unreadable)?;
            self.write(&digest, all, PutMode::Overwrite).await.map_err(failed)?;
            return Ok((name(digest), length));
        }
        let begun = self.store.put_multipart(&self.path(&digest)).await.map_err(failed)?;
        let mut upload = Upload { parts: Some(begun), hidden: self.hidden.clone() };
        for start in (0..stored).step_by(PART) {
            let length = usize::try_from(stored - start).unwrap_or(PART).min(PART);
            let part = read_part(&file, start, length).await.map_err(unreadable)?;
            upload.put(part).await.map_err(failed)?;
        }
        upload.complete().await.map_err(failed)?;
        Ok((name(digest), length))
    }
}

/// Gives what was written in the folder its name.
async fn keep(files: PayloadFiles, filed: Encoded<NamedTempFile>) -> Result<(String, u64)> {
    let Encoded { writer: file, digest, length, .. } = filed;
    let kept = blocking("store a payload", move || files.keep(file, &digest)).await?;
    kept.map_err(|source| Error::Store { action: "store a payload", source: Box::new(source) })?;
    Ok((name(digest), length))
}

/// An object that is being uploaded in parts. Nobody sees it before it is complete; dropped before, its parts are removed.
struct Upload {
    parts: Option<Box<dyn MultipartUpload>>,
    hidden: Hidden,
}

impl Upload {
    async fn put(&mut self, part: Bytes) -> std::result::Result<(), StoreError> {
        match &mut self.parts {
            Some(upload) => upload.put_part(part.into()).await,
            None => Ok(()),
        }
    }

    async fn complete(mut self) -> std::result::Result<(), StoreError> {
        if let Some(upload) = &mut self.parts {
            upload.complete().await?;
        }
        self.parts = None;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut upload) = self.parts.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let hidden = self.hidden.clone();
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    let error = hidden.told(error);
                    tracing::warn!(%error, "parts of an upload that broke off were left at the store");
                }
            });
        }
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
            Err(error) => return Err(self.failed("store a payload", error)),
        }
        // What is there is read, not trusted: a damaged payload is healed by putting it again.
        if let Some(there) = self.stored(&digest).await?
            && blocking("check a payload", move || encoding::decode(there, &digest)).await?.is_some()
        {
            return Ok(name(digest));
        }
        let written = self.write(&digest, stored, PutMode::Overwrite).await;
        written.map(|()| name(digest)).map_err(|error| self.failed("store a payload", error))
    }

    async fn put_stream(&self, bytes: ByteStream<'_>) -> Result<(String, u64)> {
        let gathered = if let Some(files) = self.files.clone() {
            let folder = files.clone();
            match receive(bytes, move || folder.begin()).await? {
                Received::Gathered(bytes) => bytes,
                Received::Filed(filed) => return keep(files, filed).await,
            }
        } else {
            match receive(bytes, tempfile::tempfile).await? {
                Received::Gathered(bytes) => bytes,
                Received::Filed(filed) => return self.upload(filed).await,
            }
        };
        let length = gathered.len() as u64;
        self.put(gathered).await.map(|digest| (digest, length))
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
            Err(error) => Err(self.failed("look for a payload", error)),
        }
    }

    async fn delete(&self, digest: &str) -> Result<()> {
        let Some(hash) = parse(digest) else { return Ok(()) };
        match self.store.delete(&self.path(&hash)).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete a payload", error)),
        }
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let top = self.store.list_with_delimiter(Some(&self.prefix)).await;
        let mut folders = top.map_err(|error| self.failed("list payloads", error))?.common_prefixes;
        folders.sort_unstable();
        // Folders are named by the first two digits: those before the last digest of the page before have been listed.
        let first = after.and_then(|after| after.get(..2)).unwrap_or_default();
        folders.retain(|folder| folder.filename().is_some_and(|name| name >= first));
        let listed: Vec<_> = folders.iter().map(|folder| self.store.list_with_delimiter(Some(folder))).collect();
        let mut pages = stream::iter(listed).buffered(LISTED_AT_ONCE);
        let mut digests = Vec::new();
        while let Some(page) = pages.try_next().await.map_err(|error| self.failed("list payloads", error))? {
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

fn unreadable(source: io::Error) -> Error {
    Error::Store { action: "read a temporary file", source: Box::new(source) }
}
