//! What the cache has done, counted for each level.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::semantic::SemanticStatistics;

/// Counts of one level, as they grow.
#[derive(Debug, Default)]
pub struct Counts {
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub errors: AtomicU64,
    pub stores: AtomicU64,
    pub skipped: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What one level has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LevelStatistics {
    /// Lookups that it answered.
    pub hits: u64,
    /// Lookups that it had nothing for, or nothing that still counts.
    pub misses: u64,
    /// Lookups and stores that failed.
    pub errors: u64,
    /// Results that it keeps since.
    pub stores: u64,
    /// Lookups and stores that were not tried: its breaker was open, its queue full, or the result too large.
    pub skipped: u64,
    /// `closed`, `open` or `half-open`, where the level has a breaker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<&'static str>,
}

impl From<&Counts> for LevelStatistics {
    fn from(counts: &Counts) -> Self {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            hits: read(&counts.hits),
            misses: read(&counts.misses),
            errors: read(&counts.errors),
            stores: read(&counts.stores),
            skipped: read(&counts.skipped),
            breaker: None,
        }
    }
}

/// What the cache has done so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    /// Results that no level had, so that the work was done.
    pub computed: u64,
    /// In the process; requests that met another one for the same result count as hits.
    pub memory: LevelStatistics,
    /// The shared server, where one is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<LevelStatistics>,
    /// In the folder.
    pub disk: LevelStatistics,
    /// Answers to nearly equal prompts.
    pub semantic: SemanticStatistics,
}
