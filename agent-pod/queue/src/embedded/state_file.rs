//! The redb file: opened, checked, read, and opened again after the disk has failed.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use redb::{Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use tempfile::NamedTempFile;

use super::{
    STATE_FILE,
    failure::OpenState,
    queue,
    schema::{
        ACKNOWLEDGED, ALARM_TIMES, ALARMS, BODIES, Batch, DEPTHS, FINISHED, FORMAT, IDS, LATER, MESSAGES, META,
        META_COUNT, META_FORMAT, PAYLOADS, READY, RECORDS, Wake,
    },
    storage::StateStorage,
};
use crate::Faults;

/// Files that are being created.
const NEW_FILE_PREFIX: &str = "state.redb.new-";

/// redb's own default is 1 GiB; the hot part of a queue is small.
const CACHE_BYTES: usize = 32 << 20;

/// The state file. While it is being opened again, readers wait.
pub(super) struct StateFile {
    folder: PathBuf,
    faults: Faults,
    database: RwLock<Option<Database>>,
}

impl StateFile {
    /// Opens the file and ends the leases of the process before.
    pub(super) fn open(folder: &Path, faults: Faults) -> Result<Self, OpenState> {
        let database = open_database(folder, faults.clone())?;
        let path = folder.join(STATE_FILE);
        let found = prepare(&database).map_err(|source| OpenState::read(&path, source))?;
        if found != FORMAT {
            return Err(OpenState::Format { path, found, known: FORMAT });
        }
        remove_unfinished(folder).map_err(|source| OpenState::open(folder, source))?;
        // The file's entry in the folder must be as durable as what the file will hold.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| OpenState::open(folder, source))?;
        Ok(Self { folder: folder.to_owned(), faults, database: RwLock::new(Some(database)) })
    }

    /// Runs `read` on what is committed now.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let database = self.current();
        let transaction = database.as_ref().ok_or(redb::Error::DatabaseClosed)?.begin_read()?;
        read(&transaction)
    }

    /// Runs `write` with the database, which cannot be opened anew meanwhile.
    pub(super) fn with_database<T>(
        &self,
        write: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        write(self.current().as_ref().ok_or(redb::Error::DatabaseClosed)?)
    }

    /// Closes the file and opens it again: after a failed write redb refuses everything else.
    pub(super) fn reopen(&self) -> Result<(), OpenState> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // Closed first, because the file is locked while it is open.
        *database = None;
        *database = Some(open_database(&self.folder, self.faults.clone())?);
        Ok(())
    }

    /// Copies what the file holds into a new one, in place of the old: redb leaves the bytes of removed rows in pages that are
    /// free. The new file is open, and so locked, before it gets the name: no other process finds the folder free meanwhile.
    pub(super) fn rewrite(&self) -> Result<(), OpenState> {
        let path = self.folder.join(STATE_FILE);
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let old = database.as_ref().ok_or_else(|| OpenState::read(&path, redb::Error::DatabaseClosed))?;
        let new = NamedTempFile::with_prefix_in(NEW_FILE_PREFIX, &self.folder)
            .map_err(|source| OpenState::create(&path, source))?;
        let copy = open_file(&self.folder, new.path(), self.faults.clone())?;
        copy_rows(old, &copy).map_err(|source| OpenState::read(&path, source))?;
        new.persist(&path).map_err(|refused| OpenState::create(&path, refused.error))?;
        *database = Some(copy);
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| OpenState::open(&self.folder, source))
    }

    /// The number of the last commit that took effect.
    pub(super) fn committed_number(&self) -> Result<u64, redb::Error> {
        self.read(|transaction| {
            let meta = transaction.open_table(META)?;
            Ok(meta.get(META_COUNT)?.map_or(0, |count| count.value()))
        })
    }

    fn current(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a transaction that is durable when its commit returns.
///
/// Not with redb's quick repair, which syncs the disk twice a commit: after a kill the file is read through once instead
/// (about a second a gigabyte), while every commit takes half the time.
pub(super) fn begin_write(database: &Database) -> Result<WriteTransaction, redb::Error> {
    Ok(database.begin_write()?)
}

/// Creates an empty file as a whole or not at all: redb cannot read what a kill leaves of a file that it was creating.
fn create_database(folder: &Path, path: &Path) -> Result<(), OpenState> {
    let new =
        NamedTempFile::with_prefix_in(NEW_FILE_PREFIX, folder).map_err(|source| OpenState::create(path, source))?;
    let database = Builder::new().create(new.path()).map_err(|source| OpenState::read(path, source))?;
    database.close().map_err(|source| OpenState::read(path, source))?;
    match new.persist_noclobber(path) {
        // Another process was faster, and will be found to use the folder.
        Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(refused) => Err(OpenState::create(path, refused.error)),
        Ok(_) => Ok(()),
    }
}

/// Removes what killed processes left of files that they were creating; the caller has locked the folder.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(NEW_FILE_PREFIX.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn open_database(folder: &Path, faults: Faults) -> Result<Database, OpenState> {
    let path = folder.join(STATE_FILE);
    if !path.try_exists().map_err(|source| OpenState::open(&path, source))? {
        create_database(folder, &path)?;
    }
    open_file(folder, &path, faults)
}

fn open_file(folder: &Path, path: &Path, faults: Faults) -> Result<Database, OpenState> {
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(|source| OpenState::open(path, source))?;
    let storage = StateStorage::new(file, faults).map_err(|source| OpenState::read(path, source))?;
    Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(storage).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenState::InUse { folder: folder.to_owned() }
        }
        error => OpenState::read(path, error),
    })
}

/// Copies every table.
fn copy_rows(old: &Database, new: &Database) -> Result<(), redb::Error> {
    let (source, target) = (old.begin_read()?, begin_write(new)?);
    macro_rules! copy {
        ($($table:ident),+) => {$(
            {
                let mut copied = target.open_table($table)?;
                for row in source.open_table($table)?.iter()? {
                    let (key, value) = row?;
                    copied.insert(key.value(), value.value())?;
                }
            }
        )+};
    }
    copy!(
        META,
        MESSAGES,
        BODIES,
        IDS,
        READY,
        LATER,
        ACKNOWLEDGED,
        DEPTHS,
        FINISHED,
        RECORDS,
        PAYLOADS,
        ALARMS,
        ALARM_TIMES
    );
    target.commit()?;
    Ok(())
}

/// Creates the tables and makes every message that was under a lease ready again. Returns the file's format; a file of
/// another format is left as it is.
fn prepare(database: &Database) -> Result<u64, redb::Error> {
    let transaction = begin_write(database)?;
    let found = {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get(META_FORMAT)?.map(|format| format.value());
        if found.is_none() {
            meta.insert(META_FORMAT, FORMAT)?;
        }
        found.unwrap_or(FORMAT)
    };
    if found == FORMAT {
        let (mut choices, mut wake) = (HashMap::new(), Wake::default());
        let mut batch = Batch::open(&transaction, &mut choices, &mut wake)?;
        queue::end_all_leases(&mut batch)?;
        batch.seal()?;
        transaction.commit()?;
    }
    Ok(found)
}
