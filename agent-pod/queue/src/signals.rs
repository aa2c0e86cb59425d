//! Wakes those who wait for messages of a pool.

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::{Delivery, Result};

/// What a pull of a pool waits for.
#[derive(Default)]
pub(crate) struct PoolSignal {
    /// There may be something to deliver.
    pub(crate) arrived: Notify,
    left: Notify,
}

impl PoolSignal {
    /// A pull that ends, with nothing, when this process leaves the pool.
    pub(crate) async fn unless_left(&self, pull: impl Future<Output = Result<Vec<Delivery>>>) -> Result<Vec<Delivery>> {
        let mut left = pin!(self.left.notified());
        left.as_mut().enable();
        tokio::select! {
            biased;
            pulled = pull => pulled,
            () = left => Ok(Vec::new()),
        }
    }
}

/// One signal a pool, so that a publish wakes nobody who waits elsewhere.
#[derive(Default)]
pub(crate) struct PoolSignals {
    pools: Mutex<HashMap<String, Arc<PoolSignal>>>,
}

impl PoolSignals {
    /// What a pull of the pool waits for.
    pub(crate) fn of(&self, pool: &str) -> Arc<PoolSignal> {
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
        self.tell(pool, |signal| &signal.arrived);
    }

    /// Ends every waiting pull of the pool.
    pub(crate) fn leave(&self, pool: &str) {
        self.tell(pool, |signal| &signal.left);
    }

    fn tell(&self, pool: &str, which: impl Fn(&PoolSignal) -> &Notify) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signal) = pools.get(pool) {
            which(signal).notify_waiters();
        }
    }
}
