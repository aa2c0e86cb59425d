//! All six ports in the memory of one process: for tests, and for work that leaves nothing. Nothing outlives it.

mod payloads;
mod queue;
mod records;
mod timers;

use std::{sync::Arc, time::Duration};

use crate::{
    Error, Faults, LEASE, Ports, Records, Result,
    clock::{Clock, SystemClock},
    events::LocalEvents,
    payloads::GuardedPayloads,
    statuses::LocalStatuses,
};

/// Ports that never fail.
pub fn open() -> Ports {
    open_with(Faults::default())
}

/// Ports whose writes fail as `faults` says: a call that fails has no effect.
pub fn open_with(faults: Faults) -> Ports {
    open_at(Arc::new(SystemClock::default()), LEASE, faults)
}

/// Ports that read the time from `clock` and whose queue grants leases of this length.
pub fn open_at(clock: Arc<dyn Clock>, lease: Duration, faults: Faults) -> Ports {
    let records: Arc<dyn Records> = Arc::new(records::MemoryRecords::new(faults.clone()));
    let payloads = Arc::new(payloads::MemoryPayloads::new(faults.clone()));
    Ports {
        queue: Arc::new(queue::MemoryQueue::new(Arc::clone(&clock), lease, faults.clone())),
        payloads: GuardedPayloads::over(payloads, &records),
        records,
        timers: Arc::new(timers::MemoryTimers::new(Arc::clone(&clock), faults)),
        events: Arc::new(LocalEvents::default()),
        statuses: Arc::new(LocalStatuses::new(clock)),
    }
}

/// Counts a write before it takes effect; fails if a test wants it to.
fn count_write(faults: &Faults, action: &'static str) -> Result<()> {
    faults.count_write().map_err(|source| Error::Store { action, source: source.into() })
}
