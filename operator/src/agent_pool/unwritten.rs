//! Which changes of a pool's status wait a moment for those that follow. While agents come and go, numbers and words change with
//! each of them; whoever watches the pool, and the API server, need not hear of all.
//!
//! Guarantees: what a person waits for is written at once: that a change of theirs was seen, that the pool is as it should be,
//! that something failed; so is what is built by (`fallback`, `scaling`). Anything else is written within [`WAIT`] of the first
//! change that was not, however many follow. Nothing is lost with a process: the next one sees a status that is not as it
//! should be, and writes it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crds::{AgentPool, AgentPoolStatus};
use kube::ResourceExt;

/// Agents of a rollout follow each other within this time. With it, with the gathering of what was made and a pass, a status is
/// no older than two seconds.
pub const WAIT: Duration = Duration::from_secs(1);

/// Pools whose status has not been written, by uid, and since when.
#[derive(Default)]
pub struct Unwritten {
    since: Mutex<HashMap<String, Instant>>,
}

impl Unwritten {
    /// How long the status of a pool can wait yet; `None`: it is to be written now, if it says anything new. `is_settled` is
    /// whether nothing is under way: no other change would follow.
    pub fn wait(&self, pool: &AgentPool, status: &AgentPoolStatus, is_settled: bool, now: Instant) -> Option<Duration> {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = pool.uid().unwrap_or_default();
        let left = pool.status.as_ref().filter(|before| !is_settled && can_wait(before, status)).and_then(|_| {
            let begun = *since.entry(uid.clone()).or_insert(now);
            WAIT.checked_sub(now.saturating_duration_since(begun)).filter(|left| !left.is_zero())
        });
        if left.is_none() {
            since.remove(&uid);
        }
        left
    }

    /// The pool is gone.
    pub fn forget(&self, pool: &AgentPool) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(&pool.uid().unwrap_or_default());
    }
}

/// Whether a status differs in nothing but what changes while agents come and go.
fn can_wait(before: &AgentPoolStatus, after: &AgentPoolStatus) -> bool {
    let passing = AgentPoolStatus {
        desired_replicas: after.desired_replicas,
        replicas: after.replicas,
        ready_replicas: after.ready_replicas,
        conditions: after.conditions.clone(),
        ..before.clone()
    };
    before != after && passing == *after
}
