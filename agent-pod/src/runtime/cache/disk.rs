//! The level on disk: a file a result, bounded, replaced as a whole, and a miss where it is damaged.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    counts::{Counts, count},
    kept::Kept,
};

/// Bytes of results; the oldest go first, at the start.
const MOST_BYTES: u64 = 1 << 30;

/// Results in a folder.
pub(super) struct Disk {
    folder: PathBuf,
    pub(super) counts: Counts,
}

impl Disk {
    /// Opens the folder, making it where there is none, and removes what has grown too much.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        prune(folder, MOST_BYTES)?;
        Ok(Self { folder: folder.to_path_buf(), counts: Counts::default() })
    }

    /// What is kept under a key. Misses and errors are counted; whether it is a hit, the caller decides.
    pub(super) async fn get(&self, key: &str) -> Option<Kept> {
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
    pub(super) async fn put(&self, key: &str, kept: Arc<Kept>) {
        let (path, name) = (self.path(key), key.to_owned());
        let written = tokio::task::spawn_blocking(move || {
            let Some(bytes) = kept.encode(&name) else { return Ok(false) };
            let folder = path.parent().unwrap_or(&path);
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&bytes)?;
            file.persist(&path).map_err(|error| error.error)?;
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

/// All files of results in a cache folder, and what is half-written.
pub(super) fn files(folder: &Path) -> io::Result<Vec<(PathBuf, std::fs::Metadata)>> {
    let mut files = Vec::new();
    for shard in std::fs::read_dir(folder)? {
        let shard = shard?.path();
        if !shard.is_dir() {
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
fn prune(folder: &Path, limit: u64) -> io::Result<()> {
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
        std::fs::remove_file(path)?;
        total -= metadata.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_oldest_files_go_until_the_rest_fits() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, age) in [("aa/old", 300), ("bb/older", 400), ("aa/new", 100)] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(&path, [0; 10]).expect("a file");
            let written_at = SystemTime::now() - Duration::from_secs(age);
            std::fs::File::options().append(true).open(&path).expect("open").set_modified(written_at).expect("a time");
        }
        prune(folder.path(), 30).expect("pruned");
        assert_eq!(files(folder.path()).expect("files").len(), 3);
        prune(folder.path(), 15).expect("pruned");
        let left = files(folder.path()).expect("files");
        assert_eq!(left.len(), 1);
        assert!(left[0].0.ends_with("aa/new"));
    }
}
