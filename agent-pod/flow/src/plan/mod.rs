//! A pipeline, compiled and checked: its stages in an order that respects the graph, with all defaults resolved.
//!
//! [`compile`] reports everything that is wrong with a pipeline at once, each problem with the field it lies in. It must
//! not read templates or expressions: to the flow they are strings.

mod check;
mod digest;
mod graph;
mod models;
mod names;

use std::{collections::BTreeMap, fmt, time::Duration};

use crds::{AgentPoolSpec, Model, PipelineSpec, Retry, SemanticCache, Stage};

use crate::Digest;
use graph::Graph;

/// Longest time for one attempt of a stage where neither stage nor pipeline says: long enough for a slow model's answer.
const STAGE_TIMEOUT: Duration = Duration::from_secs(300);

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
        .filter(|(pool, _)| spec.stages.iter().any(|stage| stage.pool == **pool))
        .map(|(pool, spec)| (pool.clone(), spec.clone()))
        .collect();
    let stages = planned_stages(spec, &graph);
    Ok(Plan {
        name: name.to_owned(),
        generation,
        digest: digest::of_plan(name, spec, &used),
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
        let stage = &self.stage(stage)?.spec;
        models::used(&self.spec, stage)?.find(self.pools.get(&stage.pool)?)
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
        digest::of_stage(self, stage)
    }
}

fn planned_stages(spec: &PipelineSpec, graph: &Graph<'_>) -> Vec<PlannedStage> {
    let repeated = spec.quality.as_ref().and_then(|quality| graph.position(&quality.restart_at));
    let repeated = repeated.map(|restart| graph.reachable_from(restart)).unwrap_or_default();
    let names = |positions: &[usize]| positions.iter().map(|&other| spec.stages[other].name.clone()).collect();
    let plan_stage = |position: usize| {
        let stage = &spec.stages[position];
        let timeout = stage.timeout.or(spec.stage_timeout).map_or(STAGE_TIMEOUT, |span| span.0);
        PlannedStage {
            name: stage.name.clone(),
            spec: stage.clone(),
            predecessors: names(graph.predecessors(position)),
            successors: names(graph.successors(position)),
            retry: stage.retry.clone().unwrap_or_else(|| spec.retry.clone()),
            timeout,
            repeats: repeated.contains(&position),
        }
    };
    graph.order().order.into_iter().map(plan_stage).collect()
}
