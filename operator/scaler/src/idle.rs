//! How long to keep a pod that has nothing to do, learned from how long pods had nothing to do before. Knows neither work nor
//! bounds.
//!
//! Pods are told apart by level: level 3 is idle while two pods would do. For each group of levels there is a histogram of how
//! long the level was idle before it was needed again. Keeping a pod for `T` seconds costs the shorter of the gap and `T`;
//! gaps longer than `T` cost a cold start, and what else a missing pod costs. The best `T` of the past is used for the future.
//!
//! Where the first pod is asked for only when tasks have gathered, one that goes is missed less often, as what comes meanwhile
//! is worked off together. So for the first level the least cost by the time that goes by is the best (the renewal-reward
//! theorem, as in Ross, Introduction to Probability Models, 7.4); each class of how busy the pool was is taken as a policy of its
//! own.

use serde::{Deserialize, Serialize};

use crate::promise::Broken;

/// Upper ends of the histogram's bins, in seconds; longer gaps are in one more.
const ENDS: [f64; 21] = [
    5.0, 8.0, 12.0, 18.0, 27.0, 40.0, 60.0, 90.0, 135.0, 200.0, 300.0, 450.0, 700.0, 1_000.0, 1_500.0, 2_300.0,
    3_500.0, 5_000.0, 8_000.0, 12_000.0, 20_000.0,
];
const BINS: usize = ENDS.len() + 1;
/// The longest gap that is thought of, in seconds.
const LONGEST: f64 = 40_000.0;
/// The middles of the bins, in seconds.
const MIDDLES: [f64; BINS] = {
    let (mut middles, mut bin) = ([0.0; BINS], 0);
    while bin < BINS {
        middles[bin] = f64::midpoint(if bin > 0 { end(bin - 1) } else { 0.0 }, end(bin));
        bin += 1;
    }
    middles
};

/// Where a bin ends, in seconds.
const fn end(bin: usize) -> f64 {
    if bin < ENDS.len() { ENDS[bin] } else { LONGEST }
}

/// The first level is told apart by how busy the pool was of late, in arrivals expected during one cold start: after a busy
/// time the next task comes sooner. Ends of all classes but the last.
const BUSY: [f64; 3] = [0.2, 0.4, 0.8];
const FIRST: usize = BUSY.len() + 1;
/// The last levels of all groups above the first level, but for the last group.
const GROUPS: [u32; 6] = [2, 3, 4, 6, 9, 14];
const ALL_GROUPS: usize = FIRST + GROUPS.len() + 1;
/// Those of the first three levels: pods that work needs which comes seldom.
const FIRST_THREE: usize = FIRST + 2;
/// Gaps remembered by a group; beyond, all counts are halved, so that the past fades.
const REMEMBERED: u32 = 400;
/// How far back "of late" reaches.
const RATE_SECONDS: f64 = 600.0;
/// Seconds without arrivals that are assumed of the time before anything was seen.
const NEW_SECONDS: f64 = 60.0;
/// Distinct times at which levels were needed last that are kept apart.
const STAIRS: usize = 24;
/// Weight of the last time that tasks gathered.
const GATHERED: f32 = 0.1;
/// What a change of direction may cost, in cold starts: the lowest that makes them rare enough is taken.
const CALM: [f64; 6] = [0.0, 0.25, 0.5, 1.0, 2.0, 4.0];

/// When levels were needed last, and how long they were idle before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// (level, when it and those below were needed last): levels rise, times fall.
    stairs: Vec<(u32, f64)>,
    gaps: Vec<Vec<u16>>,
    /// How busy the pool was when a pod was needed last.
    busy: usize,
    /// Arrivals a second over ten minutes.
    rate: f64,
    /// Seconds and arrivals that the gaps were seen in.
    seconds: f64,
    arrivals: f64,
    /// Seconds to keep a pod, by group.
    keep: Vec<f32>,
    reckoned_at: f64,
    /// Seconds for which the first task waits, on average, until a pod is asked for where none is.
    #[serde(default)]
    gathering: f32,
}

