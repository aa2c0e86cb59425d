//! What a pipeline writes into folders that go with a pod, or that another pod does not see. Pure.
//!
//! Tables of results are folders of the gateway, knowledge bases folders of agents. A pod's own folders end with it: each change of a
//! pipeline replaces the gateway, and a pool that sleeps keeps no agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crds::{AgentPoolSpec, Knowledge, PipelineSpec, ScalingMode, Stage};

use crate::{
    agent_pool::volumes::mount_path,
    claims::Claim,
    names::{ALLOWED, ALLOWED_LABEL, GATEWAY_ALLOWED_LABEL, GATEWAY_STATE},
    pods,
};

/// A folder of the state folder is written so.
const DEFAULT: &str = "default";

/// Something that does not last, or that not all find who look for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unkept {
    /// `ResultsNotKept` or `KnowledgeNotKept`.
    pub reason: &'static str,
    /// What it is, and what to do.
    pub message: String,
}

/// All of it, results first: they cannot be made again. `state` is the claim for the gateway's state.
pub fn of(pipeline: &PipelineSpec, pools: &BTreeMap<String, AgentPoolSpec>, state: Claim) -> Vec<Unkept> {
    let table = pipeline.results.as_ref().and_then(|results| results.table.as_ref());
    let results = table.and_then(|table| results(&table.uri, state));
    let results = results.map(|message| Unkept { reason: "ResultsNotKept", message });
    let knowledge = pipeline.knowledge.iter().filter_map(|base| {
        let message = knowledge(base, &pipeline.stages, pools)?;
        Some(Unkept { reason: "KnowledgeNotKept", message })
    });
    results.into_iter().chain(knowledge).collect()
}

fn results(uri: &str, state: Claim) -> Option<String> {
    let what = "the table of results goes with the gateway's pod, which each change of a pipeline or a pool replaces";
    match state {
        Claim::Allowed if Path::new(folder(uri)).starts_with(pods::HOME) => None,
        Claim::Allowed => {
            Some(format!("{what}: the claim {GATEWAY_STATE} is mounted at {}; name `default` as uri", pods::HOME))
        }
        Claim::NotAllowed => Some(format!(
            "{what}: the PersistentVolumeClaim {GATEWAY_STATE} is not meant for gateways; who owns it allows it with \
             `kubectl label pvc {GATEWAY_STATE} {GATEWAY_ALLOWED_LABEL}={ALLOWED}`"
        )),
        Claim::Missing => Some(format!(
            "{what}: make a PersistentVolumeClaim {GATEWAY_STATE} with the label {GATEWAY_ALLOWED_LABEL}={ALLOWED}, or \
             write results to postgres"
        )),
    }
}

fn knowledge(base: &Knowledge, stages: &[Stage], pools: &BTreeMap<String, AgentPoolSpec>) -> Option<String> {
    let users: BTreeSet<&str> =
        stages.iter().filter(|stage| uses(stage, &base.name)).map(|stage| stage.pool.as_str()).collect();
    // A pool that is not there says so itself.
    let users: Vec<(&str, &AgentPoolSpec)> =
        users.into_iter().filter_map(|name| Some((name, pools.get(name)?))).collect();
    let name = &base.name;
    let without = users.iter().find(|(_, pool)| claim(pool, &base.uri).is_none());
    if let Some((pool, _)) = without {
        return Some(format!(
            "each agent of {pool} has a knowledge base {name} of its own, which goes with the agent: name a \
             PersistentVolumeClaim with the label {ALLOWED_LABEL}={ALLOWED} as volume `state` under template.volumes of \
             {pool}, and keep the pool to one agent"
        ));
    }
    let claims: BTreeSet<&str> = users.iter().filter_map(|(_, pool)| claim(pool, &base.uri)).collect();
    let named = users.iter().map(|(pool, _)| *pool).collect::<Vec<_>>().join(" and ");
    if claims.len() > 1 {
        let message =
            format!("{named} have a knowledge base {name} each, on different claims: let one pool fill and search it");
        return Some(message);
    }
    let most = users.iter().map(|(_, pool)| most_agents(pool)).fold(0, u32::saturating_add);
    (most > 1).then(|| {
        format!(
            "{named} may have {most} agents, which share the knowledge base {name}, and none can be in a folder that several \
             nodes share: keep to one agent"
        )
    })
}

fn uses(stage: &Stage, knowledge: &str) -> bool {
    let embeds = stage.embed.as_ref().is_some_and(|embed| embed.knowledge.as_deref() == Some(knowledge));
    embeds || stage.retrieve.as_ref().is_some_and(|retrieve| retrieve.knowledge == knowledge)
}

/// The claim of a pool's that such a folder is on.
fn claim<'a>(pool: &'a AgentPoolSpec, uri: &str) -> Option<&'a str> {
    let folder = Path::new(folder(uri));
    let volume = pool.template.volumes.iter().find(|volume| folder.starts_with(mount_path(volume)));
    volume.map(|volume| volume.claim.as_str())
}

fn folder(uri: &str) -> &str {
    if uri == DEFAULT { pods::STATE } else { uri }
}

/// Agents that a pool may have at once, but for the one that takes another's place.
fn most_agents(pool: &AgentPoolSpec) -> u32 {
    let scaled = pool.scaling.as_ref().filter(|scaling| scaling.mode != ScalingMode::Advise);
    scaled.map_or(pool.replicas, |scaling| {
        let bounds = scaling.schedule.iter().map(|bounds| bounds.max_replicas);
        bounds.fold(scaling.max_replicas, u32::max)
    })
}
