//! Large payloads as files, one each, named by digest: `ab/cdef…`.
//!
//! A file appears under its name only when it is whole and durable: it is written beside, synced, and renamed.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use blake3::Hash;
use tempfile::NamedTempFile;

use super::failure::OpenState;

/// Files that are still being written; what a killed process left of them is removed on opening.
const INCOMING_FOLDER: &str = "incoming";

/// A folder of payload files.
#[derive(Clone, Debug)]
pub(super) struct PayloadFiles {
    folder: PathBuf,
    incoming: PathBuf,
}

impl PayloadFiles {
    /// Opens the folder; the caller makes sure that no other process uses it.
    pub(super) fn open(folder: &Path) -> Result<Self, OpenState> {
        let incoming = folder.join(INCOMING_FOLDER);
        match fs::remove_dir_all(&incoming) {
            Err(source) if source.kind() != ErrorKind::NotFound => return Err(OpenState::open(&incoming, source)),
            _ => {}
        }
        fs::create_dir_all(&incoming).map_err(|source| OpenState::create(&incoming, source))?;
        Ok(Self { folder: folder.to_owned(), incoming })
    }

    /// The file's bytes, if it is there.
    pub(super) fn read(&self, digest: &Hash) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path(digest)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn contains(&self, digest: &Hash) -> io::Result<bool> {
        self.path(digest).try_exists()
    }

    /// Writes the file, in place of one that is there.
    pub(super) fn write(&self, digest: &Hash, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        let folder = path.parent().unwrap_or(&self.folder);
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            File::open(&self.folder)?.sync_all()?;
        }
        let mut file = NamedTempFile::new_in(&self.incoming)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|refused| refused.error)?;
        File::open(folder)?.sync_all()
    }

    pub(super) fn remove(&self, digest: &Hash) -> io::Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The digests of all files.
    pub(super) fn list(&self) -> io::Result<Vec<Hash>> {
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
