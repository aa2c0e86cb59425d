//! What goes wrong beneath the ports, before it becomes a port's error.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why a state folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenState {
    /// The user can fix it: stop the other process or give another folder.
    #[error("\"{}\" is in use by another process: stop that process or choose another folder", folder.display())]
    InUse { folder: PathBuf },
    /// The user can fix it.
    #[error("failed to create \"{}\"", path.display())]
    Create { path: PathBuf, source: io::Error },
    /// The user can fix it.
    #[error("failed to open \"{}\"", path.display())]
    Open { path: PathBuf, source: io::Error },
    /// The file is damaged or the disk fails.
    #[error("failed to read \"{}\"", path.display())]
    Read { path: PathBuf, source: redb::Error },
    /// A newer version wrote the folder; the user can fix it.
    #[error("\"{}\" has format {found}, which this version does not know (it knows {known})", path.display())]
    Format { path: PathBuf, found: u64, known: u64 },
    /// The system has no threads left.
    #[error("failed to start the writer thread")]
    StartWriter { source: io::Error },
}

impl OpenState {
    pub(super) fn create(path: &Path, source: io::Error) -> Self {
        Self::Create { path: path.to_owned(), source }
    }

    pub(super) fn open(path: &Path, source: io::Error) -> Self {
        Self::Open { path: path.to_owned(), source }
    }

    pub(super) fn read(path: &Path, source: impl Into<redb::Error>) -> Self {
        Self::Read { path: path.to_owned(), source: source.into() }
    }
}

/// Why an operation inside a transaction ended early.
pub(super) enum Stop {
    /// The operation's own condition failed; it changed nothing and its companions go on.
    Refused(crate::Error),
    /// The state file failed; nothing of the whole transaction takes effect.
    Broken(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

/// One failure that several callers are told of.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CommitFailure {
    /// The state file failed.
    #[error(transparent)]
    File(Arc<redb::Error>),
    /// The state file failed and could not be opened again yet.
    #[error(transparent)]
    Reopen(Arc<OpenState>),
    /// The writer thread has ended.
    #[error("the writer has stopped")]
    Stopped,
}

impl CommitFailure {
    pub(super) fn during(self, action: &'static str) -> crate::Error {
        crate::Error::Store { action, source: Box::new(self) }
    }
}

impl<E: Into<redb::Error>> From<E> for CommitFailure {
    fn from(error: E) -> Self {
        Self::File(Arc::new(error.into()))
    }
}
