//! What is remembered of a pool between decisions: small, serialisable, enough to go on after a restart. Knows not what is
//! decided from it.

mod pace;
mod services;

use serde::{Deserialize, Serialize};

use self::{pace::Pace, services::Learned};

use crate::{calm::Calm, idle::Idle, observation::Observation, season::Season, settings::Settings};

/// A restart may not lose more than this of what was learned, and the state must fit beside others in a small bucket.
const CLASSES: usize = 12;
const BINS: usize = 32;
/// A bin's tasks are told apart in so many parts at most.
const PARTS: f64 = 4.0;
/// The present rate follows arrivals within about a minute: as fast as pods can follow it.
const RATE_SECONDS: f64 = 60.0;
/// At a constant load, a step up is not taken back for ten minutes, and for longer where that proved wrong.
const SETTLED: f64 = 600.0;
const SETTLED_MOST: f64 = 7_200.0;
/// Loads that differ by less are the same, if arrivals are more even than independent ones: of those, nobody knows what the load
/// is next, and going to and fro costs less than pods that are kept for nothing.
const SAME_LOAD: f64 = 0.05;
const EVEN: f64 = 0.5;
/// Arrivals are looked at by so many that are expected at a time to see how even they are, with such a weight, and are even where
/// they vary by less than this part of what independent ones do.
const COUNTED: f64 = 8.0;
const COUNTED_WEIGHT: f64 = 0.1;
const LIKE_CLOCKWORK: f64 = 0.3;
/// A burst shows in so many seconds.
const BURST_SECONDS: f64 = 10.0;
/// A gap in the readings over which nothing can be told about how arrivals vary.
const GAP: f64 = 120.0;
/// The part of what is known of late tasks that each task makes forgotten: some two thousand are remembered.
const FORGOTTEN: f64 = 0.0005;
/// How much one late task tightens the margins; on-time ones loosen them so that both balance at the target.
const CARE_STEP: f64 = 0.01;
const CARE_AT_FIRST: f64 = 0.5;
/// So many late tasks may teach something at once; more come with time and with tasks that start in time.
const LESSONS: f64 = 10.0;
/// Of a new pool nothing is known, which is no reason to be careful for hours: tasks in time loosen the margins by so many times
/// more at first, fading over so many seconds. That holds only where arrivals vary about as independent ones do, and down to such a
/// care: quiet says nothing of bursts.
const NEW: f64 = 4.0;
const NEW_SECONDS: f64 = 1_800.0;
const LIKE_INDEPENDENT: f64 = 2.0;
const CARE_WHEN_KNOWN: f64 = 0.2;
/// What a task in time may cost at most, in cold starts.
const MOST_PRICE: f64 = 200.0;
/// What a late task costs at a care of -1, as a part of what it costs at 0.
const CHEAPEST: f64 = 0.03;
/// Tasks that a missing pod makes late, at least: that few were says that others stood in.
const LEAST_LATE: f64 = 0.2;

/// What is remembered of a pool between decisions. As JSON it stays below 4 KiB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct History {
    pub(crate) reading: Option<Reading>,
    pub(crate) jumped_since: Option<f64>,
    /// Since when what is read seems older than what was read before.
    pub(crate) back_since: Option<f64>,
    /// Since when nothing was counted though tasks are in work.
    pub(crate) still_since: Option<f64>,
    /// Whether numbers were held since the last reading.
    pub(crate) unread: bool,
    /// Arrivals by the time of their bin, the newest last: the ages of what waits follow from them.
    arrived: Vec<(f64, u32)>,
    /// Seconds of a bin.
    width: f64,
    /// Arrivals a second.
    pub(crate) rate: f64,
    /// How much more the arrivals of a second vary than those of a Poisson process.
    pub(crate) dispersion: f64,
    /// The same over as many seconds as bring some arrivals, however seldom they are; and those that were counted and expected
    /// since it was learned.
    unevenness: f64,
    counted: (u64, f64),
    service: Vec<Learned>,
    /// Seconds in work, over all tasks, since one was done.
    unfinished: f64,
    #[serde(default)]
    pace: Pace,
    pub(crate) idle: Idle,
    pub(crate) calm: Calm,
    pub(crate) season: Season,
    /// Up to 1: how dear late tasks are, see [`History::price`].
    pub(crate) care: f64,
    /// Late tasks that may still teach something.
    lessons: f64,
    /// Seconds for which it was learned; of one that was written without it, enough.
    #[serde(default = "long_known")]
    known_for: f32,
    pub(crate) last_up: Option<f64>,
    pub(crate) last_down: Option<f64>,
    /// Arrivals a second at the last step up, and for how many seconds it holds at that load.
    settled_rate: f64,
    settled_for: f64,
    /// What was decided last.
    pub(crate) asked: Option<u32>,
    /// Since when more replicas are wanted than there are, and fewer.
    pub(crate) wanted_up: Option<f64>,
    pub(crate) wanted_down: Option<f64>,
    /// Replicas that there were when these times began.
    pub(crate) wanted_from: u32,
    /// Pods that the work needed at the last reading.
    pub(crate) needed: u32,
    /// Since when nothing waits and nothing is in work, requests on the pool's own endpoint included.
    pub(crate) without_work: Option<f64>,
    /// Late tasks of late, and steps up weighed by the chance that a start took too long: what a missing pod costs.
    late_tasks: f64,
    late_starts: f64,
}