/// What a missing pod costs and how often that may be.
pub(crate) struct Prices {
    /// Seconds of a cold start, on average.
    pub(crate) cold_start: f64,
    /// Tasks that are late for each return to a level whose pod is gone.
    pub(crate) late_per_return: f64,
    /// The same, of the first pod.
    pub(crate) late_per_first_return: f64,
    /// Seconds after a pod's removal within which none may be started, and the tasks that are late for a return in them.
    pub(crate) pause: f64,
    pub(crate) late_per_quick_return: f64,
    /// Pod-seconds that a late task costs.
    pub(crate) late: f64,
    /// Seconds for which tasks gather before a first pod is asked for.
    pub(crate) gathering: f64,
    /// Pod-seconds that a return costs beside its cold start.
    pub(crate) a_return: f64,
    /// Returns an hour that are not too many changes of direction.
    pub(crate) returns_an_hour: f64,
    /// The price of a return, in cold starts, beyond which fewer changes of direction are not worth it.
    pub(crate) dearest_calm: f64,
    /// What is to be done where more are late than are aimed at.
    pub(crate) broken: Option<Broken>,
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            stairs: Vec::new(),
            gaps: vec![vec![0; BINS]; ALL_GROUPS],
            busy: 0,
            rate: 0.0,
            seconds: 0.0,
            arrivals: 0.0,
            keep: Vec::new(),
            reckoned_at: f64::MIN,
            gathering: 0.0,
        }
    }
}

/// Gaps of a bin, with one that is spread over all bins: before anything is known, any length is as likely as twice the length.
fn count(gaps: u16) -> f64 {
    f64::from(gaps) + 1.0 / BINS as f64
}

impl Idle {
    /// Time went by, and tasks arrived.
    pub(crate) fn passed(&mut self, seconds: f64, arrivals: u64) {
        self.seconds += seconds;
        self.arrivals += arrivals as f64;
        if seconds > 0.0 {
            // At first over the time that there was.
            let over = (NEW_SECONDS + self.seconds).min(RATE_SECONDS);
            let weight = 1.0 - (-seconds / over).exp();
            self.rate += weight * (arrivals as f64 / seconds - self.rate);
        }
    }

    /// The level is needed now, and those below; those above are not.
    pub(crate) fn needed(&mut self, level: u32, now: f64, since_last: f64, cold_start: f64) {
        let now = (now * 10.0).round() / 10.0;
        let mut below = 0;
        while let Some(&(top, at)) = self.stairs.first() {
            if top > level {
                if level > below {
                    self.record(level.min(top), now - at, since_last);
                }
                break;
            }
            self.record(top, now - at, since_last);
            below = top;
            self.stairs.remove(0);
        }
        if level > 0 {
            self.stairs.insert(0, (level, now));
            let expected = self.rate * cold_start;
            self.busy = BUSY.iter().position(|&end| expected < end).unwrap_or(BUSY.len());
        }
        if self.stairs.len() > STAIRS {
            self.merge(now);
        }
    }

    /// A first pod was asked for when the first task had waited for so long.
    pub(crate) fn first_asked_for(&mut self, waited: f64) {
        self.gathering += GATHERED * (waited as f32 - self.gathering);
    }

    /// Takes back to `now` what lies ahead of it.
    pub(crate) fn set_back(&mut self, now: f64) {
        self.stairs.iter_mut().for_each(|stair| stair.1 = stair.1.min(now));
        self.reckoned_at = self.reckoned_at.min(now);
    }

    /// Arrivals a second over ten minutes.
    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// Pods that are there at a first sight count as needed until then.
    pub(crate) fn assume(&mut self, pods: u32, now: f64) {
        if self.stairs.is_empty() && pods > 0 {
            self.stairs.push((pods, now));
        }
    }

