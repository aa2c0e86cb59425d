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
const WINDOW: usize = 256;
/// Attempts that must be known before a limit is learned of them: with fewer, the slowest says nothing.
const ENOUGH: usize = 20;
/// Share of the attempts that took no longer than what is multiplied.
const QUANTILE: f64 = 0.99;
/// How many times that an attempt may take.
const FACTOR: u32 = 3;
/// Never less: a busy machine, a cold disk or a broken connection costs so much at times.
const LEAST: Duration = Duration::from_secs(1);
/// Never more, repetitions included: what takes longer hangs.
const MOST: Duration = Duration::from_secs(30 * 60);
/// Stages that are remembered before all are forgotten: those of plans that are gone, too.
const STAGES: usize = 4_096;

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

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERWISE: Duration = Duration::from_secs(300);

    fn key(stage: &str) -> Key {
        Key { pipeline: "p".to_owned(), stage: stage.to_owned() }
    }

    fn after(times: impl IntoIterator<Item = u64>) -> Adaptive {
        let adaptive = Adaptive::default();
        times.into_iter().for_each(|millis| adaptive.took(key("a"), Duration::from_millis(millis)));
        adaptive
    }

    fn limit(adaptive: &Adaptive) -> Duration {
        adaptive.limit(&key("a"), 1, OTHERWISE)
    }

    #[test]
    fn the_default_holds_until_enough_is_known_of_this_stage() {
        let adaptive = after([2_000; ENOUGH - 1]);
        assert_eq!(limit(&adaptive), OTHERWISE);
        adaptive.took(key("a"), Duration::from_secs(2));
        assert_eq!(limit(&adaptive), Duration::from_secs(6));
        assert_eq!(adaptive.limit(&key("b"), 1, OTHERWISE), OTHERWISE);
    }

    #[test]
    fn the_slowest_in_a_hundred_does_not_count() {
        assert_eq!(limit(&after((0..200).map(|n| if n < 2 { 60_000 } else { 1_000 }))), Duration::from_secs(3));
        assert_eq!(limit(&after((0..200).map(|n| if n < 3 { 60_000 } else { 1_000 }))), Duration::from_secs(180));
    }

    #[test]
    fn the_limit_stays_within_its_bounds() {
        assert_eq!(limit(&after([1; ENOUGH])), LEAST);
        assert_eq!(limit(&after([3_600_000; ENOUGH])), MOST);
        assert_eq!(after([3_600_000; ENOUGH]).limit(&key("a"), u32::MAX, OTHERWISE), MOST);
    }

    #[test]
    fn a_repetition_is_given_twice_the_time() {
        let adaptive = after([1_000; ENOUGH]);
        let limits = [1, 2, 3].map(|attempt| adaptive.limit(&key("a"), attempt, OTHERWISE).as_secs());
        assert_eq!(limits, [3, 6, 12]);
    }

    #[test]
    fn a_limit_that_has_become_too_short_grows_and_old_attempts_are_forgotten() {
        let adaptive = after([1_000; WINDOW]);
        for _ in 0..3 {
            let cut = limit(&adaptive);
            adaptive.took(key("a"), cut);
        }
        assert_eq!(limit(&adaptive), Duration::from_secs(9));
        for _ in 0..WINDOW {
            adaptive.took(key("a"), Duration::from_secs(2));
        }
        assert_eq!(limit(&adaptive), Duration::from_secs(6));
    }

    #[test]
    fn stages_that_are_remembered_are_bounded() {
        let adaptive = Adaptive::default();
        for n in 0..=STAGES {
            adaptive.took(key(&n.to_string()), Duration::from_secs(1));
        }
        assert!(adaptive.lock().len() <= STAGES);
    }
}
