//! What is remembered of a pool between decisions: small, serialisable, enough to go on after a restart. Knows not what is
//! decided from it.

mod arrivals;
mod care;
mod pace;
mod services;

use serde::{Deserialize, Serialize};

use self::{pace::Pace, services::Learned};

use crate::{calm::Calm, idle::Idle, observation::Observation, season::Season, settings::Settings};

/// A restart may not lose more than this of what was learned, and the state must fit beside others in a small bucket.
const CLASSES: usize = 12;
const BINS: usize = 32;
/// At a constant load, a step up is not taken back for ten minutes, and for longer where that proved wrong.
const SETTLED: f64 = 600.0;
const SETTLED_MOST: f64 = 7_200.0;
/// Loads that differ by less are the same, if arrivals are more even than independent ones: of those, nobody knows what the load
/// is next, and going to and fro costs less than pods that are kept for nothing.
const SAME_LOAD: f64 = 0.05;
const EVEN: f64 = 0.5;
/// Arrivals are even where they vary by less than this part of what independent ones do.
const LIKE_CLOCKWORK: f64 = 0.3;
/// A gap in the readings over which nothing can be told about how arrivals vary.
const GAP: f64 = 120.0;

/// What is remembered of a pool between decisions. As JSON it stays below 4 KiB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct History {
    pub(crate) reading: Option<Reading>,
    #[serde(rename = "jumped", alias = "jumpedSince")]
    pub(crate) jumped_since: Option<f64>,
    /// Since when what is read seems older than what was read before.
    #[serde(rename = "back", alias = "backSince")]
    pub(crate) back_since: Option<f64>,
    /// Since when nothing was counted though tasks are in work.
    #[serde(rename = "still", alias = "stillSince")]
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
    #[serde(rename = "varies", alias = "dispersion")]
    pub(crate) dispersion: f64,
    /// The same over as many seconds as bring some arrivals, however seldom they are; and those that were counted and expected
    /// since it was learned.
    #[serde(rename = "uneven", alias = "unevenness")]
    unevenness: f64,
    counted: (u64, f64),
    service: Vec<Learned>,
    /// Seconds in work, over all tasks, since one was done.
    #[serde(rename = "undone", alias = "unfinished")]
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
    /// Of the newest late tasks, how many there were and how many of them taught something.
    #[serde(default, rename = "lateOf", alias = "lateOfLate")]
    late_of_late: (f32, f32),
    /// Seconds of waiting for which tasks that came before the first pod of all can have been there may still be in line; 0: none is.
    #[serde(default, skip_serializing_if = "is_none")]
    new_for: f32,
    /// Seconds for which it was learned; of one that was written without it, enough.
    #[serde(default = "long_known")]
    known_for: f32,
    pub(crate) last_up: Option<f64>,
    pub(crate) last_down: Option<f64>,
    /// The most replicas that there were before steps down that followed each other within a pause; 0: that is not known.
    #[serde(rename = "from")]
    pub(crate) down_from: u32,
    /// Arrivals a second at the last step up, and for how many seconds it holds at that load.
    settled_rate: f64,
    #[serde(rename = "settled", alias = "settledFor")]
    settled_for: f64,
    /// What was decided last.
    pub(crate) asked: Option<u32>,
    /// Since when more replicas are wanted than there are, and fewer.
    pub(crate) wanted_up: Option<f64>,
    pub(crate) wanted_down: Option<f64>,
    /// Replicas that there were when these times began.
    #[serde(rename = "wanted", alias = "wantedFrom")]
    pub(crate) wanted_from: u32,
    /// Pods that the work needed at the last reading.
    pub(crate) needed: u32,
    /// Since when nothing waits and nothing is in work, requests on the pool's own endpoint included.
    #[serde(rename = "quiet", alias = "withoutWork")]
    pub(crate) without_work: Option<f64>,
    /// Late tasks of late, and steps up weighed by the chance that a start took too long: what a missing pod costs.
    late_tasks: f64,
    late_starts: f64,
    /// Tasks that those late ones are of; of one that was written without it, as many as are remembered.
    #[serde(default = "care::remembered")]
    tasks: f32,
}