    /// The pods that are worth keeping, and when the first of them no longer is.
    pub(crate) fn worth_keeping(&self, now: f64, at_least: f64) -> (u32, Option<f64>) {
        let mut kept = (0, None);
        let mut below = 0;
        for &(top, at) in &self.stairs {
            for level in below + 1..=top {
                let until = at + self.keep_seconds(level).max(at_least);
                if until > now {
                    kept = (level, Some(until));
                }
            }
            below = top;
        }
        kept
    }

    pub(crate) fn keep_seconds(&self, level: u32) -> f64 {
        self.keep.get(self.group(level)).map_or(0.0, |&seconds| f64::from(seconds))
    }

    /// Works out how long to keep pods; at most every half minute, as histograms change slowly.
    pub(crate) fn reckon(&mut self, prices: &Prices, now: f64) {
        if now - self.reckoned_at < 30.0 && now >= self.reckoned_at && !self.keep.is_empty() {
            return;
        }
        self.reckoned_at = now.round();
        for calm in CALM {
            let price = prices.a_return + prices.cold_start * calm;
            self.keep = (0..ALL_GROUPS).map(|of| self.best(of, prices, prices.late, price) as f32).collect();
            if calm >= prices.dearest_calm || self.returns_an_hour() <= prices.returns_an_hour {
                break;
            }
        }
        if let Some(broken) = prices.broken {
            self.mend(prices, broken);
        }
    }

    /// Keeps the first few pods for as long as it takes that no more tasks are late for want of one than may be: a late task is as
    /// dear as that makes it.
    fn mend(&mut self, prices: &Prices, broken: Broken) {
        let mut late = prices.late;
        while late < broken.price && self.late_for_first_three(prices) > broken.allowed {
            late = (2.0 * late).min(broken.price);
            for of in 0..FIRST_THREE {
                self.keep[of] = self.keep[of].max(self.best(of, prices, late, prices.a_return) as f32);
            }
        }
    }

    /// The share of tasks that are late for returns to the first three levels.
    fn late_for_first_three(&self, prices: &Prices) -> f64 {
        let late = |of: usize| {
            let each = if of < FIRST { prices.late_per_first_return } else { prices.late_per_return };
            each * self.expected_beyond(of, f64::from(self.keep[of]))
        };
        (0..FIRST_THREE).map(late).sum::<f64>() / self.arrivals.max(1.0)
    }

    /// Pod-seconds an hour that keeping idle pods costs together with cold starts, were level 1 kept for so long.
    pub(crate) fn hourly_cost(&self, keep: f64, cold_start: f64) -> Option<f64> {
        let seen: u32 = self.gaps[..FIRST].iter().flatten().map(|&count| u32::from(count)).sum();
        let cost = || (0..FIRST).map(|of| self.cost(of, keep, cold_start, 0.0, cold_start)).sum::<f64>();
        (seen >= 20 && self.seconds > 0.0).then(|| cost() * 3_600.0 / self.seconds)
    }

    /// Times an hour that pods are missed: one burst misses pods of several levels at once, so the most of one level counts.
    fn returns_an_hour(&self) -> f64 {
        let returns = |of: usize| self.beyond(of, f64::from(self.keep[of]));
        let first: f64 = (0..FIRST).map(returns).sum();
        let most = (FIRST..ALL_GROUPS).map(returns).fold(first, f64::max);
        most * 3_600.0 / self.seconds.max(3_600.0)
    }

    /// For how long to have kept pods would have been cheapest, at those prices of a late task and of a return beside its start.
    fn best(&self, of: usize, prices: &Prices, late: f64, calm: f64) -> f64 {
        let price = |tasks: f64| prices.cold_start + calm + late * tasks;
        // Nobody waits for the end of a pause where no pod is there.
        let (slow, quick) = if of < FIRST {
            (price(prices.late_per_first_return), price(prices.late_per_first_return))
        } else {
            (price(prices.late_per_return), price(prices.late_per_quick_return))
        };
        let seconds = self.seconds_of(of);
        let over_time = |keep: f64, cost: f64| cost / (seconds + self.beyond(of, keep) * prices.gathering);
        // Gaps that end before are kept through whatever is paid; what they cost is carried along.
        let mut kept = 0.0;
        let costs = std::iter::once(0.0).chain(ENDS).enumerate().map(|(bins, keep)| {
            let cost = self.cost_from(of, (bins, kept), keep, slow, keep + prices.pause, quick);
            if bins < BINS {
                kept += count(self.gaps[of][bins]) * MIDDLES[bins];
            }
            (keep, if of < FIRST { over_time(keep, cost) } else { cost })
        });
        costs.min_by(|one, other| one.1.total_cmp(&other.1)).map_or(0.0, |best| best.0)
    }

