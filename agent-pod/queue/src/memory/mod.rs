//! All five ports in the memory of one process: for tests, and for work that leaves nothing. Nothing outlives it.

mod payloads;
mod queue;
mod records;
mod timers;

use std::{sync::Arc, time::Duration};

use crate::{
    Error, Faults, LEASE, Ports, Result,
    clock::{Clock, SystemClock},
    events::LocalEvents,
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
    Ports {
        queue: Arc::new(queue::MemoryQueue::new(Arc::clone(&clock), lease, faults.clone())),
        records: Arc::new(records::MemoryRecords::new(faults.clone())),
        payloads: Arc::new(payloads::MemoryPayloads::new(faults.clone())),
        timers: Arc::new(timers::MemoryTimers::new(clock, faults)),
        events: Arc::new(LocalEvents::default()),
    }
}

/// Counts a write before it takes effect; fails if a test wants it to.
fn count_write(faults: &Faults, action: &'static str) -> Result<()> {
    faults.count_write().map_err(|source| Error::Store { action, source: source.into() })
}
