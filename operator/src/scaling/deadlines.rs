//! By when tasks must start, so that their documents end in time: those that wait at a pool, and those that earlier stages will
//! hand on to it. Pure.
//!
//! What a document may still wait altogether, counted from when it came to where it is, is split over that stage and those after
//! it on the longest path, each by the time that it takes. A stage whose pool has no agent takes a start longer.

use std::collections::BTreeMap;

use crds::{PipelineSpec, Stage};
use flow::PodStatus;
use scaler::{Deadline, DeadlineAhead, Place, start_by};

use super::{
    foreseen::{Ahead, Load, before},
    kinds::Waiting,
};

/// More latest starts than these are told in parts of about as many tasks.
const MOST: usize = 32;
/// Seconds from now. What has as long as this has no deadline that matters, and no stage takes longer.
const FAR: f64 = 1e9;
/// Tasks of a sample that stand for no more than themselves: all that waits was seen.
const WHOLE: f64 = 1.001;

/// How long stages take, as far as it is known.
#[derive(Clone, Copy)]
pub struct Times<'a> {
    /// Seconds that a stage of a pipeline takes.
    pub service: &'a dyn Fn(&str, &Stage) -> f64,
    /// Seconds that a pool's agents take to start, where none is ready.
    pub start: &'a dyn Fn(&str) -> f64,
}

/// Documents with a deadline that are at a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Dated {
    /// The pipeline.
    pub pipeline: String,
    /// The stage.
    pub stage: String,
    /// When they must have ended, in seconds since 1970.
    pub deadline: f64,
    /// How long they have waited, in seconds. `None`: they are in work.
    pub waited: Option<f64>,
    /// How many there are.
    pub documents: f64,
}

/// The documents of a pool that have a deadline: those that wait, and those that agents say are in work.
pub fn dated(waiting: &[Waiting], agents: &[PodStatus]) -> Vec<Dated> {
    let waits = waiting.iter().filter_map(|one| {
        Some(Dated {
            pipeline: one.pipeline.clone(),
            stage: one.stage.clone(),
            deadline: one.deadline? as f64 / 1_000.0,
            waited: Some(one.waited),
            documents: one.tasks,
        })
    });
    let in_work = agents.iter().flat_map(|agent| &agent.due).flat_map(|due| {
        due.deadlines.iter().map(|deadline| Dated {
            pipeline: due.pipeline.clone(),
            stage: due.stage.clone(),
            deadline: *deadline as f64 / 1_000.0,
            waited: None,
            documents: 1.0,
        })
    });
    waits.chain(in_work).collect()
}

/// The latest starts of what waits. `now` is in seconds since 1970. A document whose deadline is over is left out: nothing helps
/// it.
pub fn deadlines(
    waiting: &[Waiting],
    pipelines: &[(String, &PipelineSpec)],
    times: Times<'_>,
    now: f64,
) -> Vec<Deadline> {
    let due = dated(waiting, &[]).into_iter().filter(|one| is_near(one.deadline, now)).filter_map(|one| {
        let path = Path::of(&one.pipeline, pipelines, times)?;
        let stage = path.spec.stages.iter().find(|stage| stage.name == one.stage)?;
        let start_by = start_by(one.deadline, now - one.waited(), &path.place(stage));
        Some(Deadline { start_by, tasks: one.documents })
    });
    due.collect()
}

/// What comes to `pool` from earlier stages of its pipelines and must then start by a certain time, each with that probability.
/// `now` is in seconds since 1970. What cannot come before its deadline is left out, and what the pool hands on to itself.
pub fn ahead(
    pool: &str,
    pipelines: &[(String, &PipelineSpec)],
    loads: &BTreeMap<String, Load>,
    times: Times<'_>,
    probability: f64,
    now: f64,
) -> Vec<DeadlineAhead> {
    if loads.values().all(|load| load.dated.is_empty()) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (name, spec) in pipelines {
        let path = Path { name, spec, times };
        for target in spec.stages.iter().filter(|stage| stage.pool == pool) {
            all.extend(path.coming(target, loads, now));
        }
    }
    told_in_parts(all, probability)
}

/// A pipeline whose stages take so long.
#[derive(Clone, Copy)]
struct Path<'a> {
    name: &'a str,
    spec: &'a PipelineSpec,
    times: Times<'a>,
}

/// Tasks that come to a stage.
#[derive(Clone, Debug)]
struct Coming {
    /// Where they are.
    stage: String,
    /// The part of a task that each document there stands for.
    part: f64,
    documents: f64,
    is_whole: bool,
    deadline: f64,
    at: f64,
    start_by: f64,
}

