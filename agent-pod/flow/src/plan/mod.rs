//! A pipeline, compiled and checked: its stages in an order that respects the graph, with all defaults resolved.
//!
//! [`compile`] reports everything that is wrong with a pipeline at once, each problem with the field it lies in. It must
//! not read templates or expressions: to the flow they are strings.

mod check;
mod digest;
mod graph;
mod models;
mod names;
mod results;

use std::{collections::BTreeMap, fmt, time::Duration};

use crds::{AgentPoolSpec, Fallback, Model, PipelineSpec, Retry, SemanticCache, Stage, StageTimeout};

use crate::Digest;
use graph::Graph;
pub use models::fallbacks;
pub(crate) use results::LONGEST_WAIT;
pub use results::{RESULTS_POOL, RESULTS_STAGE};

/// Longest time for one attempt of a stage where neither stage nor pipeline says: long enough for a slow model's answer.
pub const STAGE_TIMEOUT: Duration = Duration::from_secs(300);

/// A pipeline that has passed all checks. A document keeps to the plan that it started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name of the pipeline.
    pub name: String,
    /// Generation of the pipeline's object.
    pub generation: u64,
    /// BLAKE3 over name, specification and the pools used; not over the generation.
    pub digest: Digest,
    /// The pipeline as it was written.
    pub spec: PipelineSpec,
    /// The pools that its stages name.
    pub pools: BTreeMap<String, AgentPoolSpec>,
    stages: Vec<PlannedStage>,
    positions: BTreeMap<String, usize>,
}

/// One stage with its place in the graph and its defaults resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStage {
    /// Name of the stage.
    pub name: String,
    /// The stage as it was written.
    pub spec: Stage,
    /// Stages that come directly before.
    pub predecessors: Vec<String>,
    /// Stages that come directly after; none makes this a last stage.
    pub successors: Vec<String>,
    /// How failed attempts are repeated.
    pub retry: Retry,
    /// Longest time for one attempt.
    pub timeout: Duration,
    /// What is turned to in this order when the stage fails for good.
    pub fallbacks: Vec<Fallback>,
    /// Whether that holds only until enough is known of how long attempts take.
    pub adaptive: bool,
    /// Whether a quality round repeats it: it is `restartAt` or follows it.
    pub repeats: bool,
}

/// Something wrong with a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, for example `spec.stages[2].after[0]`.
    pub field: String,
    /// What, and what would be right.
    pub message: String,
    /// CamelCase word from a closed set, for conditions and metrics.
    pub reason: &'static str,
}

/// Checks a pipeline and orders its stages. `pools` are those that exist; the plan keeps the ones used.
pub fn compile(
    name: &str,
    generation: u64,
    spec: &PipelineSpec,
    pools: &BTreeMap<String, AgentPoolSpec>,
) -> Result<Plan, Vec<Problem>> {
    let graph = Graph::of(&spec.stages);
    let problems = check::problems(spec, pools, &graph);
    if !problems.is_empty() {
        return Err(problems);
    }
    let used: BTreeMap<_, _> = pools
        .iter()
        .filter(|(pool, _)| models::uses_pool(spec, pool))
        .map(|(pool, spec)| (pool.clone(), spec.as_planned()))
        .collect();
    // What the work is done on goes with the plan and is no part of it.
    let worked = used.iter().map(|(pool, spec)| (pool.clone(), spec.as_worked())).collect();
    let spec = &spec.as_worked();
    let mut stages = planned_stages(spec, &graph);
    if spec.results.is_some() {
        results::append(&mut stages);
    }
    Ok(Plan {
        name: name.to_owned(),
        generation,
        digest: digest::of_plan(name, spec, &worked),
        spec: spec.clone(),
        pools: used,
        positions: stages.iter().enumerate().map(|(position, stage)| (stage.name.clone(), position)).collect(),
        stages,
    })
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl Plan {
    /// The stages in topological order; among stages that could come next, the one written first.
    pub fn stages(&self) -> &[PlannedStage] {
        &self.stages
    }

    /// The stage of that name.
    pub fn stage(&self, name: &str) -> Option<&PlannedStage> {
        self.positions.get(name).and_then(|&position| self.stages.get(position))
    }

    /// The model that a stage uses, defaults resolved; `None` for work without a model and for an unknown stage.
    pub fn model(&self, stage: &str) -> Option<&Model> {
        self.model_at(stage, 0)
    }

    /// The model that a stage uses after falling back so many times; `None` for a constant too.
    pub fn model_at(&self, stage: &str, level: u32) -> Option<&Model> {
        let planned = self.stage(stage)?;
        let used = models::used(&self.spec, &planned.spec)?;
        let used = match planned.fallback(level) {
            Some(fallback) if fallback.constant.is_some() => return None,
            Some(fallback) => used.instead(fallback),
            None => used,
        };
        used.find(self.pools.get(planned.pool(level))?)
    }

    /// How a stage may be answered by nearly the same prompts, and the model of its pool that compares them; `None` where
    /// it may not.
    pub fn semantic(&self, stage: &str) -> Option<(&SemanticCache, &Model)> {
        let stage = &self.stage(stage)?.spec;
        let semantic = models::semantic(&self.spec, stage)?;
        Some((semantic, models::comparing(semantic, self.pools.get(&stage.pool)?)?))
    }

    /// BLAKE3 of what a stage does: its work, its score, and the head, knowledge base and model that they refer to. Its
    /// place in the graph, its retries and its time-out are not part of it, so it can be part of a cache key.
    pub fn stage_digest(&self, stage: &str) -> Digest {
        self.stage_digest_at(stage, 0)
    }

    /// The same after falling back so many times: only the model differs.
    pub fn stage_digest_at(&self, stage: &str, level: u32) -> Digest {
        digest::of_stage(self, stage, level)
    }
}

impl PlannedStage {
    /// The fallback of a level: level 1 is the first of them, at level 0 the stage does its own work.
    pub fn fallback(&self, level: u32) -> Option<&Fallback> {
        self.fallbacks.get(usize::try_from(level.checked_sub(1)?).ok()?)
    }

    /// The pool that does the work of a level.
    pub fn pool(&self, level: u32) -> &str {
        self.fallback(level).and_then(|fallback| fallback.pool.as_ref()).unwrap_or(&self.spec.pool)
    }
}

fn planned_stages(spec: &PipelineSpec, graph: &Graph<'_>) -> Vec<PlannedStage> {
    let repeated = spec.quality.as_ref().and_then(|quality| graph.position(&quality.restart_at));
    let repeated = repeated.map(|restart| graph.reachable_from(restart)).unwrap_or_default();
    let names = |positions: &[usize]| positions.iter().map(|&other| spec.stages[other].name.clone()).collect();
    let plan_stage = |position: usize| {
        let stage = &spec.stages[position];
        let (timeout, adaptive) = match stage.timeout.or(spec.stage_timeout) {
            Some(StageTimeout::Fixed(span)) => (span.0, false),
            Some(StageTimeout::Adaptive) => (STAGE_TIMEOUT, true),
            None => (STAGE_TIMEOUT, false),
        };
        PlannedStage {
            name: stage.name.clone(),
            spec: stage.clone(),
            predecessors: names(graph.predecessors(position)),
            successors: names(graph.successors(position)),
            retry: stage.retry.clone().unwrap_or_else(|| spec.retry.clone()),
            timeout,
            fallbacks: models::fallbacks(spec, stage).to_vec(),
            adaptive,
            repeats: repeated.contains(&position),
        }
    };
    graph.order().order.into_iter().map(plan_stage).collect()
}
