//! Payloads as files of a folder, one each, named by digest: `ab/cdef…`.
//!
//! A file appears under its name only when it is whole and durable: it is written beside, synced, and renamed.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use blake3::Hash;
use tempfile::NamedTempFile;

/// Files that are still being written; what a killed process left of them is removed on opening.
const INCOMING_FOLDER: &str = "incoming";
/// Age of a file there that no process can still be writing: none is given nearly so long for a document.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3_600);

/// A folder of payload files.
#[derive(Clone, Debug)]
pub(crate) struct PayloadFiles {
    folder: PathBuf,
    incoming: PathBuf,
}

impl PayloadFiles {
    /// Opens the folder; the caller makes sure that no other process uses it.
    pub(crate) fn open_alone(folder: &Path) -> io::Result<Self> {
        match fs::remove_dir_all(folder.join(INCOMING_FOLDER)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Self::open(folder),
        }
    }

    /// Opens the folder beside other processes that may be writing.
    pub(super) fn open_shared(folder: &Path) -> io::Result<Self> {
        let files = Self::open(folder)?;
        for file in fs::read_dir(&files.incoming)? {
            let file = file?;
            // Another process may be just as tidy.
            let modified = file.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
            if age.is_some_and(|age| age > LEFT_BEHIND) {
                let _ = fs::remove_file(file.path());
            }
        }
        Ok(files)
    }

    fn open(folder: &Path) -> io::Result<Self> {
        let incoming = folder.join(INCOMING_FOLDER);
        fs::create_dir_all(&incoming)?;
        Ok(Self { folder: folder.to_owned(), incoming })
    }

    /// The file's bytes, if it is there.
    pub(crate) fn read(&self, digest: &Hash) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path(digest)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn contains(&self, digest: &Hash) -> io::Result<bool> {
        self.path(digest).try_exists()
    }

    /// Writes the file, in place of one that is there.
    pub(crate) fn write(&self, digest: &Hash, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.begin()?;
        file.write_all(bytes)?;
        self.keep(file, digest)
    }

    /// A file to write a payload into. Until it is kept it is removed when it is dropped.
    pub(crate) fn begin(&self) -> io::Result<NamedTempFile> {
        NamedTempFile::new_in(&self.incoming)
    }

    /// Makes a file durable and gives it its name, in place of one that is there.
    pub(crate) fn keep(&self, file: NamedTempFile, digest: &Hash) -> io::Result<()> {
        let path = self.path(digest);
        let folder = path.parent().unwrap_or(&self.folder);
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            File::open(&self.folder)?.sync_all()?;
        }
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|refused| refused.error)?;
        File::open(folder)?.sync_all()
    }

    pub(crate) fn remove(&self, digest: &Hash) -> io::Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The digests of all files.
    pub(crate) fn list(&self) -> io::Result<Vec<Hash>> {
        let mut digests = Vec::new();
        for folder in fs::read_dir(&self.folder)? {
            let folder = folder?;
            let Ok(start) = folder.file_name().into_string() else { continue };
            if start.len() != 2 || !folder.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(folder.path())? {
                // Anything else in here was not put by us: leave it alone.
                let name = file?.file_name();
                let digest = name.to_str().and_then(|rest| Hash::from_hex(format!("{start}{rest}")).ok());
                digests.extend(digest);
            }
        }
        Ok(digests)
    }

    fn path(&self, digest: &Hash) -> PathBuf {
        let hex = digest.to_hex();
        let (start, rest) = hex.split_at(2);
        self.folder.join(start).join(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_left_behind_is_removed_beside_other_processes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = PayloadFiles::open_shared(folder.path()).expect("opened");
        let (_, old) = files.begin().expect("a file").keep().expect("left behind");
        let (young, _guard) = {
            let file = files.begin().expect("a file");
            (file.path().to_owned(), file)
        };
        let long_ago = SystemTime::now() - LEFT_BEHIND - Duration::from_secs(60);
        File::options().write(true).open(&old).and_then(|file| file.set_modified(long_ago)).expect("made old");
        PayloadFiles::open_shared(folder.path()).expect("opened again");
        assert!(!old.exists() && young.exists());
        PayloadFiles::open_alone(folder.path()).expect("opened alone");
        assert!(!young.exists());
    }
}
