//! Tasks that a pool will get from the earlier stages of its pipelines. Pure.
//!
//! Each document that waits or is in work at an earlier stage becomes one task of the later one, once it has passed the stages
//! between. At a join it comes from each of several stages and counts in parts, so that the parts make one.

use std::collections::{BTreeMap, BTreeSet};

use crds::{PipelineSpec, Stage};
use flow::PodStatus;
use scaler::Foreseen;
use serde::{Deserialize, Serialize};

use super::deadlines::Dated;

/// Assumed of a task of a stage that was never measured, in seconds.
pub const UNKNOWN_SERVICE: f64 = 10.0;
/// Less than so much of a task is nobody's.
const LEAST: f64 = 0.01;

/// How much is to do at an earlier pool, and how fast it is done.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Tasks that wait or are in work.
    pub tasks: f64,
    /// Tasks that it works at once.
    pub slots: f64,
    /// Seconds until it begins, where none of its pods is ready.
    pub begins_in: f64,
    /// Tasks that it ever finished; `None` where that is not known.
    pub finished: Option<u64>,
    /// Recent tasks and their mean seconds, by pipeline and stage.
    pub stages: BTreeMap<(String, String), (f64, f64)>,
    /// Of the tasks, those that wait, by pipeline and stage. Empty where that is not known.
    pub waiting: BTreeMap<(String, String), f64>,
    /// Those of them whose documents have a deadline, and those in work.
    pub dated: Vec<Dated>,
    /// Seconds that agents take to start, where none is ready.
    pub start: f64,
}

/// For so long, in seconds, what was known of a pool's work counts for those that come after, while the broker does not tell: the
/// leaders of its streams change one by one.
const REMEMBERED: f64 = 120.0;

/// What was to do at a pool when the broker told last.
#[derive(Clone, Debug, Default)]
pub struct Remembered(Option<(f64, Load)>);

impl Remembered {
    /// What is to do there: what is seen if the broker told it, else for a while what was. `now` is in seconds since 1970.
    pub fn load(&mut self, seen: Load, is_told: bool, now: f64) -> Load {
        if is_told {
            self.0 = Some((now, seen.clone()));
        }
        let Some((at, known)) = self.0.as_ref().filter(|(at, _)| now - at < REMEMBERED) else { return seen };
        let mut load = known.clone();
        load.begins_in = (load.begins_in - (now - at)).max(0.0);
        for waited in load.dated.iter_mut().filter_map(|dated| dated.waited.as_mut()) {
            *waited += now - at;
        }
        load
    }
}

impl Load {
    /// Adds what agents say of how long stages take.
    pub fn learn(&mut self, agents: &[PodStatus]) {
        for time in agents.iter().flat_map(|agent| &agent.service_times).filter(|time| time.count > 0) {
            let (count, mean) = self.stages.entry((time.pipeline.clone(), time.stage.clone())).or_insert((0.0, 0.0));
            let of_time = f64::from(time.count);
            *mean = (*mean * *count + time.mean * of_time) / (*count + of_time);
            *count += of_time;
        }
    }

    /// The share of the pool's tasks that are this stage's; `of` stages of all pipelines are worked here.
    fn share(&self, stage: &(String, String), of: usize) -> f64 {
        let all: f64 = self.stages.values().map(|(count, _)| count).sum();
        if all == 0.0 {
            return 1.0 / of.max(1) as f64;
        }
        self.stages.get(stage).map_or(0.0, |(count, _)| count / all)
    }

    /// Tasks of this stage that wait or are in work. What is not known to wait is shared out as the newest tasks were.
    fn tasks_of(&self, stage: &(String, String), of: usize) -> f64 {
        let waiting: f64 = self.waiting.values().sum();
        let own = self.waiting.get(stage).copied().unwrap_or_default();
        own + (self.tasks - waiting).max(0.0) * self.share(stage, of)
    }

    /// Mean seconds of a stage's tasks, where any was measured.
    pub fn measured(&self, stage: &(String, String)) -> Option<f64> {
        self.stages.get(stage).map(|(_, mean)| *mean)
    }

    fn service(&self, stage: &(String, String)) -> f64 {
        self.measured(stage).unwrap_or(UNKNOWN_SERVICE)
    }
}