    /// Pod-seconds of gaps: kept until the end of the gap or of `keep`; a return costs `quick` until `until` and `slow` after.
    fn cost(&self, of: usize, keep: f64, slow: f64, until: f64, quick: f64) -> f64 {
        self.cost_from(of, (0, 0.0), keep, slow, until, quick)
    }

    /// The same, where the cost of the first bins is known.
    fn cost_from(&self, of: usize, known: (usize, f64), keep: f64, slow: f64, until: f64, quick: f64) -> f64 {
        let gaps = &self.gaps[of][..BINS];
        (known.0..BINS).fold(known.1, |cost, bin| {
            let middle = MIDDLES[bin];
            let a_return = if middle <= until { quick } else { slow };
            cost + count(gaps[bin]) * if end(bin) <= keep { middle } else { keep + a_return }
        })
    }

    /// Seconds that go by in all gaps of a group; tasks gather after those that are longer than pods are kept. The busy times between
    /// them are left out: what is done in them is done either way.
    fn seconds_of(&self, of: usize) -> f64 {
        // With returns for nothing and pods kept to the end, the cost is the time.
        self.cost(of, f64::INFINITY, 0.0, 0.0, 0.0)
    }

    /// Seconds for which tasks gather before a first pod is asked for, where they may wait for so long.
    pub(crate) fn gathering(&self, wait: f64) -> f64 {
        // What was learned with a longer target is not true of a shorter one.
        f64::from(self.gathering).min(wait)
    }

    /// Gaps that were longer.
    fn beyond(&self, of: usize, keep: f64) -> f64 {
        (0..BINS)
            .filter(|&bin| ENDS.get(bin).is_none_or(|&end| end > keep))
            .map(|bin| f64::from(self.gaps[of][bin]))
            .sum()
    }

    /// The same, with the one gap that may be of any length.
    fn expected_beyond(&self, of: usize, keep: f64) -> f64 {
        let bins = BINS - ENDS.iter().filter(|&&end| end <= keep).count();
        let seen = self.gaps[of].iter().any(|&count| count > 0);
        if seen { self.beyond(of, keep) + bins as f64 / BINS as f64 } else { 0.0 }
    }

    fn record(&mut self, level: u32, gap: f64, since_last: f64) {
        // Needed at the reading before as well: no gap.
        if gap <= since_last + 0.2 {
            return;
        }
        let bin = ENDS.iter().position(|&end| gap <= end).unwrap_or(ENDS.len());
        let group = self.group(level);
        let counts = &mut self.gaps[group];
        counts[bin] += 1;
        if counts.iter().map(|&count| u32::from(count)).sum::<u32>() > REMEMBERED {
            self.gaps.iter_mut().flatten().for_each(|count| *count /= 2);
            self.seconds /= 2.0;
            self.arrivals /= 2.0;
        }
    }

    /// Makes two neighbours one: those whose times differ least for how long ago they are, so that what was needed a moment
    /// ago never makes a level young that was not.
    fn merge(&mut self, now: f64) {
        let apart = |pair: &[(u32, f64)]| (pair[0].1 - pair[1].1) / (now - pair[1].1).max(0.1);
        let pairs = self.stairs.windows(2).enumerate().map(|(index, pair)| (index, apart(pair)));
        if let Some((index, _)) = pairs.min_by(|one, other| one.1.total_cmp(&other.1)) {
            self.stairs[index + 1].1 = self.stairs[index].1;
            self.stairs.remove(index);
        }
    }

