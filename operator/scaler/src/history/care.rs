//! How dear late tasks are, learned so that as many are late as is promised. Knows not what is done against them.

use super::History;
use crate::{promise::Broken, settings::Settings};

/// The part of what is known of late tasks that each task makes forgotten: some two thousand are remembered.
const FORGOTTEN: f64 = 0.0005;
/// How much one late task tightens the margins; on-time ones loosen them so that both balance at the target.
const CARE_STEP: f64 = 0.01;
pub(super) const CARE_AT_FIRST: f64 = 0.5;
/// So many late tasks may teach something at once; more come with time and with tasks that start in time.
const LESSONS: f64 = 10.0;
/// So many late tasks are remembered to see how many come together.
const REMEMBERED_LATE: f64 = 200.0;
/// The part of that which each task makes forgotten.
const FADES: f64 = FORGOTTEN / 20.0;
/// Of a new pool nothing is known, which is no reason to be careful for hours: tasks in time loosen the margins by so many times
/// more at first, fading over so many seconds. That holds only where arrivals vary about as independent ones do, and down to such a
/// care: quiet says nothing of bursts.
const NEW: f64 = 4.0;
pub(super) const NEW_SECONDS: f64 = 1_800.0;
const LIKE_INDEPENDENT: f64 = 2.0;
const CARE_WHEN_KNOWN: f64 = 0.2;
/// What a task in time may cost at most, in cold starts.
const MOST_PRICE: f64 = 200.0;
/// The same where a promise is broken: dearer is worth it only if it was learned from one late task after the other.
const MOST_TO_MEND: f64 = 50.0;
/// What a late task costs at a care of -1, as a part of what it costs at 0.
const CHEAPEST: f64 = 0.03;
/// Tasks that a missing pod makes late, at least: that few were says that others stood in.
const LEAST_LATE: f64 = 0.2;
/// Tasks that may have been late, from which on what is learned of each is enough.
const ENOUGH: f64 = 5.0;

impl History {
    /// Takes note of how many tasks started, and how many of them too late.
    pub(super) fn learn_care(&mut self, settings: &Settings, least: f64, started: u64, late: u64, passed: f64) {
        let allowed = settings.tuning.aim * (1.0 - settings.target.attainment);
        let on_time = started.saturating_sub(late) as f64;
        // Those that come late together are a few lessons, not a hundred.
        self.lessons = (self.lessons + 0.05 * passed + 3.0 * allowed * on_time).min(LESSONS);
        let late_counted = self.lessons.min(late as f64);
        self.lessons -= late_counted;
        let loosened = CARE_STEP * self.part_taught(started, late, late_counted) * self.eagerness() * on_time * allowed
            / (1.0 - allowed);
        let remembered = (1.0 - FORGOTTEN).powf(started as f64);
        self.late_tasks = self.late_tasks * remembered + late as f64;
        self.late_starts *= remembered;
        self.tasks = (f64::from(self.tasks) * remembered + started as f64) as f32;
        // However they came, together or one by one: while more of late were late than may be, nothing is left to be loosened.
        let promised = self.late_tasks * FORGOTTEN <= 1.0 - settings.target.attainment;
        let loosened = if promised { loosened } else { 0.0 };
        self.care = (self.care + CARE_STEP * late_counted - loosened).clamp(least, 1.0);
    }

    /// Of late tasks those that teach nothing: who came before the first pod of all can have been there is late whatever is done.
    /// `oldest_wait` is that of the first in line now, if something waits.
    pub(super) fn unhelped(&mut self, late: u64, oldest_wait: Option<f64>, wait: f64, passed: f64) -> u64 {
        let unhelped = if self.new_for > 0.0 { late } else { 0 };
        let in_time = oldest_wait.is_none_or(|waited| waited <= wait);
        let queued = if oldest_wait.is_some() { passed as f32 } else { 0.0 };
        self.new_for = if in_time && self.has_measured() { 0.0 } else { (self.new_for - queued).max(0.0) };
        unhelped
    }

    /// The part of the newest late tasks that taught something: where many are late together those in time teach less as well, or
    /// more would be late than is promised. After a long time without any, all teach as much as they can.
    fn part_taught(&mut self, started: u64, late: u64, taught: f64) -> f64 {
        let faded = (1.0 - FADES).powf(started as f64) as f32;
        let (all_late, all_taught) = self.late_of_late;
        let (all_late, all_taught) = (all_late * faded + late as f32, all_taught * faded + taught as f32);
        // The newest: those of before count for what room these leave.
        let part = (REMEMBERED_LATE / f64::from(all_late)).min(1.0) as f32;
        self.late_of_late = (all_late * part, all_taught * part);
        (f64::from(self.late_of_late.1) + LESSONS) / (f64::from(self.late_of_late.0) + LESSONS)
    }

