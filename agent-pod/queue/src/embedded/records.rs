//! Records in a table of the state file.

use std::{ops::Bound, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable};

use super::{
    failure::Stop,
    schema::{Batch, RECORDS},
    writer::Store,
};
use crate::{Error, Records, Result, Versioned};

/// Records of one folder.
pub(super) struct EmbeddedRecords {
    store: Arc<Store>,
}

impl EmbeddedRecords {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Writes `key` if its revision is `expected` (`None`: if it does not exist).
    async fn set(&self, action: &'static str, key: &str, expected: Option<u64>, bytes: Bytes) -> Result<u64> {
        let key = key.to_owned();
        self.store.write(action, move |batch| set(batch, &key, expected, &bytes)).await
    }
}

#[async_trait]
impl Records for EmbeddedRecords {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        self.store
            .read("read a record", |transaction| {
                let records = transaction.open_table(RECORDS)?;
                Ok(records.get(key)?.map(|row| versioned(row.value())))
            })
            .await
    }

    async fn create(&self, key: &str, bytes: Bytes) -> Result<u64> {
        self.set("create a record", key, None, bytes).await
    }

    async fn update(&self, key: &str, revision: u64, bytes: Bytes) -> Result<u64> {
        self.set("update a record", key, Some(revision), bytes).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let key = key.to_owned();
        self.store
            .write("delete a record", move |batch| {
                if batch.records.remove(key.as_str())?.is_some() {
                    batch.mark_changed();
                }
                Ok(())
            })
            .await
    }

    async fn remove(&self, key: &str, revision: u64) -> Result<()> {
        let key = key.to_owned();
        self.store
            .write("remove a record", move |batch| {
                match batch.records.get(key.as_str())?.map(|row| row.value().0) {
                    None => return Ok(()),
                    Some(present) if present != revision => return Err(Stop::Refused(Error::Conflict { key })),
                    Some(_) => {}
                }
                batch.records.remove(key.as_str())?;
                batch.mark_changed();
                Ok(())
            })
            .await
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Versioned)>> {
        self.store.read("scan records", |transaction| scan(transaction, prefix, after, limit)).await
    }
}

fn set(batch: &mut Batch<'_>, key: &str, expected: Option<u64>, bytes: &Bytes) -> std::result::Result<u64, Stop> {
    let present = batch.records.get(key)?.map(|row| row.value().0);
    if present != expected {
        return Err(Stop::Refused(Error::Conflict { key: key.to_owned() }));
    }
    // One count for all keys, so that a record created again never repeats a revision of its predecessor.
    let revision = batch.next_number();
    batch.records.insert(key, (revision, bytes.as_ref()))?;
    Ok(revision)
}

fn scan(
    transaction: &ReadTransaction,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> std::result::Result<Vec<(String, Versioned)>, redb::Error> {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let records = transaction.open_table(RECORDS)?;
    let mut found = Vec::new();
    for row in records.range::<&str>((start, Bound::Unbounded))?.take(limit) {
        let (key, row) = row?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push((key.value().to_owned(), versioned(row.value())));
    }
    Ok(found)
}

fn versioned((revision, bytes): (u64, &[u8])) -> Versioned {
    Versioned { revision, bytes: Bytes::copy_from_slice(bytes) }
}
