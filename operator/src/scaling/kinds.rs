//! What waits in a pool and what it is worked for, told by stage and by the size of the document. Pure.
//!
//! What waits is known by a sample, how long it takes by the agents, and what is in work by how long which kinds of tasks keep
//! agents busy. The sums are the broker's; only how they are shared out is an estimate.

use std::collections::BTreeMap;

use flow::{Millis, PodStatus, Task, size_class};
use queue::{Depth, jetstream::Sampled};
use scaler::Work;

use super::observe::{of_times, share_of};

/// Kinds that are told apart, as many as the decision learns the times of. Where there are more, stages alone are;
/// where these are more, the pool is one.
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
    /// Seconds that they have waited.
    pub waited: f64,
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
            waited: one.waited.as_secs_f64(),
            tasks: one.stands_for,
        })
    });
    read.collect()
}

/// A stage and a class of size.
type Kind = (String, u8);

/// What is known of a kind.
#[derive(Clone, Default)]
struct Part<'a> {
    /// Tasks that wait.
    waiting: f64,
    /// How long the agents' newest tasks took.
    times: Vec<&'a flow::ServiceTime>,
}

impl Part<'_> {
    /// The agents' newest tasks.
    fn newest(&self) -> f64 {
        self.times.iter().map(|time| f64::from(time.count)).sum()
    }

    /// How often they come, beside others; 0 where that is not known.
    fn share(&self) -> f64 {
        share_of(self.times.iter().copied())
    }

    /// The same, or else as if those came as often that are as many among the newest.
    fn often(&self, shares_known: bool) -> f64 {
        if shares_known { self.share() } else { self.newest() }
    }

    /// For how long they keep agents busy, beside others.
    fn busy(&self, shares_known: bool) -> f64 {
        self.often(shares_known) * of_times(self.times.iter().copied()).map_or(0.0, |time| time.mean)
    }
}

/// The pool's work by kind. What the sample does not tell is shared out as the agents' newest tasks were.
pub fn work(depth: &Depth, waiting: &[Waiting], agents: &[PodStatus]) -> Vec<Work> {
    let pending = depth.pending.iter().fold(0, |sum: u64, class| sum.saturating_add(*class));
    let mut parts = told_apart(waiting, agents);
    if parts.len() > MOST {
        parts = merged(parts, |(stage, _)| (stage, 0));
    }
    if parts.len() > MOST {
        parts = merged(parts, |_| Kind::default());
    }
    if parts.is_empty() {
        parts.insert(Kind::default(), Part::default());
    }
    let shares_known = parts.values().all(|part| part.times.is_empty() || part.share() > 0.0);
    let waits = parts.values().map(|part| if waiting.is_empty() { part.often(shares_known) } else { part.waiting });
    let busy = parts.values().map(|part| part.busy(shares_known));
    let shares = share_out(pending, waits).into_iter().zip(share_out(depth.in_work, busy));
    let works = parts.iter().zip(shares).map(|(((stage, size), part), (pending, in_work))| {
        // Of a size that was never worked, the stage's other ones say more than nothing.
        let of_stage = || parts.iter().filter(|((other, _), _)| other == stage).flat_map(|(_, part)| &part.times);
        let service = of_times(part.times.iter().copied()).or_else(|| of_times(of_stage().copied()));
        let share = Some(part.share()).filter(|share| shares_known && *share > 0.0);
        Work { stage: stage.clone(), size: *size, pending, in_work, service, share }
    });
    works.collect()
}

/// All kinds of tasks that wait or that agents have worked of late.
fn told_apart<'a>(waiting: &[Waiting], agents: &'a [PodStatus]) -> BTreeMap<Kind, Part<'a>> {
    // Who works no pipeline, as in tests, names none.
    let stage_of = |pipeline: &str, stage: &str| {
        if pipeline.is_empty() { stage.to_owned() } else { format!("{pipeline}/{stage}") }
    };
    let mut parts: BTreeMap<Kind, Part<'a>> = BTreeMap::new();
    for one in waiting {
        parts.entry((stage_of(&one.pipeline, &one.stage), one.size)).or_default().waiting += one.tasks;
    }
    for time in agents.iter().flat_map(|agent| &agent.service_times).filter(|time| time.count > 0) {
        parts.entry((stage_of(&time.pipeline, &time.stage), time.document_size)).or_default().times.push(time);
    }
    parts
}

/// The same, told less finely.
fn merged<'a>(parts: BTreeMap<Kind, Part<'a>>, coarser: impl Fn(Kind) -> Kind) -> BTreeMap<Kind, Part<'a>> {
    let mut all: BTreeMap<Kind, Part<'a>> = BTreeMap::new();
    for (kind, part) in parts {
        let merged = all.entry(coarser(kind)).or_default();
        merged.waiting += part.waiting;
        merged.times.extend(part.times);
    }
    all
}

/// Whole numbers in proportion to the weights, whose sum is `all`; evenly where nothing is known. The largest remainders are
/// rounded up.
fn share_out(all: u64, weights: impl IntoIterator<Item = f64>) -> Vec<u64> {
    let weights = weights.into_iter();
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