    /// How many times as fast as of a pool that is known margins are loosened.
    fn eagerness(&self) -> f64 {
        let even = self.unevenness < LIKE_INDEPENDENT && self.care > CARE_WHEN_KNOWN;
        if even { 1.0 + (NEW - 1.0) * (-f64::from(self.known_for) / NEW_SECONDS).exp() } else { 1.0 }
    }

    /// Pod-seconds that it may cost to have a task in time rather than late: as many as keep the promised share.
    pub(crate) fn price(&self, cold_start: f64, settings: &Settings) -> f64 {
        // The rarer late tasks are to be, the less cheap they get while all goes well.
        let allowed = (1.0 - settings.target.attainment).max(1e-6);
        let least = settings.tuning.least_price * (0.01 / allowed).powf(0.7);
        let dear = cold_start * least * (MOST_PRICE / least).max(1.0).powf(self.care.max(0.0));
        dear * CHEAPEST.powf(-self.care.min(0.0))
    }

    /// Whether more tasks were late than are aimed at, which few tasks are too few to learn from one by one: then what is known to
    /// make tasks late is mended first. The more tasks there were, the more is left to what they taught.
    pub(crate) fn broken(&self, cold_start: f64, settings: &Settings) -> Option<Broken> {
        let allowed = 1.0 - settings.target.attainment;
        let tasks = f64::from(self.tasks);
        // One alone says nothing.
        let broken = self.late_tasks > 1.0 + settings.tuning.aim * allowed * tasks;
        let eased = (allowed * tasks / ENOUGH).max(1.0);
        broken.then_some(Broken { allowed: allowed * eased, price: MOST_TO_MEND * cold_start })
    }

    /// How much of what may be late is not used, from 0 to 1.
    pub(crate) fn unused(&self, settings: &Settings) -> f64 {
        if self.care < 0.0 { (-self.care / settings.tuning.credit).min(1.0) } else { 0.0 }
    }

    /// Tasks that are late for each start that takes longer than they may wait: at most as many as a pod would have taken at
    /// once, as others are late for other reasons.
    pub(crate) fn late_per_start(&self, slots: f64) -> f64 {
        // A few starts' worth of a guess, for the time before there were any.
        ((self.late_tasks + 10.0) / (self.late_starts + 5.0)).clamp(LEAST_LATE, slots.max(1.0))
    }
}

/// Tasks that are remembered of many.
pub(super) fn remembered() -> f32 {
    (1.0 / FORGOTTEN) as f32
}

#[cfg(test)]
mod tests {
    use super::{ENOUGH, History, MOST_TO_MEND};
    use crate::settings::Settings;

    #[test]
    fn one_late_task_breaks_no_promise_and_few_are_mended_more_strictly_than_many() {
        let settings = Settings::between(0, 40);
        let broken = |late_tasks: f64, tasks: f32| {
            let history = History { late_tasks, tasks, ..History::default() };
            history.broken(20.0, &settings)
        };
        assert_eq!((broken(1.0, 1.0), broken(0.0, 0.0)), (None, None));
        // At a promise of 99 of 100, of which three quarters are aimed at.
        assert!(broken(8.4, 1_000.0).is_none() && broken(8.6, 1_000.0).is_some());
        let few = broken(2.0, 2.0).expect("two of two are late");
        assert!((few.allowed - 0.01).abs() < 1e-9 && (few.price - 20.0 * MOST_TO_MEND).abs() < 1e-9, "{few:?}");
        let many = broken(100.0, 2_000.0).expect("one in twenty is late");
        assert!((many.allowed - 0.01 * 20.0 / ENOUGH).abs() < 1e-6, "{many:?}");
    }

    #[test]
    fn those_in_time_teach_as_much_as_late_ones_did_of_late() {
        let mut history = History::default();
        assert!((history.part_taught(1, 0, 0.0) - 1.0).abs() < 1e-6);
        // Ten thousand at once count as two hundred.
        let after_a_burst = history.part_taught(10_000, 10_000, 10.0);
        assert!((0.045..0.055).contains(&after_a_burst), "{after_a_burst}");
        let (late, taught) = history.late_of_late;
        assert!((199.0..=200.0).contains(&late) && taught < 1.0, "{late}, {taught}");
        // A long time without any is no reason to stay careful.
        assert!(history.part_taught(300_000, 0, 0.0) > 0.9);
    }
}
