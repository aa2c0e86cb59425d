//! Removes what nobody needs any more, as `spec.retention` of the pipelines says: records of documents that have ended, with
//! their tasks and timers; then payloads and plans that no record names.
//!
//! Payloads have no owner: equal bytes of two documents are stored once. So they are found by mark and sweep over all records of
//! the store, and are removed when no record has named them for the longest `payloads` of the pipelines. What is about to be
//! named is safe, see [`queue::Condemned`].

mod ended;
pub mod marks;
mod sweep;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crds::Retention;
use queue::Ports;

use super::{driver::Scope, metrics::Metrics};

/// Longest time from the storing of bytes to the record that names them, where processes share a store.
pub const SETTLE: Duration = Duration::from_secs(3_600);

/// Why a pass was not made, or not to its end. The next one begins anew.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("failed to {action}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: queue::Error,
    },
    /// What a record names that cannot be read is not known: then nothing is swept. A newer version of the program, or an
    /// erasure of the document, helps.
    #[error("nothing is swept: failed to read the record \"{key}\"")]
    Unreadable {
        /// Where it lies.
        key: String,
        /// Why.
        #[source]
        source: flow::DecodeError,
    },
}

fn store(action: &'static str) -> impl FnOnce(queue::Error) -> Error {
    move |source| Error::Store { action, source }
}

/// Whose records are kept for how long.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Whose.
    pub scope: Scope,
    /// How long.
    pub retention: Retention,
}

/// What a pass removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Records of documents that had ended otherwise than as dead letters.
    pub records: u64,
    /// Records of dead letters.
    pub dead_letters: u64,
    /// Payloads.
    pub payloads: u64,
    /// Plans.
    pub plans: u64,
}

impl Removed {
    /// Whether it was anything.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// Makes passes over one store.
pub struct Keeper {
    ports: Ports,
    settle: Duration,
    metrics: Arc<Metrics>,
    progress: sweep::Progress,
}

impl Keeper {
    /// `settle`: the longest time between the storing of a payload, or of a plan, and the record that names it. Zero where this
    /// process has the store for itself and nothing is being stored.
    pub fn new(ports: Ports, settle: Duration, metrics: Arc<Metrics>) -> Self {
        Self { ports, settle, metrics, progress: sweep::Progress::default() }
    }

    /// One pass, which began at `now`. `served`: digests of plans that documents may be submitted with at any time. A pass
    /// removes and looks at a bounded number of things; those that are left are the next one's.
    pub async fn pass(&mut self, rules: &[Rule], served: &BTreeSet<String>, now: u64) -> Result<Removed, Error> {
        let mut removed = Removed::default();
        for rule in rules {
            ended::remove(&self.ports, rule, now, &mut removed).await?;
        }
        let longest = rules.iter().map(|rule| rule.retention.payloads.0).max();
        let sweep = sweep::Sweep { ports: &self.ports, age: longest.map(|age| age.max(self.settle)), served, now };
        sweep.run(&mut self.progress, &mut removed).await?;
        let counts = [
            ("records", removed.records),
            ("dead-letters", removed.dead_letters),
            ("payloads", removed.payloads),
            ("plans", removed.plans),
        ];
        counts.into_iter().for_each(|(kind, count)| self.metrics.retention_removed(kind, count));
        Ok(removed)
    }
}
