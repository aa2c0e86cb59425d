//! Who works the open documents of a pipeline that is being deleted.
//!
//! That agents are away says nothing: whoever deletes a pool's Deployment gets another one, and of one that cannot be made yet
//! its author is told. Only a pool that is gone, or goes, makes none any more. With their namespace pools go, too, so that a
//! pipeline does not wait for ever there.

use std::collections::BTreeSet;

use crds::{AgentPool, Pipeline};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Resource, ResourceExt, api::ListParams, core::DeserializeGuard};

use super::pools::named_pools;
use crate::{
    apply::{Error, within},
    context::Context,
    names::agents,
    watching::namespace_of,
};

/// Whether one of the pools that may work them stays, or has agents that are not on their way out.
pub async fn stay(ctx: &Context, pipeline: &Pipeline) -> Result<bool, Error> {
    let namespace = namespace_of(pipeline);
    let api: Api<DeserializeGuard<AgentPool>> = Api::namespaced(ctx.client.clone(), &namespace);
    let listed = within("list", format!("AgentPools in {namespace}"), api.list(&ListParams::default())).await?;
    let staying = listed.items.iter().filter(|pool| pool.meta().deletion_timestamp.is_none());
    let staying: BTreeSet<String> = staying.map(ResourceExt::name_any).collect();
    for pool in named_pools(&pipeline.spec) {
        if staying.contains(pool) || has_agents(ctx, &namespace, pool).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a pool's Deployment is there to stay.
pub async fn has_agents(ctx: &Context, namespace: &str, pool: &str) -> Result<bool, Error> {
    let api: Api<Deployment> = Api::namespaced(ctx.client.clone(), namespace);
    let name = agents(pool);
    let found = within("get", format!("Deployment {namespace}/{name}"), api.get_opt(&name)).await?;
    Ok(found.is_some_and(|deployment| deployment.metadata.deletion_timestamp.is_none()))
}