/// The pools whose work becomes work of `pool`.
pub fn upstream(pool: &str, pipelines: &[(String, &PipelineSpec)]) -> BTreeSet<String> {
    let mut pools = BTreeSet::new();
    for (_, spec) in pipelines {
        for target in spec.stages.iter().filter(|stage| stage.pool == pool) {
            pools.extend(before(spec, target, &|_| 0.0).into_iter().map(|ahead| ahead.stage.pool.clone()));
        }
    }
    pools.remove(pool);
    pools
}

/// Tasks that `pool` will get, with the probability that was learned. `now` is in seconds since 1970.
pub fn foreseen(
    pool: &str,
    pipelines: &[(String, &PipelineSpec)],
    loads: &BTreeMap<String, Load>,
    branches: &Branches,
    now: f64,
) -> Vec<Foreseen> {
    let mut all = Vec::new();
    for (name, spec) in pipelines {
        let key = |stage: &Stage| (name.clone(), stage.name.clone());
        let service = |stage: &Stage| loads.get(&stage.pool).map_or(UNKNOWN_SERVICE, |load| load.service(&key(stage)));
        for target in spec.stages.iter().filter(|stage| stage.pool == pool) {
            for ahead in before(spec, target, &service).iter().filter(|ahead| ahead.stage.pool != pool) {
                let Some(load) = loads.get(&ahead.stage.pool) else { continue };
                let tasks = load.tasks_of(&key(ahead.stage), stages_of(&ahead.stage.pool, pipelines)) * ahead.part;
                if tasks < LEAST {
                    continue;
                }
                let each = service(ahead.stage);
                all.push(Foreseen {
                    at: now + load.begins_in + each / 2.0 + ahead.delay,
                    over: load.tasks * each / load.slots.max(1.0),
                    tasks,
                    probability: branches.probability(),
                });
            }
        }
    }
    all
}

/// How many seconds a stage takes, by what is known of the pools: one that was never measured as many as those of its pipeline
/// that were, on average.
pub fn service_of(
    pipeline: &str,
    stage: &Stage,
    pipelines: &[(String, &PipelineSpec)],
    loads: &BTreeMap<String, Load>,
) -> f64 {
    let measured = |stage: &Stage| loads.get(&stage.pool)?.measured(&(pipeline.to_owned(), stage.name.clone()));
    measured(stage).unwrap_or_else(|| {
        let spec = pipelines.iter().find(|(name, _)| name == pipeline).map(|(_, spec)| *spec);
        let others: Vec<f64> = spec.into_iter().flat_map(|spec| &spec.stages).filter_map(measured).collect();
        if others.is_empty() { UNKNOWN_SERVICE } else { others.iter().sum::<f64>() / others.len() as f64 }
    })
}

/// What a pool finishes for a later one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Finished {
    /// Tasks that it ever finished; `None` where that is not known now.
    pub tasks: Option<u64>,
    /// How many tasks the later pool gets of each that is finished now.
    pub share: f64,
}

/// What the pools whose stages are right before those of `pool` finish for it, by what is known of the pools.
pub fn handed_on(
    pool: &str,
    pipelines: &[(String, &PipelineSpec)],
    loads: &BTreeMap<String, Load>,
) -> BTreeMap<String, Finished> {
    let mut pools: BTreeMap<String, Finished> = BTreeMap::new();
    for (name, spec) in pipelines {
        for target in spec.stages.iter().filter(|stage| stage.pool == pool && !stage.after.is_empty()) {
            for stage in spec.stages.iter().filter(|stage| target.after.contains(&stage.name)) {
                // One of which nothing is known stays here, so that it is told from one that is not before it any more.
                let finished = pools.entry(stage.pool.clone()).or_default();
                let Some(load) = loads.get(&stage.pool) else { continue };
                let share = load.share(&(name.clone(), stage.name.clone()), stages_of(&stage.pool, pipelines));
                finished.tasks = load.finished;
                finished.share += share / target.after.len() as f64;
            }
        }
    }
    pools
}

fn stages_of(pool: &str, pipelines: &[(String, &PipelineSpec)]) -> usize {
    pipelines.iter().flat_map(|(_, spec)| &spec.stages).filter(|stage| stage.pool == pool).count()
}

