//! When tasks came: how many a second, how evenly, and how old those are that wait.

use super::{BINS, GAP, History};
use crate::{observation::Observation, settings::Settings};

/// A bin's tasks are told apart in so many parts at most.
const PARTS: f64 = 4.0;
/// The present rate follows arrivals within about a minute: as fast as pods can follow it.
const RATE_SECONDS: f64 = 60.0;
/// More arrivals than last are chance unless they are more by so many standard deviations.
const SURELY: f64 = 3.0;
/// By so much more than independent arrivals do they vary at most, as far as chance goes: bursts are no chance.
const MOST_UNEVEN: f64 = 10.0;
/// Seconds over which it is learned how many last: of a younger pool there is less that chance could be told from.
const LASTING_SECONDS: f64 = 600.0;
/// Arrivals are looked at by so many that are expected at a time to see how even they are, with such a weight.
const COUNTED: f64 = 8.0;
const COUNTED_WEIGHT: f64 = 0.1;
/// A burst shows in so many seconds.
const BURST_SECONDS: f64 = 10.0;

impl History {
    /// Over how many seconds until now new tasks came: none, unless they could not be seen coming.
    pub(super) fn arrived_over(&self, observation: &Observation, new: u64, passed: f64) -> f64 {
        let unread = if self.unread { passed } else { 0.0 };
        // With none that was there before, the oldest that waits is one of the new.
        let oldest = observation.oldest_wait.filter(|_| observation.pending() <= new).unwrap_or(0.0);
        unread.max(oldest).max(0.0)
    }

    /// Takes note of when tasks came: evenly over so many seconds.
    pub(super) fn note_arrivals(&mut self, settings: &Settings, new: u64, over: f64, now: f64) {
        self.width = (settings.target.wait / 16.0).max(1.0);
        // No more bins than leave room for those of before.
        let parts = (over / self.width).ceil().clamp(1.0, BINS as f64 / 2.0);
        let mut told = 0;
        for part in 1..=parts as u32 {
            let until = (new as f64 * f64::from(part) / parts).round() as u64;
            let count = u32::try_from(until.saturating_sub(told)).unwrap_or(u32::MAX);
            told = until;
            if count > 0 {
                self.arrived_from(now - over * (1.0 - f64::from(part - 1) / parts), count);
            }
        }
        if self.arrived.len() > BINS {
            self.arrived.drain(..self.arrived.len() - BINS);
        }
    }

    /// Adds tasks to the newest bin, or begins one at that time.
    fn arrived_from(&mut self, at: f64, count: u32) {
        match self.arrived.last_mut() {
            Some((start, tasks)) if at - *start < self.width => *tasks = tasks.saturating_add(count),
            _ => self.arrived.push(((at * 100.0).round() / 100.0, count)),
        }
    }

    pub(super) fn learn_arrivals(&mut self, new: u64, passed: f64) {
        if passed <= 0.0 {
            return;
        }
        let expected = self.rate * passed;
        if expected > 0.0 && passed < GAP {
            let surprise = (new as f64 - expected).powi(2) / expected.max(1.0);
            let weight = 1.0 - (-passed / (10.0 * RATE_SECONDS)).exp();
            self.dispersion += weight * (surprise.min(400.0) - self.dispersion);
        }
        let weight = 1.0 - (-passed / RATE_SECONDS).exp();
        self.rate += weight * (new as f64 / passed - self.rate);
    }

    /// How much arrivals vary, as their variance over their mean.
    pub(super) fn learn_unevenness(&mut self, new: u64, passed: f64) {
        if !(0.0..GAP).contains(&passed) {
            self.counted = (0, 0.0);
            return;
        }
        let (count, expected) = (self.counted.0.saturating_add(new), self.counted.1 + self.idle.rate() * passed);
        self.counted = (count, expected);
        if expected >= COUNTED {
            let surprise = (count as f64 - expected).powi(2) / expected;
            self.unevenness += COUNTED_WEIGHT * (surprise.min(10.0) - self.unevenness);
            self.counted = (0, 0.0);
        }
    }

    /// Arrivals a second that are to be expected: as many as last, and what is more than that of late, or in the last seconds, as
    /// far as it is not chance.
    pub(crate) fn expected_rate(&self, now: f64) -> f64 {
        let burst = self.arrived.iter().rev().take_while(|(start, _)| now - start < BURST_SECONDS);
        let count: f64 = burst.map(|(_, count)| f64::from(*count)).sum();
        // A mean that forgets exponentially varies like a count over twice the time.
        let of_late = self.not_by_chance(self.rate, 2.0 * RATE_SECONDS);
        of_late.max(self.not_by_chance(count / BURST_SECONDS, BURST_SECONDS))
    }

