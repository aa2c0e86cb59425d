//! What waits in a pool and what it is worked for, told by stage and by the size of the document. Pure.
//!
//! What waits is known by a sample, how long it takes by the agents, and what is in work by how long which kinds of tasks keep
//! agents busy. The sums are the broker's; only how they are shared out is an estimate.

use std::collections::BTreeMap;

use flow::{Millis, PodStatus, Task, size_class};
use queue::{Depth, jetstream::Sampled};
use scaler::{ServiceTime, Work};

use super::observe::of_times;

/// Kinds that are told apart, as many as the decision learns the times of. Where there are more, stages are told apart; where
/// these are more, nothing is.
const MOST: usize = 12;

/// Tasks that wait, as one that was looked at says of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// The pipeline.
    pub pipeline: String,
    /// The stage.
    pub stage: String,
    /// Class of the document's size, see [`flow::size_class`].
    pub size: u8,
    /// When the document must have ended.
    pub deadline: Option<Millis>,
    /// How many there are.
    pub tasks: f64,
}

/// What a sample says; what cannot be read is left out.
pub fn waiting(sample: &[Sampled]) -> Vec<Waiting> {
    let read = sample.iter().filter_map(|one| {
        let task = Task::decode(&one.body).ok()?;
        Some(Waiting {
            pipeline: task.pipeline,
            stage: task.stage,
            size: size_class(task.bytes),
            deadline: task.deadline,
            tasks: one.stands_for,
        })
    });
    read.collect()
}

/// A stage and a class of size.
type Kind = (String, u8);

/// How finely kinds are told apart.
#[derive(Clone, Copy)]
enum Fineness {
    StageAndSize,
    Stage,
    Pool,
}

impl Fineness {
    fn kind(self, pipeline: &str, stage: &str, size: u8) -> Kind {
        // Agents of earlier versions, and those that work no pipeline, name none.
        let stage = if pipeline.is_empty() { stage.to_owned() } else { format!("{pipeline}/{stage}") };
        match self {
            Self::StageAndSize => (stage, size),
            Self::Stage => (stage, 0),
            Self::Pool => (String::new(), 0),
        }
    }
}

/// The pool's work by kind. What the sample does not tell is shared out as the agents' newest tasks were.
pub fn work(depth: &Depth, waiting: &[Waiting], agents: &[PodStatus]) -> Vec<Work> {
    let pending = depth.pending.iter().fold(0, |sum: u64, class| sum.saturating_add(*class));
    let times = || agents.iter().flat_map(|agent| &agent.service_times).filter(|time| time.count > 0);
    let of = |fineness: Fineness| {
        let mut parts: BTreeMap<Kind, Part> = BTreeMap::new();
        for one in waiting {
            let kind = fineness.kind(&one.pipeline, &one.stage, one.size);
            parts.entry(kind).or_default().waiting += one.tasks;
        }
        for time in times() {
            let kind = fineness.kind(&time.pipeline, &time.stage, time.document_size);
            let part = parts.entry(kind).or_default();
            part.newest += f64::from(time.count);
            part.busy += f64::from(time.count) * time.mean;
        }
        parts
    };
    let parts = [Fineness::StageAndSize, Fineness::Stage].map(|fineness| (fineness, of(fineness)));
    let told = parts.into_iter().find(|(_, parts)| (1..=MOST).contains(&parts.len()));
    let (fineness, mut parts) = told.unwrap_or_else(|| (Fineness::Pool, of(Fineness::Pool)));
    if parts.is_empty() {
        parts.insert(fineness.kind("", "", 0), Part::default());
    }
    let waits =
        share_out(pending, parts.values().map(|part| if waiting.is_empty() { part.newest } else { part.waiting }));
    let in_work = share_out(depth.in_work, parts.values().map(|part| part.busy));
    let works = parts.into_keys().zip(waits.into_iter().zip(in_work));
    works
        .map(|((stage, size), (pending, in_work))| {
            let of_kind = |time: &&flow::ServiceTime| {
                fineness.kind(&time.pipeline, &time.stage, time.document_size) == (stage.clone(), size)
            };
            let of_stage = |time: &&flow::ServiceTime| Fineness::Stage.kind(&time.pipeline, &time.stage, 0).0 == stage;
            // Of a size that was never worked, the stage's other ones say more than nothing.
            let service: Option<ServiceTime> =
                of_times(times().filter(of_kind)).or_else(|| of_times(times().filter(of_stage)));
            Work { stage, size, pending, in_work, service }
        })
        .collect()
}

#[derive(Default)]
struct Part {
    /// Tasks that wait.
    waiting: f64,
    /// The agents' newest tasks, and the seconds that they took.
    newest: f64,
    busy: f64,
}

/// Whole numbers in proportion to the weights, whose sum is `all`; evenly where nothing is known. The largest remainders are
/// rounded up.
fn share_out(all: u64, weights: impl Iterator<Item = f64>) -> Vec<u64> {
    let mut weights: Vec<f64> = weights.map(|weight| if weight.is_finite() { weight.max(0.0) } else { 0.0 }).collect();
    let mut sum: f64 = weights.iter().sum();
    if sum <= 0.0 {
        weights.fill(1.0);
        sum = weights.len() as f64;
    }
    let exact: Vec<f64> = weights.iter().map(|weight| all as f64 * weight / sum).collect();
    let mut shares: Vec<u64> = exact.iter().map(|exact| exact.floor() as u64).collect();
    let mut by_rest: Vec<usize> = (0..shares.len()).collect();
    by_rest.sort_by(|one, other| exact[*other].fract().total_cmp(&exact[*one].fract()));
    let left = all.saturating_sub(shares.iter().sum());
    for place in by_rest.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        shares[place] += 1;
    }
    shares
}

/// Tasks that wait, by pipeline and stage.
pub fn by_stage(waiting: &[Waiting]) -> BTreeMap<(String, String), f64> {
    let mut stages = BTreeMap::new();
    for one in waiting {
        *stages.entry((one.pipeline.clone(), one.stage.clone())).or_insert(0.0) += one.tasks;
    }
    stages
}
