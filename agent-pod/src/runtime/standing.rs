//! What a worker knows of itself while it works, kept where its status can be made of it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use flow::ServiceTime;

use super::service_times::ServiceTimes;

/// Counts of one worker.
#[derive(Debug, Default)]
pub struct Standing {
    in_work: AtomicU32,
    interrupted: AtomicU64,
    times: Mutex<ServiceTimes>,
}

impl Standing {
    /// So many tasks are in work now.
    pub fn working(&self, tasks: usize) {
        self.in_work.store(u32::try_from(tasks).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// A task was handed back unfinished.
    pub fn interrupted(&self) {
        self.interrupted.fetch_add(1, Ordering::Relaxed);
    }

    /// A task was done, for which models read so many tokens.
    pub fn done(&self, pipeline: &str, stage: &str, tokens: u64, took: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.record(pipeline, stage, tokens, took);
    }

    /// Tasks in work, and tasks handed back so far.
    pub fn counts(&self) -> (u32, u64) {
        (self.in_work.load(Ordering::Relaxed), self.interrupted.load(Ordering::Relaxed))
    }

    /// How long the newest tasks took.
    pub fn service_times(&self) -> Vec<ServiceTime> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).summary()
    }
}
