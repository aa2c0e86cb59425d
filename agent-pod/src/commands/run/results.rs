//! results.jsonl: one line a document, whatever crashes, resumes and replays there were.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
};

use serde_json::Value;

use crate::{Error, Result};

/// The file, open for appending.
pub(crate) struct Results {
    file: File,
    written: HashSet<String>,
}

/// Which lines of an earlier process stay.
pub(crate) enum Keep<'a> {
    /// None: a run reports all its documents, also those that ended before it was resumed.
    Nothing,
    /// All but those of documents that are worked again.
    AllBut(&'a HashSet<String>),
}

/// A usage error where `--output` names something that cannot hold files; asked before anything is begun.
pub(crate) fn check(folder: Option<&Path>) -> Result<()> {
    match folder {
        Some(folder) if folder.exists() && !folder.is_dir() => {
            Err(Error::usage(format!("--output {}: this is not a folder", folder.display())))
        }
        _ => Ok(()),
    }
}

impl Results {
    /// Opens the file in `folder`. A torn last line, left by a crash, is dropped: its document is written again.
    pub(crate) fn open(folder: &Path, keep: &Keep<'_>) -> Result<Self> {
        let path = folder.join("results.jsonl");
        let action = || format!("open {}", path.display());
        std::fs::create_dir_all(folder).map_err(Error::system(action()))?;
        // A result is for whoever may read the folder; temporary files are private unless told otherwise.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        let kept = tempfile::Builder::new().permissions(readable).tempfile_in(folder);
        let mut kept = kept.map_err(Error::system(action()))?;
        let mut written = HashSet::new();
        if !matches!(keep, Keep::Nothing) && path.exists() {
            for line in BufReader::new(File::open(&path).map_err(Error::system(action()))?).split(b'\n') {
                let line = line.map_err(Error::system(action()))?;
                let Some(document) = document_of(&line) else { continue };
                if matches!(keep, Keep::AllBut(again) if again.contains(&document)) || !written.insert(document) {
                    continue;
                }
                kept.write_all(&[line.as_slice(), b"\n"].concat()).map_err(Error::system(action()))?;
            }
        }
        let file = kept.persist(&path).map_err(Error::system(action()))?;
        Ok(Self { file, written })
    }

    /// Appends a document's line, unless it is there.
    pub(crate) fn write(&mut self, document: &str, line: &Value) -> std::io::Result<()> {
        if self.written.contains(document) {
            return Ok(());
        }
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.written.insert(document.to_owned());
        Ok(())
    }
}

fn document_of(line: &[u8]) -> Option<String> {
    let line: Value = serde_json::from_slice(line).ok()?;
    line.get("document")?.as_str().map(str::to_owned)
}
