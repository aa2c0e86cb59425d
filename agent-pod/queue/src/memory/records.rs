//! Records in a map.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::count_write;
use crate::{Error, Faults, Records, Result, Versioned};

/// Records of one process.
pub(super) struct MemoryRecords {
    state: Mutex<State>,
    faults: Faults,
}

#[derive(Default)]
struct State {
    records: BTreeMap<String, Versioned>,
    // One count for all keys, so that a record created again never repeats a revision of its predecessor.
    revision: u64,
}

impl MemoryRecords {
    pub(super) fn new(faults: Faults) -> Self {
        Self { state: Mutex::default(), faults }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `key` if its revision is `expected` (`None`: if it does not exist).
    fn write(&self, key: &str, expected: Option<u64>, bytes: Bytes) -> Result<u64> {
        let mut state = self.lock();
        count_write(&self.faults, "write a record")?;
        if state.records.get(key).map(|record| record.revision) != expected {
            return Err(Error::Conflict { key: key.to_owned() });
        }
        state.revision += 1;
        let revision = state.revision;
        state.records.insert(key.to_owned(), Versioned { revision, bytes });
        Ok(revision)
    }
}

#[async_trait]
impl Records for MemoryRecords {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        Ok(self.lock().records.get(key).cloned())
    }

    async fn create(&self, key: &str, bytes: Bytes) -> Result<u64> {
        self.write(key, None, bytes)
    }

    async fn update(&self, key: &str, revision: u64, bytes: Bytes) -> Result<u64> {
        self.write(key, Some(revision), bytes)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let mut state = self.lock();
        count_write(&self.faults, "delete a record")?;
        state.records.remove(key);
        Ok(())
    }

    async fn remove(&self, key: &str, revision: u64) -> Result<()> {
        let mut state = self.lock();
        count_write(&self.faults, "remove a record")?;
        match state.records.get(key) {
            Some(record) if record.revision != revision => Err(Error::Conflict { key: key.to_owned() }),
            _ => {
                state.records.remove(key);
                Ok(())
            }
        }
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Versioned)>> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let state = self.lock();
        let found = state
            .records
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, record)| (key.clone(), record.clone()))
            .collect();
        Ok(found)
    }
}
