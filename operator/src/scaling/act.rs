//! What follows from a step, in the order that interrupts nobody: who rests is told so; who goes is marked; the number changes.

use std::collections::BTreeSet;

use crds::AgentPool;
use flow::PoolOrders;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use scaler::Reason;
use serde_json::json;

use super::{
    pool::Step,
    seen::{SeenDeployment, SeenPod},
    told,
};
use crate::{
    apply::{self, Error},
    chain,
    context::Context,
    names::{DELETION_COST, SCALE_MANAGER},
};

/// Pods that are marked at once.
const AT_ONCE: usize = 16;
/// Below 0, what a pod has that is not marked.
const FIRST_TO_GO: &str = "-1000";

/// Tells agents who rests, again and again, because what is not said again holds no longer; `said` is whether anybody was told.
pub async fn order(
    ctx: &Context,
    (namespace, pool): (&str, &str),
    resting: &BTreeSet<String>,
    said: &mut bool,
) -> Result<(), queue::Error> {
    let Ok(epoch) = ctx.may_write() else { return Ok(()) };
    if !resting.is_empty() {
        *said = true;
        let orders = PoolOrders { epoch: epoch.into(), resting: resting.iter().cloned().collect() };
        return ctx.brokers.order(namespace, pool, &orders).await;
    }
    if *said {
        ctx.brokers.withdraw_orders(namespace, pool).await?;
        *said = false;
    }
    Ok(())
}

/// Brings the number of pods to what the step asks for; says whether it changed.
pub async fn replicas(
    ctx: &Context,
    pool: &AgentPool,
    deployment: &SeenDeployment,
    pods: &[SeenPod],
    step: &Step,
) -> Result<bool, Error> {
    let of = |names: &BTreeSet<String>| -> Vec<SeenPod> {
        pods.iter().filter(|pod| names.contains(&pod.name)).cloned().collect()
    };
    let namespace = deployment.reference.metadata.namespace.clone().unwrap_or_default();
    let grows = step.replicas.is_some_and(|replicas| replicas > deployment.replicas);
    if !grows {
        mark(ctx, &namespace, of(&step.unmark), None).await?;
    }
    let Some(replicas) = step.replicas else { return Ok(false) };
    if replicas < deployment.replicas {
        let unmarked = of(&step.choice.going).into_iter().filter(|pod| !pod.marked).collect();
        mark(ctx, &namespace, unmarked, Some(FIRST_TO_GO)).await?;
    }
    let (seen, spec) = (&deployment.reference, json!({"replicas": replicas}));
    let is_changed = match grows {
        true => apply::change_spec(ctx, seen, SCALE_MANAGER, spec).await?,
        // Whom a ReplicaSet takes stands in the status of pods, and where one of them changed the Deployment's did.
        false => apply::change(ctx, seen, SCALE_MANAGER, spec).await?,
    };
    if !is_changed {
        return Ok(false);
    }
    let reason = match step.decision.reason {
        _ if replicas > deployment.replicas => "ScaledUp",
        Reason::ToZero if replicas == 0 => "ScaledToZero",
        _ => "ScaledDown",
    };
    let note = told::sentence(&step.decision, deployment.replicas);
    tracing::info!(%namespace, pool = pool.metadata.name, from = deployment.replicas, to = replicas, "{note}");
    ctx.events.done(pool, "Scale", reason, &note).await;
    if grows && let Err(error) = mark(ctx, &namespace, of(&step.unmark), None).await {
        // Marks count when pods are taken, so work that waits came first; in a second it is tried again.
        tracing::debug!(%namespace, pool = pool.metadata.name, error = %chain(&error), "marks were not taken away");
    }
    Ok(true)
}

/// Sets or takes away the mark of pods; one that is gone, or another of the same name, is none of ours.
async fn mark(ctx: &Context, namespace: &str, pods: Vec<SeenPod>, cost: Option<&str>) -> Result<(), Error> {
    let marks = pods.into_iter().map(|pod| async move {
        let metadata = ObjectMeta {
            name: Some(pod.name),
            namespace: Some(namespace.to_owned()),
            uid: Some(pod.uid),
            ..ObjectMeta::default()
        };
        let pod = Pod { metadata, ..Pod::default() };
        apply::annotate(ctx, &pod, SCALE_MANAGER, DELETION_COST, cost).await
    });
    stream::iter(marks).buffer_unordered(AT_ONCE).try_collect().await
}
