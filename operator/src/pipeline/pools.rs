//! The pools that may do a pipeline's work: those of its stages, and those that it falls back to. Pure.

use std::{collections::BTreeSet, time::Duration};

use crds::{PipelineSpec, Span, Stage, StageTimeout};

/// All of them.
pub fn named_pools(pipeline: &PipelineSpec) -> BTreeSet<&str> {
    let stages = &pipeline.stages;
    let fallbacks = stages.iter().filter_map(|stage| stage.fallback.as_ref()).flatten().chain(&pipeline.fallback);
    let of_stages = stages.iter().map(|stage| stage.pool.as_str());
    of_stages.chain(fallbacks.filter_map(|fallback| fallback.pool.as_deref())).collect()
}

/// Whether a pool is one of them.
pub fn names_pool(pipeline: &PipelineSpec, pool: &str) -> bool {
    named_pools(pipeline).contains(pool)
}

/// Longest time for one attempt that a stage gives a pool; none where no stage's work comes to it. Who does the work in another
/// one's place has the stage's time for it.
pub fn longest_attempt(pipeline: &PipelineSpec, pool: &str) -> Option<Duration> {
    let falls_back =
        |stage: &Stage| flow::fallbacks(pipeline, stage).iter().any(|fallback| fallback.pool.as_deref() == Some(pool));
    let stages = pipeline.stages.iter().filter(|stage| stage.pool == pool || falls_back(stage));
    let limits = stages.map(|stage| match stage.timeout.or(pipeline.stage_timeout) {
        Some(StageTimeout::Fixed(Span(time))) => time,
        Some(StageTimeout::Adaptive) | None => flow::STAGE_TIMEOUT,
    });
    limits.max()
}
