//! Wakes those who wait for messages of a pool.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

/// One signal a pool, so that a publish wakes nobody who waits elsewhere.
#[derive(Default)]
pub(crate) struct PoolSignals {
    pools: Mutex<HashMap<String, Arc<Notify>>>,
}

impl PoolSignals {
    /// What a pull of the pool waits for.
    pub(crate) fn of(&self, pool: &str) -> Arc<Notify> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signal) = pools.get(pool) {
            return Arc::clone(signal);
        }
        // Pools come and go: forget those that nobody waits for, whenever one is added.
        pools.retain(|_, signal| Arc::strong_count(signal) > 1);
        Arc::clone(pools.entry(pool.to_owned()).or_default())
    }

    /// Lets every waiting pull of the pool look again.
    pub(crate) fn wake(&self, pool: &str) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signal) = pools.get(pool) {
            signal.notify_waiters();
        }
    }
}
