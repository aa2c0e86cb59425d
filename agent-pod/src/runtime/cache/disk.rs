//! The level on disk: a file a result, bounded, replaced as a whole, and a miss where it is damaged.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    counts::{Counts, count},
    kept::Kept,
    semantic,
};

/// Bytes of results; the oldest go first.
const MOST_BYTES: u64 = 1 << 30;

/// A part of the bound, one in so many, that may be written before the folder is looked through again, and that is then
/// made free.
pub const SLACK: u64 = 16;

/// Results in a folder.
pub struct Disk {
    folder: PathBuf,
    bound: Bound,
    pub counts: Counts,
}

/// How much a folder may hold, also while it is written.
#[derive(Clone)]
pub struct Bound {
    most: u64,
    /// Bytes that were written since the folder was last looked through.
    written: Arc<AtomicU64>,
}

impl Bound {
    /// So many bytes.
    pub fn new(most: u64) -> Self {
        Self { most, written: Arc::default() }
    }

    /// Makes a folder fit.
    pub(super) fn enforce(&self, folder: &Path) -> io::Result<()> {
        prune(folder, self.most)
    }

    /// So many bytes more were written: now and then the folder is looked through again.
    pub(super) fn wrote(&self, folder: &Path, bytes: u64) -> io::Result<()> {
        let written = self.written.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Whoever takes the count looks; the others see a small one.
        if written > self.most / SLACK && self.written.swap(0, Ordering::Relaxed) > 0 {
            return prune(folder, self.most - self.most / SLACK);
        }
        Ok(())
    }
}

impl Disk {
    /// Opens the folder, making it where there is none, and removes what has grown too much.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        Self::open_bounded(folder, Bound::new(MOST_BYTES))
    }

    /// Opens the level in a folder with a bound of one's own. Fails where the folder cannot be made.
    pub fn open_bounded(folder: &Path, bound: Bound) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        bound.enforce(folder)?;
        Ok(Self { folder: folder.to_path_buf(), bound, counts: Counts::default() })
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is kept under a key. Misses and errors are counted; whether it is a hit, the caller decides.
    pub async fn get(&self, key: &str) -> Option<Kept> {
        let (path, name) = (self.path(key), key.to_owned());
        let read = tokio::task::spawn_blocking(move || match std::fs::read(path) {
            Ok(bytes) => Ok(Kept::decode(&name, &bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        match read.await.map_err(io::Error::other).and_then(|read| read) {
            Ok(kept) => {
                if kept.is_none() {
                    count(&self.counts.misses);
                }
                kept
            }
            Err(error) => {
                count(&self.counts.errors);
                tracing::warn!(%error, "a kept result could not be read from disk");
                None
            }
        }
    }

    /// Keeps a result. That it cannot be kept costs only time later.
    pub async fn put(&self, key: &str, kept: Arc<Kept>) {
        let (path, name) = (self.path(key), key.to_owned());
        let (folder, bound) = (self.folder.clone(), self.bound.clone());
        let written = tokio::task::spawn_blocking(move || {
            let Some(bytes) = kept.encode(&name) else { return Ok(false) };
            write(&path, &bytes)?;
            bound.wrote(&folder, bytes.len() as u64)?;
            Ok(true)
        });
        match written.await.map_err(io::Error::other).and_then(|written| written) {
            Ok(true) => count(&self.counts.stores),
            Ok(false) => count(&self.counts.skipped),
            Err(error) => {
                count(&self.counts.errors);
                tracing::warn!(%error, "a result could not be kept on disk; it will be computed again");
            }
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        path(&self.folder, key)
    }
}

/// Where a result lies in a cache folder.
pub(super) fn path(folder: &Path, key: &str) -> PathBuf {
    let (shard, name) = key.split_at(2.min(key.len()));
    folder.join(shard).join(name)
}

/// Replaces a file as a whole.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// All files in the folders of a cache folder, and what is half-written; none where there is no such folder.
pub fn files(folder: &Path) -> io::Result<Vec<(PathBuf, std::fs::Metadata)>> {
    let mut files = Vec::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    for shard in std::fs::read_dir(folder)? {
        let shard = shard?.path();
        // Answers of the semantic part have folders of their own below this one.
        if !shard.is_dir() || shard == semantic::folder(folder) {
            continue;
        }
        for file in std::fs::read_dir(shard)? {
            let file = file?;
            match file.metadata() {
                Ok(metadata) => files.push((file.path(), metadata)),
                // Another process replaces its files meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(files)
}

/// Removes the files that were written longest ago until the rest fits.
pub fn prune(folder: &Path, limit: u64) -> io::Result<()> {
    let mut files = files(folder)?;
    let mut total: u64 = files.iter().map(|(_, metadata)| metadata.len()).sum();
    if total <= limit {
        return Ok(());
    }
    files.sort_by_cached_key(|(path, metadata)| (metadata.modified().ok(), path.clone()));
    for (path, metadata) in files {
        if total <= limit {
            break;
        }
        match std::fs::remove_file(path) {
            // Another thread has removed or replaced it meanwhile.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => total -= metadata.len(),
        }
    }
    Ok(())
}