/// Counters as they were read last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) at: f64,
    pub(crate) arrivals: u64,
    pub(crate) finished: Option<u64>,
    pub(crate) backlog: f64,
    started: u64,
    late: u64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            reading: None,
            jumped_since: None,
            back_since: None,
            still_since: None,
            unread: false,
            arrived: Vec::new(),
            width: 1.0,
            rate: 0.0,
            dispersion: 1.0,
            unevenness: 1.0,
            counted: (0, 0.0),
            service: Vec::new(),
            unfinished: 0.0,
            pace: Pace::default(),
            idle: Idle::default(),
            calm: Calm::default(),
            season: Season::default(),
            care: CARE_AT_FIRST,
            lessons: 0.0,
            known_for: 0.0,
            last_up: None,
            last_down: None,
            settled_rate: 0.0,
            settled_for: SETTLED,
            asked: None,
            wanted_up: None,
            wanted_down: None,
            wanted_from: 0,
            needed: 0,
            without_work: None,
            late_tasks: 0.0,
            late_starts: 0.0,
        }
    }
}

impl History {
    /// Takes note of an observation that can be trusted.
    pub(crate) fn learn(&mut self, settings: &Settings, observation: &Observation, now: f64) {
        let passed = self.reading.map_or(0.0, |before| now - before.at);
        self.learn_service(observation, passed);
        let done = self.reading.and_then(|before| Some(observation.finished?.saturating_sub(before.finished?)));
        // What fails again and again is not slow, and of what was never measured nobody knows.
        let mix = self.service_of_slots(observation).filter(|_| self.lengthened(observation) <= 1.0);
        let mix = mix.map(|service| (service, self.steady_spread()));
        self.pace.learn(observation, done, mix, now, passed);
        let arrivals = observation.arrivals.unwrap_or(0);
        let waits = observation.waits.unwrap_or(crate::Waits { started: 0, late: 0 });
        if let Some(before) = self.reading {
            let new = arrivals.saturating_sub(before.arrivals);
            let over = self.arrived_over(observation, new, now - before.at);
            self.note_arrivals(settings, new, over, now);
            self.learn_arrivals(new, now - before.at);
            self.learn_unevenness(new, now - before.at);
            let passed = observation.in_work() as f64 * (now - before.at).max(0.0);
            let done =
                observation.in_work() == 0 || observation.finished.is_none() || observation.finished != before.finished;
            self.unfinished = if done { 0.0 } else { hundredths(self.unfinished + passed).into() };
            self.idle.passed((now - before.at).max(0.0), new);
            self.season.learn(now, new, now - before.at);
            if settings.terms.feedback {
                let late = waits.late.saturating_sub(before.late);
                // With a target longer than a cold start, what may be late is spent on putting off starts.
                let quick = observation.cold_start.as_ref().is_none_or(|start| start.mean < settings.target.wait);
                self.learn_care(
                    settings,
                    if quick { 0.0 } else { -settings.tuning.credit },
                    waits.started.saturating_sub(before.started),
                    late,
                    (now - before.at).max(0.0),
                );
            }
        }
        let backlog = observation.pending().saturating_add(observation.in_work());
        self.unread = false;
        let quiet = backlog == 0 && observation.interactive == 0.0;
        self.without_work = quiet.then(|| self.without_work.unwrap_or(now));
        self.reading = Some(Reading {
            at: now,
            arrivals,
            finished: observation.finished,
            backlog: backlog as f64,
            started: waits.started,
            late: waits.late,
        });
    }

    /// Over how many seconds until now new tasks came: none, unless they could not be seen coming.
    fn arrived_over(&self, observation: &Observation, new: u64, passed: f64) -> f64 {
        let unread = if self.unread { passed } else { 0.0 };
        // With none that was there before, the oldest that waits is one of the new.
        let oldest = observation.oldest_wait.filter(|_| observation.pending() <= new).unwrap_or(0.0);
        unread.max(oldest).max(0.0)
    }