/// A stage before another one.
pub(super) struct Ahead<'a> {
    pub(super) stage: &'a Stage,
    /// The part of a task that each of its documents stands for.
    pub(super) part: f64,
    /// Seconds in the stages between, on the way that takes longest.
    pub(super) delay: f64,
}

/// All stages before `target`. A graph without cycles, which an accepted pipeline is, is walked from the end to the beginning;
/// of another one, the stages of the cycle are left out.
pub(super) fn before<'a>(spec: &'a PipelineSpec, target: &'a Stage, service: &dyn Fn(&Stage) -> f64) -> Vec<Ahead<'a>> {
    let index: BTreeMap<&str, usize> =
        spec.stages.iter().enumerate().map(|(index, stage)| (stage.name.as_str(), index)).collect();
    let parents = |stage: &Stage| -> Vec<usize> {
        stage.after.iter().filter_map(|name| index.get(name.as_str()).copied()).collect()
    };
    let Some(&end) = index.get(target.name.as_str()) else { return Vec::new() };
    // How many successors of each, within what is before the target, are still to be looked at.
    let mut open = vec![0_usize; spec.stages.len()];
    let mut found = vec![false; spec.stages.len()];
    let mut next = vec![end];
    while let Some(stage) = next.pop() {
        for parent in parents(&spec.stages[stage]) {
            open[parent] += 1;
            if !std::mem::replace(&mut found[parent], true) {
                next.push(parent);
            }
        }
    }
    let mut parts = vec![0.0; spec.stages.len()];
    let mut delays = vec![0.0_f64; spec.stages.len()];
    parts[end] = 1.0;
    let mut ahead = Vec::new();
    let mut next = vec![end];
    while let Some(stage) = next.pop() {
        let here = &spec.stages[stage];
        let passing = if stage == end { 0.0 } else { service(here) };
        if stage != end {
            ahead.push(Ahead { stage: here, part: parts[stage], delay: delays[stage] });
        }
        let parents = parents(here);
        for &parent in &parents {
            parts[parent] += parts[stage] / parents.len() as f64;
            delays[parent] = delays[parent].max(delays[stage] + passing);
            open[parent] -= 1;
            if open[parent] == 0 {
                next.push(parent);
            }
        }
    }
    ahead
}

/// How many of the tasks that were foreseen came: a stage may be skipped, and a document may end before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Branches {
    expected: f64,
    came: f64,
    /// The counters as they were read last, those of the pools before it by their names. Not kept: whoever takes over counts from
    /// what it meets.
    #[serde(skip)]
    finished: BTreeMap<String, u64>,
    #[serde(skip)]
    arrived: Option<u64>,
}

impl Branches {
    /// Takes note of how many tasks the pools before have finished, and how many came, since counting began.
    ///
    /// Only what was finished since the last look counts, by the share of now: shares change, and so does what can be read, and
    /// neither makes a task of the past another one.
    pub fn learn(&mut self, handed_on: &BTreeMap<String, Finished>, arrived: u64) {
        /// Tasks after which what was learned counts half.
        const REMEMBERED: f64 = 200.0;
        let mut expected = 0.0;
        for (pool, finished) in handed_on {
            // What cannot be read now is counted when it can be read again.
            let Some(tasks) = finished.tasks else { continue };
            if let Some(before) = self.finished.insert(pool.clone(), tasks) {
                // A counter that is smaller than before has begun anew.
                expected += tasks.saturating_sub(before) as f64 * finished.share;
            }
        }
        self.finished.retain(|pool, _| handed_on.contains_key(pool));
        let came = self.arrived.replace(arrived).map_or(0, |before| arrived.saturating_sub(before));
        let fade = 0.5_f64.powf(expected / REMEMBERED);
        self.expected = self.expected * fade + expected;
        self.came = self.came * fade + came as f64;
    }

    /// The probability that a foreseen task comes: 1 before anything was learned.
    pub fn probability(&self) -> f64 {
        /// Tasks that the first guess counts as.
        const GUESSED: f64 = 5.0;
        ((self.came + GUESSED) / (self.expected + GUESSED)).clamp(0.0, 1.0)
    }
}
