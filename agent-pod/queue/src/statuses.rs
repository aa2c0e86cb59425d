//! Statuses within one process: a map, out of which falls what is too old.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    Millis, Result, STATUS_TTL, Statuses,
    clock::{Clock, after},
};

/// Statuses of this process.
pub(crate) struct LocalStatuses {
    clock: Arc<dyn Clock>,
    ttl: Duration,
    said: Mutex<BTreeMap<String, Said>>,
    watchers: Mutex<HashMap<String, watch::Sender<Option<Bytes>>>>,
}

struct Said {
    status: Bytes,
    until: Millis,
}

impl LocalStatuses {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, ttl: STATUS_TTL, said: Mutex::default(), watchers: Mutex::default() }
    }

    /// What still counts.
    fn living(&self) -> MutexGuard<'_, BTreeMap<String, Said>> {
        let now = self.clock.now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|_, said| now < said.until);
        said
    }

    fn tell(&self, key: &str, word: Option<Bytes>) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|_, watcher| watcher.receiver_count() > 0);
        if let Some(watcher) = watchers.get(key) {
            watcher.send_replace(word);
        }
    }
}

#[async_trait]
impl Statuses for LocalStatuses {
    async fn publish(&self, key: &str, status: Bytes) -> Result<()> {
        let until = after(self.clock.now(), self.ttl);
        self.living().insert(key.to_owned(), Said { status: status.clone(), until });
        self.tell(key, Some(status));
        Ok(())
    }

    async fn all(&self, prefix: &str) -> Result<Vec<(String, Bytes)>> {
        let said = self.living();
        let found = said.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, said)| (key.clone(), said.status.clone())).collect())
    }

    async fn remove(&self, key: &str) -> Result<()> {
        self.living().remove(key);
        self.tell(key, None);
        Ok(())
    }

    async fn watch(&self, key: &str) -> Result<watch::Receiver<Option<Bytes>>> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(watchers.entry(key.to_owned()).or_default().subscribe())
    }
}
