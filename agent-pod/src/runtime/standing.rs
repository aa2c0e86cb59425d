//! What a worker knows of itself while it works, kept where its status can be made of it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use flow::{DueInWork, Millis, ServiceTime, Spent, WaitCounts};

use super::service_times::ServiceTimes;

/// Deadlines of documents in work, by pipeline and stage, each with how many documents have it.
type Due = BTreeMap<(String, String), BTreeMap<Millis, usize>>;

/// Counts of one worker.
#[derive(Debug, Default)]
pub struct Standing {
    in_work: AtomicU32,
    interrupted: AtomicU64,
    resting: AtomicBool,
    times: Mutex<ServiceTimes>,
    waits: Mutex<WaitCounts>,
    due: Mutex<Due>,
    tokens: AtomicU64,
    /// In billionths.
    cost: AtomicU64,
}

impl Standing {
    /// So many tasks are in work now.
    pub fn working(&self, tasks: usize) {
        self.in_work.store(u32::try_from(tasks).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// It takes no tasks because it rests, or it takes them again.
    pub fn rests(&self, rests: bool) {
        self.resting.store(rests, Ordering::Relaxed);
    }

    /// Whether it takes no tasks because it rests.
    pub fn is_resting(&self) -> bool {
        self.resting.load(Ordering::Relaxed)
    }

    /// A task was started for the first time, which had waited so long.
    pub fn started(&self, waited: Duration) {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).start(waited.as_secs_f64());
    }

    /// How long tasks had waited when they were started.
    pub fn waits(&self) -> WaitCounts {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An attempt took tokens, whether its result was of use or not.
    pub fn spent(&self, spent: &Spent) {
        self.tokens.fetch_add(spent.tokens(), Ordering::Relaxed);
        self.cost.fetch_add(spent.cost, Ordering::Relaxed);
    }

    /// Tokens read and written so far, and their cost.
    pub fn consumed(&self) -> (u64, f64) {
        (self.tokens.load(Ordering::Relaxed), flow::units(self.cost.load(Ordering::Relaxed)))
    }

    /// A task was handed back unfinished.
    pub fn interrupted(&self) {
        self.interrupted.fetch_add(1, Ordering::Relaxed);
    }

    /// A task was done, for which models read so many tokens, of a document of this class of size.
    pub fn done(&self, pipeline: &str, stage: &str, sizes: (u64, u8), took: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.record(pipeline, stage, sizes, took);
    }

    /// Tasks in work, and tasks handed back so far.
    pub fn counts(&self) -> (u32, u64) {
        (self.in_work.load(Ordering::Relaxed), self.interrupted.load(Ordering::Relaxed))
    }

    /// A document that must have ended by then is in work at a stage, until what this returns is dropped.
    pub fn works_until(&self, pipeline: &str, stage: &str, deadline: Millis) -> InWork<'_> {
        let stage = (pipeline.to_owned(), stage.to_owned());
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        *due.entry(stage.clone()).or_default().entry(deadline).or_default() += 1;
        InWork { standing: self, stage, deadline }
    }

    /// Documents in work that have a deadline.
    pub fn due(&self) -> Vec<DueInWork> {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let of_stage = |((pipeline, stage), deadlines): (&(String, String), &BTreeMap<Millis, usize>)| {
            let deadlines =
                deadlines.iter().flat_map(|(deadline, documents)| std::iter::repeat_n(*deadline, *documents));
            DueInWork { pipeline: pipeline.clone(), stage: stage.clone(), deadlines: deadlines.collect() }
        };
        due.iter().map(of_stage).collect()
    }

    /// How long the newest tasks took.
    pub fn service_times(&self) -> Vec<ServiceTime> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).summary()
    }
}

/// A document with a deadline that is in work.
#[derive(Debug)]
pub struct InWork<'a> {
    standing: &'a Standing,
    stage: (String, String),
    deadline: Millis,
}

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        let mut due = self.standing.due.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(deadlines) = due.get_mut(&self.stage) else { return };
        match deadlines.get_mut(&self.deadline) {
            Some(documents) if *documents > 1 => *documents -= 1,
            _ => drop(deadlines.remove(&self.deadline)),
        }
        if deadlines.is_empty() {
            due.remove(&self.stage);
        }
    }
}