    /// The part of a rate that was seen over so many seconds which chance does not explain, with the rate that lasts.
    ///
    /// Pods are asked for when a rate seems high, which by chance it does again and again: taken for lasting, that would ask for
    /// too many, the more so the longer they take to start. Of what is beyond nothing is left up to three standard deviations, and
    /// nearly all of what is far more (the form of Breiman, Better Subset Regression Using the Nonnegative Garrote, 1995).
    fn not_by_chance(&self, seen: f64, seconds: f64) -> f64 {
        let lasting = self.steady_rate();
        let beyond = seen - lasting;
        if beyond <= 0.0 {
            return lasting;
        }
        let surely = SURELY * (f64::from(self.known_for) / LASTING_SECONDS).min(1.0);
        let variance = self.dispersion.clamp(1.0, MOST_UNEVEN) * seen / seconds;
        lasting + (1.0 - surely.powi(2) * variance / beyond.powi(2)).max(0.0) * beyond
    }

    /// How long the first in line has waited, if something waits.
    pub(crate) fn oldest_wait(&self, observation: &Observation, now: f64) -> Option<f64> {
        let since = self.reading.and_then(|reading| reading.oldest_since);
        observation.oldest_wait.map(|waited| since.map_or(waited, |since| waited.max(now - since)))
    }

    /// What waits, by age in seconds, the youngest first.
    ///
    /// Tasks are taken in the order of their arrival, so those that wait are those that arrived last.
    pub(crate) fn waiting(&self, observation: &Observation, now: f64) -> Vec<(f64, f64)> {
        let mut left = observation.pending() as f64;
        let oldest = self.oldest_wait(observation, now);
        let mut waiting: Vec<(f64, f64)> = Vec::new();
        let mut end = now;
        for &(start, count) in self.arrived.iter().rev() {
            if left <= 0.0 {
                break;
            }
            let all = f64::from(count);
            let tasks = all.min(left);
            let until = end.min(start + self.width);
            // A bin's tasks came evenly; as one they would all be due at once.
            let parts = tasks.ceil().clamp(1.0, PARTS);
            for part in 0..parts as u32 {
                let place = (f64::from(part) + 0.5) * tasks / parts / all;
                let age = (now - until + (until - start) * place).max(0.0);
                waiting.push((oldest.map_or(age, |oldest| age.min(oldest)), tasks / parts));
            }
            left -= tasks;
            end = start;
        }
        // Of what could not be seen coming, only the age of the oldest is known for certain.
        let unseen = |last: &&mut (f64, f64)| oldest.is_some_and(|oldest| oldest > last.0 + self.width);
        if let Some(last) = waiting.last_mut().filter(unseen) {
            last.0 = oldest.unwrap_or(last.0);
        }
        // How long the first in line has waited is known to the second: it is the one that a start is put off for.
        if let (Some(first), Some(oldest), true) = (waiting.last_mut(), oldest, left <= 0.0) {
            if first.1 <= 1.0 {
                first.0 = oldest;
            } else {
                first.1 -= 1.0;
                waiting.push((oldest, 1.0));
            }
        }
        if left > 0.0 {
            let youngest = waiting.last().map_or(0.0, |last| last.0);
            waiting.push((oldest.unwrap_or(youngest).max(youngest), left));
        }
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::{History, LASTING_SECONDS};

    /// A pool to which one task a second came for a long time.
    fn known(dispersion: f64) -> History {
        let mut history = History { rate: 1.0, dispersion, known_for: 1e5, ..History::default() };
        (0..3_600).for_each(|_| history.idle.passed(1.0, 1));
        history
    }

    #[test]
    fn what_chance_explains_is_not_expected_to_go_on() {
        let history = known(1.0);
        let lasting = history.steady_rate();
        // Over 100 s a rate of 1.2 deviates by 0.11 on average, and one of 3 by 0.17.
        assert!((history.not_by_chance(1.2, 100.0) - lasting).abs() < 1e-9);
        assert!(history.not_by_chance(3.0, 100.0) > 2.8);
        // Less than lasts is no reason to expect less.
        assert!((history.not_by_chance(0.2, 100.0) - lasting).abs() < 1e-9);
    }

    #[test]
    fn the_more_arrivals_vary_the_more_is_chance_but_bursts_are_none() {
        let of = |dispersion: f64| known(dispersion).not_by_chance(3.0, 100.0);
        assert!(of(5.0) < of(1.0) && of(5.0) > 1.5, "{} and {}", of(5.0), of(1.0));
        assert!((of(400.0) - of(10.0)).abs() < 1e-9);
    }

    #[test]
    fn of_a_young_pool_all_is_expected_to_go_on() {
        let of = |known_for: f64| History { known_for: known_for as f32, ..known(1.0) }.not_by_chance(1.2, 100.0);
        assert!((of(0.0) - 1.2).abs() < 1e-6 && of(LASTING_SECONDS / 4.0) > of(LASTING_SECONDS) + 0.05);
    }
}