    fn group(&self, level: u32) -> usize {
        if level <= 1 {
            return self.busy;
        }
        FIRST + GROUPS.iter().position(|&last| level <= last).unwrap_or(GROUPS.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST, Idle, Prices};
    use crate::promise::Broken;

    /// One whose gaps at two levels were all of ten seconds, or of a hundred.
    fn with_gaps() -> Idle {
        let mut idle = Idle::default();
        for part in 0..100_u32 {
            let gap = if part.is_multiple_of(2) { 100.0 } else { 10.0 };
            idle.passed(gap, 1);
            idle.record(1, gap, 1.0);
            idle.record(2, gap, 1.0);
        }
        idle
    }

    fn prices() -> Prices {
        Prices {
            cold_start: 20.0,
            late_per_return: 0.2,
            late_per_first_return: 0.2,
            pause: 20.0,
            late_per_quick_return: 0.2,
            late: 100.0,
            gathering: 0.0,
            a_return: 0.0,
            returns_an_hour: f64::INFINITY,
            dearest_calm: 0.0,
            broken: None,
        }
    }

    #[test]
    fn whoever_finds_nobody_is_late_however_few_are_where_others_stand_in() {
        let kept = |late_per_first_return: f64| {
            let mut idle = with_gaps();
            idle.reckon(&Prices { late_per_first_return, ..prices() }, 0.0);
            (idle.keep_seconds(1), idle.keep_seconds(2))
        };
        let ((first, second), (surely, as_before)) = (kept(0.2), kept(1.0));
        assert!(
            surely > first && second.total_cmp(&as_before).is_eq(),
            "{first} s, {surely} s, {second} s, {as_before} s"
        );
    }

    #[test]
    fn a_broken_promise_keeps_the_first_three_for_as_long_as_it_takes() {
        let kept = |allowed: f64, price: f64| {
            let mut idle = with_gaps();
            (0..100).for_each(|_| idle.record(4, 100.0, 1.0));
            let broken = (price > 0.0).then_some(Broken { allowed, price });
            idle.reckon(&Prices { late: 1.0, broken, ..prices() }, 0.0);
            [1, 2, 4].map(|level| idle.keep_seconds(level))
        };
        let (as_learned, mended) = (kept(0.0, 0.0), kept(0.05, 1e5));
        assert!(as_learned.iter().all(|seconds| *seconds < 100.0), "{as_learned:?}");
        assert!(mended[0] >= 100.0 && mended[1] >= 100.0 && mended[2] < 100.0, "{mended:?}");
        // Where as many may be late, and where it would be too dear, nothing is mended.
        assert_eq!((kept(0.5, 1e5), kept(0.05, 1.5)), (as_learned, as_learned));
    }

    #[test]
    fn a_gap_is_expected_to_be_longer_than_all_that_were_seen() {
        let mut idle = Idle::default();
        assert!(idle.expected_beyond(FIRST, 0.0) < 1e-9);
        idle.record(2, 100.0, 1.0);
        let beyond = [0.0, 135.0, 1_000.0, 20_000.0].map(|keep| idle.expected_beyond(FIRST, keep));
        assert!(beyond.windows(2).all(|pair| pair[0] > pair[1]) && beyond[0] > 1.9 && beyond[3] > 0.0, "{beyond:?}");
    }

    #[test]
    fn the_rate_of_a_new_pool_is_that_of_the_time_that_there_was() {
        let mut idle = Idle::default();
        (0..120).for_each(|_| idle.passed(1.0, 1));
        assert!((0.6..1.0).contains(&idle.rate()), "{} a second", idle.rate());
        (0..3_600).for_each(|_| idle.passed(1.0, 1));
        // Later it follows over ten minutes.
        (0..60).for_each(|_| idle.passed(1.0, 0));
        assert!((0.85..0.95).contains(&idle.rate()), "{} a second", idle.rate());
    }
}
