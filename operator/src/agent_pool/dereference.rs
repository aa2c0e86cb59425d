//! Reads of a pass: what a pool refers to, and the pods that it has.

use std::time::{Duration, Instant};

use crds::{AgentPool, DeletionPolicy, Pipeline};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::DeserializeGuard};

use super::{leaving, pods_seen::PodsSeen, validate::ValidatedPool};
pub use crate::claims::Claim;
use crate::{
    apply::{Error, within},
    claims,
    context::Context,
    names::{self, ALLOWED_LABEL, Component, LONGEST_POOL},
    pipeline::{
        pools::{longest_attempt, names_pool},
        workers::has_agents,
    },
    unreadable,
    watching::namespace_of,
};

/// Pods that one answer of the API server holds.
const PAGE: u32 = 500;
/// A list of pods is begun so often: the API server keeps the state that it began with for minutes, so that a second one is read
/// to its end unless more is wrong than time.
const LISTS: u32 = 3;
/// The API server's answer to whoever asks for the next page of a state that it keeps no longer.
const EXPIRED: u16 = 410;

/// What a pool refers to, as it was found.
#[derive(Clone, Debug, Default)]
pub struct Dereferenced {
    /// Claims of the template, in its order.
    pub claims: Vec<Claim>,
    /// Longest time for one attempt that a stage of one of the namespace's pipelines gives the pool.
    pub longest_stage: Option<Duration>,
    /// Whether the cluster knows PodMonitors.
    pub pod_monitors: bool,
}

/// Reads what a pool refers to.
pub async fn of(ctx: &Context, pool: &AgentPool) -> Result<Dereferenced, Error> {
    let namespace = namespace_of(pool);
    let mut found = Vec::new();
    for volume in &pool.spec.template.volumes {
        found.push(claims::of(ctx, &namespace, &volume.claim, ALLOWED_LABEL).await?);
    }
    let longest_stage = longest_stage(ctx, &namespace, &pool.name_any()).await?;
    let pod_monitors = ctx.pod_monitors.are_known(&ctx.client, Instant::now()).await;
    Ok(Dereferenced { claims: found, longest_stage, pod_monitors })
}

async fn longest_stage(ctx: &Context, namespace: &str, pool: &str) -> Result<Option<Duration>, Error> {
    let api: Api<DeserializeGuard<Pipeline>> = Api::namespaced(ctx.client.clone(), namespace);
    let list = within("list", format!("Pipelines in {namespace}"), api.list(&ListParams::default())).await?;
    let pipelines = list.items.iter().filter_map(|item| item.0.as_ref().ok());
    Ok(pipelines.filter_map(|pipeline| longest_attempt(&pipeline.spec, pool)).max())
}

/// Pipelines that a pool works, that are being deleted, and whose open documents are to end first; none where the pool has no
/// agents any more.
pub async fn draining(ctx: &Context, namespace: &str, pool: &str) -> Result<Vec<String>, Error> {
    let api: Api<DeserializeGuard<Pipeline>> = Api::namespaced(ctx.client.clone(), namespace);
    let list = within("list", format!("Pipelines in {namespace}"), api.list(&ListParams::default())).await?;
    let mut names = Vec::new();
    for item in list.items.into_iter().filter(|item| item.meta().deletion_timestamp.is_some()) {
        let pipeline = match item.0 {
            Ok(pipeline) => Some(pipeline),
            Err(invalid) => unreadable::leaving::<Pipeline>(ctx, &invalid.metadata).await?,
        };
        let drained = pipeline
            .filter(|pipeline| pipeline.spec.deletion_policy == DeletionPolicy::Drain)
            .filter(|pipeline| names_pool(&pipeline.spec, pool));
        names.extend(drained.map(|pipeline| pipeline.name_any()));
    }
    if names.is_empty() || !has_agents(ctx, namespace, pool).await? {
        return Ok(Vec::new());
    }
    Ok(names)
}

/// What is left of the agents of a pool that is being deleted: its Deployment, and pods that have not ended.
pub async fn leaving(ctx: &Context, pool: &AgentPool) -> Result<(Option<Deployment>, leaving::Pods), Error> {
    let (namespace, name) = (namespace_of(pool), pool.name_any());
    // Nothing was ever made for it, and the API server takes no label that long.
    if name.len() > LONGEST_POOL || !names::is_plain(&name) {
        return Ok((None, leaving::Pods::default()));
    }
    let api: Api<Deployment> = Api::namespaced(ctx.client.clone(), &namespace);
    let agents = names::agents(&name);
    let deployment = within("get", format!("Deployment {namespace}/{agents}"), api.get_opt(&agents)).await?;
    // Afterwards: where nobody makes pods any more, none is missed.
    let pods = counted(ctx, &namespace, &name, leaving::Pods::add).await?;
    Ok((deployment, pods))
}

/// What the pods of a pool lack.
pub async fn pods(ctx: &Context, pool: &ValidatedPool) -> Result<PodsSeen, Error> {
    counted(ctx, &pool.namespace, &pool.name, PodsSeen::add).await
}

/// Takes note of all pods of a pool. They are read page by page, so that no more of them than a page is ever held.
async fn counted<N: Default>(ctx: &Context, namespace: &str, pool: &str, add: fn(&mut N, &Pod)) -> Result<N, Error> {
    for _ in 1..LISTS {
        match listed(ctx, namespace, pool, add).await {
            // The state that was being read is kept no longer. What was counted of it is of no use to another one: a pod that is
            // in both would count twice.
            Err(Error::Refused { source, .. }) if source.code() == Some(EXPIRED) => {}
            seen => return seen,
        }
    }
    listed(ctx, namespace, pool, add).await
}

async fn listed<N: Default>(ctx: &Context, namespace: &str, pool: &str, add: fn(&mut N, &Pod)) -> Result<N, Error> {
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    let selector = names::selector_text(&names::selector(Component::Agents, pool));
    let mut params = ListParams::default().labels(&selector).limit(PAGE);
    let mut seen = N::default();
    loop {
        let page = within("list", format!("pods of pool {namespace}/{pool}"), api.list(&params)).await?;
        page.items.iter().for_each(|pod| add(&mut seen, pod));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(seen),
        }
    }
}
