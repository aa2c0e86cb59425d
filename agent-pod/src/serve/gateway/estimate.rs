//! When a document will have ended, by how long work takes and how much of it waits. Pure: numbers in, numbers out.
//!
//! ```text
//! a pool's wait  =  (tasks that wait + half of those in work) * mean time of a task / slots
//! a document     =  its longest way through the stages that are left, each with its pool's wait before it
//! ```
//! It is a guess by what was measured. What it leaves out: that urgent documents overtake others, quality rounds, retries,
//! stages that their condition will skip, documents that have yet to come, and the writing of results.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use flow::{Plan, PodStatus};

/// Least and most that a client is asked to stay away: less is a busy loop, and after more things have changed.
const RETRY_BOUNDS: (f64, f64) = (1.0, 300.0);

/// What is known of a pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolLoad {
    /// Tasks that nobody has taken.
    pub waiting: u64,
    /// Tasks that somebody has taken.
    pub in_work: u64,
    /// Tasks that its workers can work at once.
    pub slots: u64,
    /// Seconds of a task by pipeline and stage, and how often such tasks come, beside the others.
    pub stages: BTreeMap<(String, String), Times>,
}

/// How long tasks take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// How often they come, beside others of their pool.
    pub often: f64,
    /// Their mean, in seconds.
    pub mean: f64,
}

impl PoolLoad {
    /// By what a pool's workers say of themselves.
    pub fn new<'a>(waiting: u64, in_work: u64, workers: impl Iterator<Item = &'a PodStatus>) -> Self {
        let mut load = Self { waiting, in_work, ..Self::default() };
        let workers: Vec<&PodStatus> = workers.collect();
        load.slots = workers.iter().filter(|it| it.ready && !it.cordoned).map(|worker| u64::from(worker.slots)).sum();
        let times = || workers.iter().flat_map(|worker| &worker.service_times).filter(|time| time.count > 0);
        // As many are known of each size, however seldom it comes: what counts is how often, where all workers say so.
        let all_say = times().all(|time| time.frequency().is_some());
        for time in times() {
            let often = time.frequency().filter(|_| all_say).unwrap_or(f64::from(time.count));
            let of_stage = load.stages.entry((time.pipeline.clone(), time.stage.clone())).or_default();
            of_stage.often += often;
            of_stage.mean += (time.mean - of_stage.mean) * often / of_stage.often;
        }
        load
    }

    /// Seconds until a task that comes now is taken; `None` where that is not known.
    pub fn wait(&self) -> Option<f64> {
        let ahead = self.waiting as f64 + self.in_work as f64 / 2.0;
        if self.slots == 0 {
            return None;
        }
        // What waits is of stages in the same measure as what was done.
        let often: f64 = self.stages.values().map(|times| times.often).sum();
        let seconds: f64 = self.stages.values().map(|times| times.often * times.mean).sum();
        match (ahead > 0.0, often > 0.0) {
            (false, _) => Some(0.0),
            (true, false) => None,
            (true, true) => Some(ahead * (seconds / often) / self.slots as f64),
        }
    }
}

/// Seconds until a document ends of which these stages are done; `None` where something on its way was never measured.
pub fn remaining(plan: &Plan, is_done: impl Fn(&str) -> bool, pools: &BTreeMap<String, PoolLoad>) -> Option<f64> {
    let mut ends: HashMap<&str, f64> = HashMap::new();
    let mut total = 0.0;
    for stage in plan.stages() {
        let begins = stage.predecessors.iter().filter_map(|before| ends.get(before.as_str())).copied();
        let mut end = begins.fold(0.0, f64::max);
        if !stage.writes_results() && !is_done(&stage.name) {
            let pool = pools.get(&stage.spec.pool)?;
            let times = pool.stages.get(&(plan.name.clone(), stage.name.clone()))?;
            let takes = pool.wait()? + times.mean;
            end += takes;
            total += takes;
        }
        ends.insert(&stage.name, end);
    }
    // One after the other, where the pipeline says so.
    Some(if plan.spec.parallel { ends.into_values().fold(0.0, f64::max) } else { total })
}

/// When a client may try again whose pipeline has `in_flight` documents, as many as it may, of which a new one would take
/// `seconds`: by then one of them should have ended. `None` where nothing is measured.
pub fn retry_after(seconds: Option<f64>, in_flight: usize) -> Option<Duration> {
    let between_ends = seconds.filter(|seconds| seconds.is_finite())? / in_flight.max(1) as f64;
    Some(Duration::from_secs_f64(between_ends.clamp(RETRY_BOUNDS.0, RETRY_BOUNDS.1).ceil()))
}