    /// Takes note of when tasks came: evenly over so many seconds.
    fn note_arrivals(&mut self, settings: &Settings, new: u64, over: f64, now: f64) {
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

    fn learn_arrivals(&mut self, new: u64, passed: f64) {
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
    fn learn_unevenness(&mut self, new: u64, passed: f64) {
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

    fn learn_care(&mut self, settings: &Settings, least: f64, started: u64, late: u64, passed: f64) {
        let allowed = settings.tuning.aim * (1.0 - settings.target.attainment);
        let on_time = started.saturating_sub(late) as f64;
        // Those that come late together are a few lessons, not a hundred.
        self.lessons = (self.lessons + 0.05 * passed + 3.0 * allowed * on_time).min(LESSONS);
        let late_counted = self.lessons.min(late as f64);
        self.lessons -= late_counted;
        let loosened = CARE_STEP * self.eagerness() * on_time * allowed / (1.0 - allowed);
        self.known_for = (self.known_for + passed as f32).min(long_known());
        let remembered = (1.0 - FORGOTTEN).powf(started as f64);
        self.late_tasks = self.late_tasks * remembered + late as f64;
        self.late_starts *= remembered;
        // However they came, together or one by one: while more of late were late than may be, nothing is left to be loosened.
        let promised = self.late_tasks * FORGOTTEN <= 1.0 - settings.target.attainment;
        let loosened = if promised { loosened } else { 0.0 };
        self.care = (self.care + CARE_STEP * late_counted - loosened).clamp(least, 1.0);
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

    /// Takes note of what was decided; `late` is the chance that a start takes longer than a task may wait, `waited` how long the
    /// first in line has waited.
    pub(crate) fn decided(&mut self, before: u32, replicas: u32, late: f64, waited: Option<f64>, now: f64) {
        // What nobody does is decided again and again, where somebody else owns the number or a write fails: that is one step.
        let asked = self.asked.replace(replicas);
        if asked == Some(replicas) {
            return;
        }
        let first = before == 0 && asked.unwrap_or(0) == 0 && replicas > 0;
        if let Some(waited) = waited.filter(|_| first) {
            self.idle.first_asked_for(waited);
        }
        if replicas > before {
            self.settle(now);
            self.last_up = Some(now);
            self.late_starts += late;
        }
        if replicas < before {
            self.last_down = Some(now);
        }
    }

    /// Takes back to `now` what lies ahead of it: who wrote it had a clock that was ahead.
    pub(crate) fn set_back(&mut self, now: f64) {
        let times = [
            &mut self.jumped_since,
            &mut self.still_since,
            &mut self.last_up,
            &mut self.last_down,
            &mut self.wanted_up,
            &mut self.wanted_down,
            &mut self.without_work,
        ];
        for time in times.into_iter().flatten() {
            *time = time.min(now);
        }
        self.arrived.retain(|(start, _)| *start <= now);
        self.idle.set_back(now);
        self.season.set_back(now);
        self.pace.begin_anew();
        self.reading = None;
    }

    /// A step up at the load at which a step down was taken a short time ago says that the step down was wrong: the next one
    /// waits for twice as long.
    fn settle(&mut self, now: f64) {
        if !self.at_the_same_load() {
            self.settled_for = SETTLED;
        } else if self.last_down.is_some_and(|down| now - down < SETTLED && self.last_up.is_some_and(|up| up < down)) {
            self.settled_for = (self.settled_for * 2.0).min(SETTLED_MOST);
        }
        self.settled_rate = self.idle.rate();
    }

    /// Whether about as many tasks arrive as at the last step up.
    fn at_the_same_load(&self) -> bool {
        self.dispersion < EVEN && self.at_the_same_rate()
    }

    fn at_the_same_rate(&self) -> bool {
        (self.idle.rate() - self.settled_rate).abs() <= SAME_LOAD * self.settled_rate
    }

    /// By how much slots do less than they should by how long tasks take, as a factor on that time.
    pub(crate) fn slowed(&self) -> f64 {
        1.0 / self.pace.share()
    }

    /// So many of the pods that are ready are to take tasks until the next reading.
    pub(crate) fn pulls(&mut self, pods: u32) {
        self.pace.pull(pods);
    }

    /// Seconds for which tasks gather before a first pod is asked for. At a load that is as even as a clock none do: to let them
    /// would be to go to and fro for ever.
    pub(crate) fn gathering(&self, wait: f64) -> f64 {
        let even = self.unevenness < LIKE_CLOCKWORK && self.at_the_same_rate();
        if even { 0.0 } else { self.idle.gathering(wait) }
    }

    /// Arrivals a second of late, or of the last minutes if these are fewer.
    pub(crate) fn steady_rate(&self) -> f64 {
        self.rate.min(self.idle.rate())
    }

    /// Until when a step up is not taken back, as the load is the one that it was taken for.
    pub(crate) fn settled_until(&self) -> Option<f64> {
        self.last_up.filter(|_| self.at_the_same_load()).map(|up| up + self.settled_for)
    }

    /// Arrivals a second that are to be expected: as of late, or as in the last seconds if these are clearly more.
    pub(crate) fn expected_rate(&self, now: f64) -> f64 {
        let burst = self.arrived.iter().rev().take_while(|(start, _)| now - start < BURST_SECONDS);
        let count: f64 = burst.map(|(_, count)| f64::from(*count)).sum();
        self.rate.max((count - 1.5 * count.sqrt()) / BURST_SECONDS)
    }

    /// What waits, by age in seconds, the youngest first.
    ///
    /// Tasks are taken in the order of their arrival, so those that wait are those that arrived last.
    pub(crate) fn waiting(&self, observation: &Observation, now: f64) -> Vec<(f64, f64)> {
        let mut left = observation.pending() as f64;
        let oldest = observation.oldest_wait;
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

fn long_known() -> f32 {
    1e5
}

fn hundredths(seconds: f64) -> f32 {
    ((seconds * 100.0).round() / 100.0) as f32
}
