//! What is done for a pool that is being deleted, in this order: documents of pipelines that are drained end, agents end, what the
//! pool has at the broker is removed, and, with the last of them, what the namespace has once. Must not decide: `leaving` does.
//!
//! Each step is looked for anew, so a process that dies anywhere is followed by one that goes on.

use crds::{AgentPool, AgentPoolStatus};
use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use kube::{ResourceExt, runtime::controller::Action};

use super::{
    Error, dereference,
    leaving::{self, Agents, Step},
    status,
};
use crate::{
    apply::{self, Child},
    broker, chain,
    context::Context,
    held::Held,
    names,
    namespace::{self, Orphans},
    unreadable,
    watching::namespace_of,
};

/// Removes what a pool has, and says on the pool why it is still there where that fails. Its objects in the cluster, but for the
/// Deployment, go with it by their owner references.
pub async fn clean_up(ctx: &Context, pool: &AgentPool) -> Result<Action, Held<Error>> {
    let removed = remove(ctx, pool).await;
    if let Err(Held::Failed(error)) = &removed
        && ctx.may_write().is_ok()
    {
        ctx.events.failed(pool, error.reason(), error).await;
        if let Err(untold) = tell(ctx, pool, error).await {
            tracing::warn!(pool = %pool.name_any(), namespace = %namespace_of(pool), error = %chain(&untold), "it is not said on the pool why it stays");
        }
    }
    removed
}

/// Writes into the status why a pool is still there. That is read anew: since when agents are waited for is in it, too.
async fn tell(ctx: &Context, pool: &AgentPool, error: &Error) -> Result<(), apply::Error> {
    let Some(live) = unreadable::leaving::<AgentPool>(ctx, &pool.metadata).await? else { return Ok(()) };
    let status = status::not_deleted(&live, error, Timestamp::now());
    apply::status(ctx, &live, apply::Read::Anew, live.status.as_ref(), &status).await
}

async fn remove(ctx: &Context, pool: &AgentPool) -> Result<Action, Held<Error>> {
    let (namespace, name) = (namespace_of(pool), pool.name_any());
    // What is removed at the broker has no uid: one of the same name may be a successor's.
    let live = unreadable::leaving::<AgentPool>(ctx, &pool.metadata).await;
    let live = live.map_err(|error| Held::Failed(Error::Dereference(error)))?;
    let Some(pool) = &live else { return Err(Held::Waiting) };
    let draining = dereference::draining(ctx, &namespace, &name).await;
    for pipeline in draining.map_err(|error| Held::Failed(Error::Dereference(error)))? {
        let open = ctx.brokers.open_documents(&namespace, &pipeline).await;
        if open.map_err(|error| Held::Failed(Error::Cleanup(broker::RemoveError::Broker(error))))? > 0 {
            write(ctx, pool, &leaving::draining(pool, &pipeline, Timestamp::now())).await?;
            return Err(Held::Waiting);
        }
    }
    let orphans = if agents_are_gone(ctx, pool).await? {
        let removed = ctx.brokers.remove_pool(&namespace, &name).await;
        removed.map_err(|error| Held::Failed(Error::Cleanup(error)))?;
        Orphans::None
    } else {
        Orphans::Kept
    };
    namespace::leave(ctx, &namespace, orphans).await.map_err(|error| Held::Failed(Error::Leave(error)))?;
    ctx.namespaces.look_at(namespace);
    Ok(Action::await_change())
}

/// Ends a pool's agents: an error until they have ended, `false` where they are to go on.
async fn agents_are_gone(ctx: &Context, pool: &AgentPool) -> Result<bool, Held<Error>> {
    let read = dereference::leaving(ctx, pool).await;
    let (deployment, pods) = read.map_err(|error| Held::Failed(Error::Dereference(error)))?;
    let now = Timestamp::now();
    let step = leaving::step(Agents::of(pool, deployment.as_ref()), &pods, leaving::since(pool, now), now);
    match step {
        Step::Remove => return Ok(true),
        Step::RemoveRegardless => {
            let not_ended = leaving::not_ended(pool, &pods);
            tracing::warn!(pool = %pool.name_any(), namespace = %namespace_of(pool), error = %not_ended, "a pool goes before its agents");
            ctx.events.failed(pool, "AgentsNotEnded", &not_ended).await;
            return Ok(true);
        }
        Step::Keep => {
            ctx.events.done(pool, "Delete", "AgentsKept", &leaving::kept(pool)).await;
            return Ok(false);
        }
        Step::End => end(ctx, pool).await.map_err(|error| Held::Failed(Error::Apply(error)))?,
        Step::Wait => {}
    }
    // Also after the Deployment was deleted: that its pods are gone is only known when nobody makes them any more.
    write(ctx, pool, &leaving::status(pool, &pods, now)).await?;
    Err(Held::Waiting)
}

async fn write(ctx: &Context, pool: &AgentPool, status: &AgentPoolStatus) -> Result<(), Held<Error>> {
    let written = apply::status(ctx, pool, apply::Read::Anew, pool.status.as_ref(), status).await;
    written.map_err(|error| Held::Failed(Error::Status(error)))
}

/// Deletes the pool's Deployment, and with it, by Kubernetes, its ReplicaSets and pods.
async fn end(ctx: &Context, pool: &AgentPool) -> Result<(), apply::Error> {
    let metadata = ObjectMeta {
        name: Some(names::agents(&pool.name_any())),
        namespace: Some(namespace_of(pool)),
        ..ObjectMeta::default()
    };
    let deployment = Child::of(&Deployment { metadata, ..Deployment::default() });
    apply::absent(ctx, &deployment, |live| apply::is_owned_by(live, pool.metadata.uid.as_deref())).await
}
