//! Brings a model's files onto this machine.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::entry::{Entry, EntryError, FileRole, check_digest};
use super::origin::{FetchError, Origin, Web, describe};
use super::verified::{Expected, is_there, remove_abandoned, write};
use crate::ModelFiles;
use crate::reach::Reach;

/// How sources are reached.
#[derive(Debug, Clone)]
pub struct PullSettings {
    /// Where hub repositories lie.
    pub hub_url: String,
    /// A server that does not answer by then does not answer.
    pub connect_timeout: Duration,
    /// Longest wait for the next bytes.
    pub read_timeout: Duration,
    /// The interpreter whose installer fetches packages.
    pub python: PathBuf,
    /// Longest that the installer may take for one package.
    pub install_timeout: Duration,
    /// Which servers are called. The installer asks those that the machine is set up for, whoever names the package.
    pub reach: Reach,
}

impl Default for PullSettings {
    fn default() -> Self {
        Self {
            hub_url: "https://huggingface.co".to_owned(),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            python: PathBuf::from("python3"),
            install_timeout: Duration::from_secs(900),
            reach: Reach::anybody(),
        }
    }
}

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    pub file: &'a str,
    pub bytes: u64,
    /// The file's size, where it is known beforehand.
    pub total: Option<u64>,
}

/// Why a model could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// For the user: the disk is full or the folder not writable.
    #[error("failed to prepare the folder {path:?}")]
    PrepareFolder { path: PathBuf, source: io::Error },
    /// Each source with its reason: no network, a moved file, a wrong digest.
    #[error("no source gave model {model:?}: {attempts}")]
    FindSource { model: String, attempts: Attempts },
    /// For the user.
    #[error("the digest of {url:?} is not valid")]
    CheckDigest { url: String, source: EntryError },
    #[error("failed to fetch {url:?}")]
    Fetch { url: String, source: FetchError },
}

/// Sources that were tried, each with the reason why it did not do.
#[derive(Debug)]
pub struct Attempts(pub Vec<(String, FetchError)>);

impl fmt::Display for Attempts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (source, error)) in self.0.iter().enumerate() {
            write!(formatter, "{}{source}: {error}", if index == 0 { "" } else { "; " })?;
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                write!(formatter, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

/// Completes the model's files in `folder`. Files that are there and right are left alone; a source that fails is
/// followed by the next. Blocks: to be called on a thread that may.
pub fn pull(
    entry: &Entry,
    folder: &Path,
    settings: &PullSettings,
    on_progress: &dyn Fn(Progress<'_>),
) -> Result<ModelFiles, PullError> {
    let prepare = |source| PullError::PrepareFolder { path: folder.to_owned(), source };
    let files = files_of(entry, folder);
    let paths: Vec<PathBuf> = entry.files.iter().map(|file| folder.join(&file.path)).collect();
    let folders: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).chain([folder]).collect();
    folders.into_iter().for_each(remove_abandoned);
    if missing(entry, folder).next().is_none() {
        return Ok(files);
    }
    std::fs::create_dir_all(folder).map_err(prepare)?;
    let mut attempts = Vec::new();
    for source in &entry.sources {
        // On the disk that the files go to: system temporary folders are often small.
        let scratch = tempfile::tempdir_in(folder).map_err(prepare)?;
        let fetched = Origin::open(source, settings, scratch.path()).and_then(|mut origin| {
            missing(entry, folder).try_for_each(|(index, expected)| {
                let tell = |bytes| on_progress(Progress { file: expected.path, bytes, total: expected.bytes });
                write(folder, expected, &tell, |sink| origin.copy(&entry.files[index], sink))
            })
        });
        match fetched {
            Ok(()) => return Ok(files),
            Err(error) => attempts.push((describe(source), error)),
        }
    }
    Err(PullError::FindSource { model: entry.name.clone(), attempts: Attempts(attempts) })
}

/// Fetches one file of weights by its address into `cache`, in a folder named by its digest.
pub fn pull_url(
    url: &str,
    sha256: &str,
    cache: &Path,
    settings: &PullSettings,
    on_progress: &dyn Fn(Progress<'_>),
) -> Result<ModelFiles, PullError> {
    check_digest(sha256).map_err(|source| PullError::CheckDigest { url: url.to_owned(), source })?;
    let path = if url.split(['?', '#']).next().is_some_and(|path| path.ends_with(".gguf")) {
        "model.gguf"
    } else {
        "model.safetensors"
    };
    let folder = cache.join("sha256").join(sha256);
    let expected = Expected { path, sha256, bytes: None };
    let files = ModelFiles { weights: folder.join(path), tokenizer: None, config: None };
    remove_abandoned(&folder);
    if is_there(&folder, expected) {
        return Ok(files);
    }
    let tell = |bytes| on_progress(Progress { file: path, bytes, total: None });
    Web::open(settings)
        .and_then(|web| write(&folder, expected, &tell, |sink| web.download(url, sink)))
        .map_err(|source| PullError::Fetch { url: url.to_owned(), source })?;
    Ok(files)
}

/// The model's files, if all are in `folder` with the right size and digest. Never asks a source.
pub fn installed(entry: &Entry, folder: &Path) -> Option<ModelFiles> {
    missing(entry, folder).next().is_none().then(|| files_of(entry, folder))
}

fn missing<'a>(entry: &'a Entry, folder: &'a Path) -> impl Iterator<Item = (usize, Expected<'a>)> {
    let files = entry
        .files
        .iter()
        .enumerate()
        .map(|(index, file)| (index, Expected { path: &file.path, sha256: &file.sha256, bytes: Some(file.bytes) }));
    files.filter(move |(_, expected)| !is_there(folder, *expected))
}

fn files_of(entry: &Entry, folder: &Path) -> ModelFiles {
    let path = |role| entry.file(role).map(|file| folder.join(&file.path));
    ModelFiles {
        weights: path(FileRole::Weights).unwrap_or_default(),
        tokenizer: path(FileRole::Tokenizer),
        config: path(FileRole::Config),
    }
}
