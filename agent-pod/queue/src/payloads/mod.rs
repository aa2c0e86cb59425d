//! Payloads in an object store that many processes share: a folder, S3, or memory. And what all stores of payloads have
//! in common: names and the way bytes are encoded.

pub mod encoding;
pub(crate) mod files;
mod guarded;
mod hidden;
pub(crate) mod incoming;
mod objects;

use std::{path::Path, sync::Arc};

use blake3::Hash;
use object_store::{aws::AmazonS3Builder, local::LocalFileSystem, memory::InMemory, path};

pub(crate) use self::guarded::GuardedPayloads;
pub use self::guarded::condemned_name;
use self::hidden::Hidden;
use self::{files::PayloadFiles, objects::ObjectPayloads};
use crate::{Error, Payloads, Result};

/// Why a store of payloads could not be opened.
#[derive(Debug, thiserror::Error)]
enum OpenPayloads {
    /// The user can fix it.
    #[error("\"{0}\" is no place for payloads: write file:///folder, s3://bucket/prefix or memory:")]
    Url(String),
    /// The user can fix it.
    #[error("failed to open the folder \"{folder}\"")]
    Folder { folder: String, source: std::io::Error },
    /// The settings of the store are wrong or incomplete; the user can fix it.
    #[error("failed to open \"{url}\"")]
    Open { url: String, source: object_store::Error },
}

/// Opens the payloads at `url`: `file:///folder` (made if it does not exist, shared by all processes that see it),
/// `s3://bucket/prefix` (endpoint, region and credentials from the usual `AWS_…` variables), or `memory:` (tests).
///
/// Reads no payload: whether a bucket can be reached shows with the first one.
pub fn open(url: &str) -> Result<Arc<dyn Payloads>> {
    let opened =
        payloads(url).map_err(|source| Error::Store { action: "open the payloads", source: Box::new(source) })?;
    Ok(Arc::new(opened))
}

fn payloads(url: &str) -> std::result::Result<ObjectPayloads, OpenPayloads> {
    let opened = |source| OpenPayloads::Open { url: url.to_owned(), source };
    let wrong = || OpenPayloads::Url(url.to_owned());
    if url == "memory:" {
        return Ok(ObjectPayloads::new(Arc::new(InMemory::new()), path::Path::default()));
    }
    if let Some(folder) = url.strip_prefix("file://") {
        if !folder.starts_with('/') {
            return Err(wrong());
        }
        let failed = |source| OpenPayloads::Folder { folder: folder.to_owned(), source };
        std::fs::create_dir_all(Path::new(folder)).map_err(failed)?;
        // Durable means that it survives the machine: files and their folders are synced.
        let store = LocalFileSystem::new_with_prefix(folder).map_err(opened)?.with_fsync(true);
        let files = PayloadFiles::open_shared(Path::new(folder)).map_err(failed)?;
        return Ok(ObjectPayloads::new(Arc::new(store), path::Path::default()).with_files(files));
    }
    if let Some(place) = url.strip_prefix("s3://") {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err(wrong());
        }
        let prefix = path::Path::parse(prefix).map_err(|source| opened(source.into()))?;
        // Whoever was first has chosen: it is the same one everywhere in Docket.
        drop(async_nats::rustls::crypto::ring::default_provider().install_default());
        let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        let hidden = Hidden::of(&builder);
        let store = builder.build().map_err(opened)?;
        return Ok(ObjectPayloads::new(Arc::new(store), prefix).hiding(hidden));
    }
    Err(wrong())
}

/// The name of a payload.
pub(crate) fn name(digest: Hash) -> String {
    digest.to_hex().to_string()
}

/// A digest as this port writes it; anything else names nothing, least of all a path.
pub(crate) fn parse(digest: &str) -> Option<Hash> {
    Hash::from_hex(digest).ok().filter(|hash| hash.to_hex().as_str() == digest)
}

/// Work that would hold up other tasks of the runtime: hashing, compression, files.
pub(crate) async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::Store { action, source: source.into() })
}
