//! A Lease in memory, with the compare-and-set of an API server: for tests and for what runs in one process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::coordination::v1::Lease;

use super::{CallError, LeaseApi};

/// Clones share one Lease.
#[derive(Clone, Default)]
pub struct MemoryLease {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lease: Option<Lease>,
    writes: u64,
}

impl MemoryLease {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the Lease, as an administrator may.
    pub fn delete(&self) {
        self.state().lease = None;
    }

    /// The Lease as it is now.
    pub fn lease(&self) -> Option<Lease> {
        self.state().lease.clone()
    }

    /// Writes so far.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }
}

impl State {
    fn write(&mut self, mut lease: Lease) -> Lease {
        self.writes += 1;
        lease.metadata.resource_version = Some(self.writes.to_string());
        self.lease.insert(lease).clone()
    }
}

impl LeaseApi for MemoryLease {
    async fn get(&self) -> Result<Option<Lease>, CallError> {
        Ok(self.lease())
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, CallError> {
        let mut state = self.state();
        if state.lease.is_some() { Err(CallError::Conflict) } else { Ok(state.write(lease.clone())) }
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, CallError> {
        let mut state = self.state();
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        match &state.lease {
            Some(held) if version(held) == version(lease) => Ok(state.write(lease.clone())),
            _ => Err(CallError::Conflict),
        }
    }
}
