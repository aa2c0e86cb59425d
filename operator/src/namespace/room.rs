//! How much fits into an object that holds something of many: one that is too large is refused by the API server, and with it what
//! all of them wait for. Pure.

use std::collections::BTreeMap;

use crds::{AgentPoolSpec, PipelineSpec};

use super::build::{former_file, pipeline_file, pool_file};

/// Most bytes of an object's values. The API server takes 1 MiB, of which this leaves some to what is not counted here.
pub const ROOM: usize = 1_000_000;

/// What a gateway can serve of a pipeline; each is none where it cannot work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidate {
    /// What is written.
    pub written: Option<PipelineSpec>,
    /// What is served until now.
    pub now: Option<PipelineSpec>,
    /// The pools as they were, where that works by them alone; none elsewhere.
    pub former: BTreeMap<String, AgentPoolSpec>,
}

/// What a gateway serves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fitting {
    /// The pipelines, as they are served.
    pub pipelines: BTreeMap<String, PipelineSpec>,
    /// The pools of those that go on by pools as they were, by pipeline.
    pub former: BTreeMap<String, BTreeMap<String, AgentPoolSpec>>,
    /// Why there is no room for what is written, by pipeline.
    pub left_out: BTreeMap<String, String>,
}

/// Chooses what the gateway's files have room for beside those of pools. What is served stays, at least as it is; what is written
/// takes its place where that fits, in the order of names. Pools as they were come on top of what was there: a pipeline that goes on
/// by them is served only where they fit too.
pub fn fitting(candidates: &BTreeMap<String, Candidate>, pools: &BTreeMap<String, AgentPoolSpec>) -> Fitting {
    let mut taken: usize = pools.iter().map(|(name, pool)| bytes(&pool_file(name, pool))).sum();
    let mut served: BTreeMap<&String, (&PipelineSpec, usize)> = BTreeMap::new();
    let mut former = BTreeMap::new();
    let mut written: Vec<(&String, &PipelineSpec, usize)> = Vec::new();
    let (alone, beside): (Vec<_>, Vec<_>) = candidates.iter().partition(|(_, candidate)| !candidate.former.is_empty());
    for (name, candidate) in beside.into_iter().chain(alone) {
        let with_bytes = |spec| (spec, bytes(&pipeline_file(name, spec)));
        let of_pools: usize = candidate.former.iter().map(|(pool, spec)| bytes(&former_file(name, pool, spec))).sum();
        let now = candidate.now.as_ref().map(with_bytes).map(|(spec, bytes)| (spec, bytes + of_pools));
        if let Some((now, bytes)) = now.filter(|(_, bytes)| of_pools == 0 || taken + bytes <= ROOM) {
            taken += bytes;
            served.insert(name, (now, bytes));
            if of_pools > 0 {
                former.insert(name.clone(), candidate.former.clone());
            }
        }
        written.extend(candidate.written.as_ref().map(with_bytes).map(|(spec, bytes)| (name, spec, bytes)));
    }
    // What becomes smaller makes room for the others.
    written.sort_by_key(|(name, _, bytes)| (*bytes > served.get(name).map_or(0, |(_, now)| *now), *name));
    let mut left_out = BTreeMap::new();
    for (name, spec, bytes) in written {
        let freed = served.get(name).map_or(0, |(_, now)| *now);
        let others = taken - freed;
        if bytes <= freed || others + bytes <= ROOM {
            taken = others + bytes;
            served.insert(name, (spec, bytes));
            former.remove(name);
        } else {
            left_out.insert(name.clone(), no_room(bytes, ROOM.saturating_sub(others)));
        }
    }
    let pipelines = served.into_iter().map(|(name, (spec, _))| (name.clone(), spec.clone())).collect();
    Fitting { pipelines, former, left_out }
}

/// Bytes of a file and its name, which is a key, and stands in the gateway's own file.
fn bytes((name, text): &(String, String)) -> usize {
    2 * name.len() + text.len()
}

fn no_room(bytes: usize, left: usize) -> String {
    format!(
        "it has {bytes} bytes, and the files of the namespace's gateway, which may have {ROOM}, have room for {left} beside those of \
         its other pipelines and pools: shorten it, such as its prompts, or put it into another namespace"
    )
}
