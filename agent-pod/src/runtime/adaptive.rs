//! `Adaptive` time-outs: how long an attempt may take is learned from those before it, in this process.
//!
//! The limit is a multiple of what all but the slowest attempts of the stage took. An attempt that was cut counts with the
//! time that it was given, so a limit that has become too short grows; and each repetition of an attempt is given twice as
//! much as the one before, so a document that is only slow gets through before its attempts are used up.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Attempts that are remembered of each stage: the last ones, since models and documents change.
pub const WINDOW: usize = 256;
/// Attempts that must be known before a limit is learned of them: with fewer, the slowest says nothing.
pub const ENOUGH: usize = 20;
/// Share of the attempts that took no longer than what is multiplied.
const QUANTILE: f64 = 0.99;
/// How many times that an attempt may take.
const FACTOR: u32 = 3;
/// Never less: a busy machine, a cold disk or a broken connection costs so much at times.
pub const LEAST: Duration = Duration::from_secs(1);
/// Never more, repetitions included: what takes longer hangs.
pub const MOST: Duration = Duration::from_secs(30 * 60);
/// Stages that are remembered before all are forgotten: those of plans that are gone, too.
pub const STAGES: usize = 4_096;

/// What a limit is learned for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The pipeline.
    pub pipeline: String,
    /// The stage.
    pub stage: String,
}

/// How long attempts took lately.
#[derive(Default)]
pub struct Adaptive {
    stages: Mutex<HashMap<Key, VecDeque<Duration>>>,
}

impl Adaptive {
    /// Longest time for an attempt, 1 being the first; `otherwise` while too little is known.
    pub fn limit(&self, key: &Key, attempt: u32, otherwise: Duration) -> Duration {
        let stages = self.lock();
        match stages.get(key).filter(|taken| taken.len() >= ENOUGH) {
            Some(taken) => limit_of(taken.iter().copied().collect(), attempt),
            None => otherwise,
        }
    }

    /// An attempt has taken so long, or was cut then.
    pub fn took(&self, key: Key, time: Duration) {
        let mut stages = self.lock();
        if stages.len() >= STAGES && !stages.contains_key(&key) {
            stages.clear();
        }
        let taken = stages.entry(key).or_default();
        if taken.len() == WINDOW {
            taken.pop_front();
        }
        taken.push_back(time);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, VecDeque<Duration>>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limit_of(mut taken: Vec<Duration>, attempt: u32) -> Duration {
    let rank = (QUANTILE * taken.len() as f64).ceil() as usize;
    let rank = rank.clamp(1, taken.len()) - 1;
    let (_, quantile, _) = taken.select_nth_unstable(rank);
    let first = quantile.saturating_mul(FACTOR).clamp(LEAST, MOST);
    first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(MOST)
}