/// Counters as they were read last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) at: f64,
    pub(crate) arrivals: u64,
    pub(crate) finished: Option<u64>,
    pub(crate) backlog: f64,
    /// Of these, those that nobody had taken. What matters for a moment alone takes no room in what is kept.
    #[serde(skip)]
    pending: u64,
    /// All of them where nobody was there, or else none.
    #[serde(skip)]
    pub(crate) unattended: u64,
    /// When the first of what waited had come.
    #[serde(skip)]
    pub(crate) oldest_since: Option<f64>,
    started: u64,
    late: u64,
}

impl Reading {
    /// Whether nothing came, was started or was done between the two.
    fn counts_as(&self, other: &Self) -> bool {
        let counters = |reading: &Self| (reading.arrivals, reading.finished, reading.started, reading.pending);
        counters(self) == counters(other) && self.backlog == other.backlog
    }
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
            care: care::CARE_AT_FIRST,
            lessons: 0.0,
            late_of_late: (0.0, 0.0),
            new_for: care::NEW_SECONDS as f32,
            known_for: 0.0,
            last_up: None,
            last_down: None,
            down_from: 0,
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
            tasks: 0.0,
        }
    }
}

impl History {
    /// Takes note of an observation that can be trusted.
    pub(crate) fn learn(&mut self, settings: &Settings, observation: &Observation, now: f64) {
        let passed = self.reading.map_or(0.0, |before| now - before.at);
        self.learn_service(observation, passed);
        self.known_for = (self.known_for + passed.max(0.0) as f32).min(long_known());
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
                let passed = (now - before.at).max(0.0);
                let unhelped = self.unhelped(late, observation.oldest_wait, settings.target.wait, passed);
                // With a target longer than a cold start, what may be late is spent on putting off starts.
                let quick = observation.cold_start.as_ref().is_none_or(|start| start.mean < settings.target.wait);
                self.learn_care(
                    settings,
                    if quick { 0.0 } else { -settings.tuning.credit },
                    waits.started.saturating_sub(before.started).saturating_sub(unhelped),
                    late - unhelped,
                    passed,
                );
            }
        }
        let backlog = observation.pending().saturating_add(observation.in_work());
        self.unread = false;
        let quiet = backlog == 0 && observation.interactive == 0.0;
        self.without_work = quiet.then(|| self.without_work.unwrap_or(now));
        let mut reading = Reading {
            at: now,
            arrivals,
            finished: observation.finished,
            backlog: backlog as f64,
            pending: observation.pending(),
            unattended: if observation.has_nobody() { backlog } else { 0 },
            oldest_since: observation.oldest_wait.map(|waited| now - waited),
            started: waits.started,
            late: waits.late,
        };
        // Who is first in line while nothing is counted is so still, whatever a reader says that repeats itself.
        let is_counted = observation.waits.is_some() || observation.has_nobody();
        if let Some(before) = self.reading.filter(|before| is_counted && before.counts_as(&reading)) {
            let both = reading.oldest_since.zip(before.oldest_since);
            reading.oldest_since = both.map_or(reading.oldest_since, |(one, other)| Some(one.min(other)));
        }
        self.reading = Some(reading);
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
            self.down_from = self.down_from.max(before);
        }
    }

    /// From how many replicas steps down were is no matter once the last of them was before that.
    pub(crate) fn forget_steps_down(&mut self, before: f64) {
        if self.last_down.is_none_or(|down| down <= before) {
            self.down_from = 0;
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
}

fn is_none(seconds: &f32) -> bool {
    *seconds == 0.0
}

fn long_known() -> f32 {
    1e5
}

fn hundredths(seconds: f64) -> f32 {
    ((seconds * 100.0).round() / 100.0) as f32
}
