//! One writer a table: within the process by a mutex, between processes by a lock on a file beside the table.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Error;

const POLL: Duration = Duration::from_millis(20);
/// Commits take fractions of a second and a compaction some seconds; whoever holds the lock longer is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub(super) struct WriterLock {
    path: PathBuf,
    mutex: Arc<Mutex<()>>,
}

/// The right to write, until it is dropped.
pub(super) struct Writer {
    // The file's lock ends when it is closed, also when the process dies.
    _file: File,
    _guard: OwnedMutexGuard<()>,
}

impl WriterLock {
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        Self { path: folder.join(format!("{name}.lock")), mutex: Arc::default() }
    }

    pub(super) async fn acquire(&self) -> Result<Writer, Error> {
        let guard = Arc::clone(&self.mutex).lock_owned().await;
        let locked = |source| Error::Lock { source };
        let file = File::options().create(true).append(true).open(&self.path).map_err(locked)?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Writer { _file: file, _guard: guard }),
                Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(POLL).await
                }
                Err(TryLockError::WouldBlock) => return Err(Error::Busy { seconds: PATIENCE.as_secs() }),
                Err(TryLockError::Error(source)) => return Err(locked(source)),
            }
        }
    }
}
