//! Files that appear under their names only when they are complete and have the stated digest, and a note beside them
//! that saves computing it again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::origin::FetchError;

const NOTE: &str = ".verified.json";
/// How often progress is told.
const TELL_EVERY_BYTES: u64 = 1 << 20;
/// How names of temporary files and folders begin.
const TEMPORARY: &str = ".tmp";
/// Nobody writes any more to a temporary file that has not changed for so long: a server that sends nothing is given up much
/// sooner.
const FILE_ABANDONED: Duration = Duration::from_secs(10 * 60);
/// A temporary folder itself changes with each package that an installer begins, and that may take a while.
const FOLDER_ABANDONED: Duration = Duration::from_secs(2 * 60 * 60);

/// What a file must be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) path: &'a str,
    pub(super) sha256: &'a str,
    /// The exact size, where it is known.
    pub(super) bytes: Option<u64>,
}

/// Files of a folder that were verified, as they were then.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note(BTreeMap<String, Noted>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Noted {
    sha256: String,
    bytes: u64,
    modified_nanoseconds: u128,
}

/// Whether the file is there and is what it must be. Its digest is computed unless it has not changed since the last time.
pub(super) fn is_there(folder: &Path, expected: Expected<'_>) -> bool {
    let Ok(found) = noted(folder, expected) else { return false };
    if expected.bytes.is_some_and(|bytes| bytes != found.bytes) {
        return false;
    }
    let mut note = Note::read(folder);
    if note.0.get(expected.path) == Some(&found) {
        return true;
    }
    let digest = File::open(folder.join(expected.path)).and_then(digest_of);
    let is_right = digest.is_ok_and(|digest| digest == expected.sha256);
    if is_right {
        note.0.insert(expected.path.to_owned(), found);
        note.write(folder);
    }
    is_right
}

/// Writes a file by way of a temporary one beside it. Whatever goes wrong, nothing is left and what was there stays.
pub(super) fn write(
    folder: &Path,
    expected: Expected<'_>,
    tell: &dyn Fn(u64),
    copy: impl FnOnce(&mut dyn Write) -> Result<(), FetchError>,
) -> Result<(), FetchError> {
    let path = folder.join(expected.path);
    let parent = path.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).map_err(FetchError::WriteFile)?;
    let file = NamedTempFile::new_in(parent).map_err(FetchError::WriteFile)?;
    let most = expected.bytes.unwrap_or(u64::MAX);
    let mut sink = Sink { file, hasher: Sha256::new(), bytes: 0, told: 0, most, tell };
    copy(&mut sink)?;
    let (found, bytes) = (hex(&sink.hasher.finalize()), sink.bytes);
    if expected.bytes.is_some_and(|expected| expected != bytes) {
        return Err(FetchError::MatchSize { found: bytes, expected: most });
    }
    if found != expected.sha256 {
        return Err(FetchError::MatchDigest { found, expected: expected.sha256.to_owned() });
    }
    sink.file.as_file().sync_all().map_err(FetchError::WriteFile)?;
    make_readable(sink.file.as_file()).map_err(FetchError::WriteFile)?;
    sink.file.persist(&path).map_err(|error| FetchError::WriteFile(error.error))?;
    if let Ok(found) = noted(folder, expected) {
        let mut note = Note::read(folder);
        note.0.insert(expected.path.to_owned(), found);
        note.write(folder);
    }
    Ok(())
}

/// Removes what a process left behind in a folder when it was killed while it wrote there. One that is killed again and
/// again would fill the disk.
pub(super) fn remove_abandoned(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        let abandoned = if metadata.is_dir() { FOLDER_ABANDONED } else { FILE_ABANDONED };
        // What is of the future, by another machine's clock, is new.
        let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok()).unwrap_or_default();
        if age < abandoned {
            continue;
        }
        let path = entry.path();
        let removed = if metadata.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = removed {
            tracing::debug!(%error, ?path, "What a killed pull left behind was not removed");
        }
    }
}

/// Temporary files are private to their owner; models are not secret.
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

fn noted(folder: &Path, expected: Expected<'_>) -> io::Result<Noted> {
    let metadata = std::fs::metadata(folder.join(expected.path))?;
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(Noted {
        sha256: expected.sha256.to_owned(),
        bytes: metadata.len(),
        modified_nanoseconds: modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos(),
    })
}

impl Note {
    /// A note that is missing or damaged only costs time.
    fn read(folder: &Path) -> Self {
        let bytes = std::fs::read(folder.join(NOTE)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// A folder that cannot be written to, such as a read-only volume, is no obstacle to using what it holds.
    fn write(&self, folder: &Path) {
        let written = || -> io::Result<()> {
            let mut file = NamedTempFile::new_in(folder)?;
            serde_json::to_writer(&mut file, self)?;
            file.persist(folder.join(NOTE))?;
            Ok(())
        };
        if let Err(error) = written() {
            tracing::debug!(%error, ?folder, "Verified digests were not noted");
        }
    }
}

struct Sink<'a> {
    file: NamedTempFile,
    hasher: Sha256,
    bytes: u64,
    told: u64,
    most: u64,
    tell: &'a dyn Fn(u64),
}

impl Write for Sink<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.bytes + buffer.len() as u64 > self.most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than the catalogue says"));
        }
        let written = self.file.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        if self.bytes - self.told >= TELL_EVERY_BYTES || self.bytes == self.most {
            self.told = self.bytes;
            (self.tell)(self.bytes);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn digest_of(mut source: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
