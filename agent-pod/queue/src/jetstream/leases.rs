//! What this process has in work: the server keeps the leases, we keep what we know of them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::Subject;

use crate::{Error, Receipt, Result};

/// Leases remembered before those that are long over are looked for.
const TIDY_FROM: usize = 1024;

/// The deliveries that this process has handed out and that are not settled.
#[derive(Default)]
pub(super) struct Leases {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    leases: HashMap<(String, String), Lease>,
    count: u64,
    tidy_at: usize,
}

struct Lease {
    number: u64,
    reply: Subject,
    until: Instant,
}

impl Leases {
    /// Enters a delivery; an earlier one of the same message is over.
    pub(super) fn grant(&self, pool: &str, id: &str, reply: Subject, until: Instant) -> Receipt {
        let mut held = self.lock();
        held.count += 1;
        let number = held.count;
        held.leases.insert((pool.to_owned(), id.to_owned()), Lease { number, reply, until });
        if held.leases.len() > held.tidy_at.max(TIDY_FROM) {
            let now = Instant::now();
            held.leases.retain(|_, lease| lease.until > now);
            held.tidy_at = held.leases.len() * 2;
        }
        Receipt { id: id.to_owned(), pool: pool.to_owned(), lease: number }
    }

    /// Where to settle a delivery whose lease still runs.
    pub(super) fn running(&self, receipt: &Receipt) -> Result<Subject> {
        let now = Instant::now();
        self.with(receipt, |lease| (lease.until > now).then(|| lease.reply.clone()))
            .flatten()
            .ok_or_else(|| Error::LeaseOver { id: receipt.id.clone() })
    }

    /// The lease runs again, from `start` on.
    pub(super) fn extend(&self, receipt: &Receipt, start: Instant, lease: Duration) {
        self.with(receipt, |held| held.until = start + lease);
    }

    /// The delivery is settled.
    pub(super) fn end(&self, receipt: &Receipt) {
        let key = (receipt.pool.clone(), receipt.id.clone());
        let mut held = self.lock();
        if held.leases.get(&key).is_some_and(|lease| lease.number == receipt.lease) {
            held.leases.remove(&key);
        }
    }

    fn with<T>(&self, receipt: &Receipt, act: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        let mut held = self.lock();
        let lease = held.leases.get_mut(&(receipt.pool.clone(), receipt.id.clone()))?;
        (lease.number == receipt.lease).then(|| act(lease))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