impl<'a> Path<'a> {
    fn of(name: &'a str, pipelines: &[(String, &'a PipelineSpec)], times: Times<'a>) -> Option<Self> {
        let (_, spec) = pipelines.iter().find(|(other, _)| other == name)?;
        Some(Self { name, spec: *spec, times })
    }

    fn service(&self, stage: &Stage) -> f64 {
        sound((self.times.service)(self.name, stage))
    }

    fn start(&self, stage: &Stage) -> f64 {
        sound((self.times.start)(&stage.pool))
    }

    fn with_start(&self, stage: &Stage) -> f64 {
        self.service(stage) + self.start(stage)
    }

    /// A stage's place for a document that has no stage before it.
    fn place(&self, stage: &Stage) -> Place {
        let own = self.with_start(stage);
        let after = longest_from(self.spec, stage, &|stage| self.with_start(stage)) - own;
        Place { before: 0.0, own, service: self.service(stage), after }
    }

    /// What comes to `target` from the stages of other pools.
    fn coming(&self, target: &Stage, loads: &BTreeMap<String, Load>, now: f64) -> Vec<Coming> {
        let place = self.place(target);
        // The way is the same for both; only its lengths differ.
        let slow = before(self.spec, target, &|stage| self.with_start(stage));
        let quick = before(self.spec, target, &|stage| self.service(stage));
        let mut all = Vec::new();
        for (slow, quick) in slow.iter().zip(&quick).filter(|(slow, _)| slow.stage.pool != target.pool) {
            let Some(load) = loads.get(&slow.stage.pool) else { continue };
            let here = load.dated.iter().filter(|one| one.pipeline == self.name && one.stage == slow.stage.name);
            all.extend(here.filter_map(|one| self.comes(one, (slow, quick), (place, load.begins_in), now)));
        }
        completed(all)
    }

    /// When documents at an earlier stage come, and by when they must start.
    fn comes(
        &self,
        one: &Dated,
        (slow, quick): (&Ahead<'_>, &Ahead<'_>),
        (place, begins_in): (Place, f64),
        now: f64,
    ) -> Option<Coming> {
        if !is_near(one.deadline, now) {
            return None;
        }
        let stage = slow.stage;
        let service = self.service(stage);
        let (here, done_in) = match one.waited {
            Some(_) => (self.with_start(stage), begins_in + service),
            // Nobody says when it began: it may come at any moment.
            None => (service / 2.0, 0.0),
        };
        let at = now + done_in + quick.delay;
        let place = Place { before: here + slow.delay, ..place };
        let latest = start_by(one.deadline, now - one.waited(), &place).max(at);
        (latest < one.deadline).then(|| Coming {
            stage: stage.name.clone(),
            part: slow.part,
            documents: one.documents,
            is_whole: one.documents <= WHOLE,
            deadline: one.deadline,
            at,
            start_by: latest,
        })
    }
}

impl Dated {
    fn waited(&self) -> f64 {
        sound(self.waited.unwrap_or(0.0))
    }
}

/// Before a join a document counts in parts, one a branch. Where it was seen in one branch and is not in the other any more, it
/// comes as a whole all the same; documents are told apart by their deadlines, as far as all of them were seen.
fn completed(mut all: Vec<Coming>) -> Vec<Coming> {
    let is_part = |one: &Coming| one.part < 1.0 - 1e-9;
    let mut seen: BTreeMap<u64, (f64, BTreeMap<&str, f64>)> = BTreeMap::new();
    for one in all.iter().filter(|one| is_part(one)) {
        let (parts, wholes) = seen.entry(one.deadline.to_bits()).or_default();
        *parts += one.part * one.documents;
        *wholes.entry(&one.stage).or_default() += if one.is_whole { one.documents } else { 0.0 };
    }
    let factor = |(parts, wholes): &(f64, BTreeMap<&str, f64>)| {
        let most = wholes.values().copied().fold(0.0, f64::max);
        if *parts > 0.0 { (most / parts).max(1.0) } else { 1.0 }
    };
    let factors: BTreeMap<u64, f64> = seen.iter().map(|(deadline, seen)| (*deadline, factor(seen))).collect();
    for one in all.iter_mut().filter(|one| is_part(one)) {
        one.part *= factors.get(&one.deadline.to_bits()).copied().unwrap_or(1.0);
    }
    all
}

/// The same, the most urgent first, in no more than [`MOST`] parts: of several that are told as one, the mean counts.
fn told_in_parts(mut all: Vec<Coming>, probability: f64) -> Vec<DeadlineAhead> {
    all.retain(|one| one.part * one.documents > 0.0);
    all.sort_by(|one, other| one.start_by.total_cmp(&other.start_by));
    let each = all.len().div_ceil(MOST).max(1);
    let parts = all.chunks(each).map(|chunk| {
        let tasks: f64 = chunk.iter().map(|one| one.part * one.documents).sum();
        let mean = |of: &dyn Fn(&Coming) -> f64| {
            // From the first, as times are large and differ little.
            let first = of(&chunk[0]);
            first + chunk.iter().map(|one| one.part * one.documents * (of(one) - first)).sum::<f64>() / tasks
        };
        let (at, start_by) = (mean(&|one: &Coming| one.at), mean(&|one: &Coming| one.start_by));
        DeadlineAhead { at, start_by, tasks, probability }
    });
    parts.collect()
}

/// Whether a deadline can still be met, and matters.
fn is_near(deadline: f64, now: f64) -> bool {
    deadline > now && deadline - now < FAR
}

/// Seconds that can be: agents may say anything.
fn sound(seconds: f64) -> f64 {
    if seconds.is_finite() { seconds.clamp(0.0, FAR) } else { 0.0 }
}

/// The seconds of a stage and of those after it, on the path that takes longest. Of a graph with a cycle, which no accepted
/// pipeline has, the cycle is walked once.
fn longest_from(spec: &PipelineSpec, from: &Stage, service: &dyn Fn(&Stage) -> f64) -> f64 {
    let mut known: Vec<Option<f64>> = vec![None; spec.stages.len()];
    let place = spec.stages.iter().position(|stage| stage.name == from.name);
    place.map_or(0.0, |place| measure(spec, place, service, &mut known))
}

fn measure(spec: &PipelineSpec, stage: usize, service: &dyn Fn(&Stage) -> f64, known: &mut Vec<Option<f64>>) -> f64 {
    if let Some(seconds) = known[stage] {
        return seconds;
    }
    let own = service(&spec.stages[stage]);
    known[stage] = Some(own);
    let mut behind = 0.0_f64;
    for (after, candidate) in spec.stages.iter().enumerate() {
        if candidate.after.contains(&spec.stages[stage].name) {
            behind = behind.max(measure(spec, after, service, known));
        }
    }
    known[stage] = Some(own + behind);
    own + behind
}
