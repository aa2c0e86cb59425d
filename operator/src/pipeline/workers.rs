//! Who works the open documents of a pipeline that is being deleted.
//!
//! That agents are away says nothing: whoever deletes a pool's Deployment gets another one, and of one that cannot be made yet
//! its author is told. Only a pool that is gone, or goes, makes none any more. With their namespace pools go, too, so that a
//! pipeline does not wait for ever there.

use std::collections::BTreeMap;

use crds::{AgentPool, AgentPoolSpec, Pipeline, ScalingMode};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Resource, ResourceExt, api::ListParams, core::DeserializeGuard};

use super::{dereference::ready, pools::named_pools};
use crate::{
    apply::{Error, within},
    condition::State,
    context::Context,
    names::agents,
    watching::namespace_of,
};

/// The pools that may work them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// Whether one of them stays, or has agents that are not on their way out.
    pub stay: bool,
    /// Those that work nothing, each with the reason.
    pub idle: Vec<String>,
}

/// Reads them.
pub async fn of(ctx: &Context, pipeline: &Pipeline) -> Result<Workers, Error> {
    let namespace = namespace_of(pipeline);
    let api: Api<DeserializeGuard<AgentPool>> = Api::namespaced(ctx.client.clone(), &namespace);
    let listed = within("list", format!("AgentPools in {namespace}"), api.list(&ListParams::default())).await?;
    let staying = listed.items.into_iter().filter(|pool| pool.meta().deletion_timestamp.is_none());
    let staying: BTreeMap<String, _> = staying.map(|pool| (pool.name_any(), pool)).collect();
    let mut workers = Workers::default();
    for name in named_pools(&pipeline.spec) {
        if let Some(pool) = staying.get(name) {
            workers.stay = true;
            workers.idle.extend(pool.0.as_ref().ok().and_then(|pool| idle(name, pool)));
        } else if has_agents(ctx, &namespace, name).await? {
            workers.stay = true;
        } else {
            workers.idle.push(format!("{name} is gone, or goes and has no agents any more"));
        }
    }
    Ok(workers)
}

/// Why a pool that stays works nothing; none where it works.
fn idle(name: &str, pool: &AgentPool) -> Option<String> {
    if asks_for_nobody(&pool.spec) {
        return Some(format!("{name} asks for no agents (set its replicas to 1 or more)"));
    }
    let (state, why) = ready(Some(pool));
    (state == State::False).then(|| format!("{name} is not ready ({why})"))
}

/// Whether a pool has no agents, and nobody but its author makes it have some.
fn asks_for_nobody(pool: &AgentPoolSpec) -> bool {
    let is_fixed = pool.scaling.as_ref().is_none_or(|scaling| scaling.mode == ScalingMode::Advise);
    is_fixed && pool.replicas == 0
}

/// Whether a pool's Deployment is there to stay.
pub async fn has_agents(ctx: &Context, namespace: &str, pool: &str) -> Result<bool, Error> {
    let api: Api<Deployment> = Api::namespaced(ctx.client.clone(), namespace);
    let name = agents(pool);
    let found = within("get", format!("Deployment {namespace}/{name}"), api.get_opt(&name)).await?;
    Ok(found.is_some_and(|deployment| deployment.metadata.deletion_timestamp.is_none()))
}
