//! The pools that may do a pipeline's work: those of its stages, and those that it falls back to. Pure.

use std::collections::BTreeSet;

use crds::PipelineSpec;

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
