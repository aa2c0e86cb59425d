//! Pools on nodes: replicas, GPUs, and what no node has.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{
    Cluster, Kind, PATIENCE, condition, condition_of, condition_saying, connect, field, present, ready_replicas, wait,
    with_namespace,
};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::documents::{all_ended_once, documents, letters};

/// Longest time until a new pool has a status: two seconds are meant, and the machine is busy with three other stories. How long it
/// was is told.
const FIRST_STATUS: Duration = Duration::from_secs(90);

#[tokio::test]
#[ignore = "needs cluster"]
async fn scaling_a_pool_changes_its_ready_replicas() -> Result<()> {
    with_namespace(async |cluster| {
        cluster.apply(&pool("clerks", json!({"replicas": 1}))).await?;
        cluster.wait(Kind::AgentPool, "clerks", condition("Ready", "True")).await?;
        cluster.scale("clerks", 3).await?;
        cluster.wait(Kind::Deployment, "clerks-agents", ready_replicas(3)).await?;
        cluster.wait(Kind::AgentPool, "clerks", condition("Ready", "True")).await?;
        scale_says(cluster, "clerks", 3).await?;
        cluster.scale("clerks", 1).await?;
        cluster.wait(Kind::Deployment, "clerks-agents", ready_replicas(1)).await.map(drop)
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_pool_that_asks_for_a_gpu_is_scheduled_where_one_is() -> Result<()> {
    give_node_gpus().await?;
    with_namespace(async |cluster| {
        let device = json!({"kind": "Gpu", "resource": "nvidia.com/gpu"});
        cluster.apply(&pool("fast", json!({"replicas": 1, "device": device}))).await?;
        cluster.wait(Kind::Deployment, "fast-agents", present()).await?;
        cluster.wait(Kind::AgentPool, "fast", condition("Schedulable", "True")).await?;
        let pods = cluster.labelled(Kind::Pod, "docket.dev/pool=fast").await?;
        let pod = pods.first().context("the pool has no pod")?;
        let limits = &pod.data["spec"]["containers"][0]["resources"]["limits"];
        ensure!(limits["nvidia.com/gpu"] == "1", "the pod's limits are {limits}");
        ensure!(pod.data["spec"]["nodeName"] == "node-1", "the pod is not on a node: {:#}", pod.data["status"]);
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_pool_that_no_node_can_hold_says_what_is_missing_and_heals() -> Result<()> {
    with_namespace(async |cluster| {
        let device = json!({"kind": "Gpu", "resource": "example.com/rare-gpu"});
        cluster.apply(&pool("rare", json!({"replicas": 1, "device": device}))).await?;
        let missing = condition_saying("Schedulable", "False", "example.com/rare-gpu");
        cluster.wait(Kind::AgentPool, "rare", missing).await?;
        cluster.wait(Kind::AgentPool, "rare", condition("Ready", "False")).await?;
        cluster.patch(Kind::AgentPool, "rare", json!({"spec": {"device": null}})).await?;
        cluster.wait(Kind::AgentPool, "rare", condition("Ready", "True")).await?;
        cluster.wait(Kind::AgentPool, "rare", condition("Schedulable", "True")).await.map(drop)
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_pool_whose_gpu_no_node_has_falls_back_where_it_says_so_and_its_documents_end() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        let device = json!({"kind": "Gpu", "resource": "example.com/absent-gpu", "fallback": "Cpu"});
        cluster.patch(Kind::AgentPool, "clerks", json!({"spec": {"device": device}})).await?;
        let documents = documents("fallen", 20);
        gateway.submit_all("letters", &documents).await?;
        let fell_back = condition_saying("Schedulable", "True", "example.com/absent-gpu");
        let fell_back = fell_back.and(condition("Ready", "True"));
        let pool = cluster.wait(Kind::AgentPool, "clerks", fell_back).await?;
        let scheduled = condition_of(&pool, "Schedulable").context("a pool without Schedulable")?;
        ensure!(scheduled["reason"] == "FellBack", "Schedulable is {scheduled}");
        all_ended_once(&gateway, &documents).await?;
        let told = cluster.told_of_pools(|told| told.contains("FellBack")).await?;
        ensure!(told.matches("FellBack").count() == 1, "the Events are:\n{told}");

        cluster.patch(Kind::AgentPool, "clerks", json!({"spec": {"device": null}})).await?;
        let as_asked = condition_saying("Schedulable", "True", "Scheduled").and(condition("Ready", "True"));
        cluster.wait(Kind::AgentPool, "clerks", as_asked).await.map(drop)
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_pool_keeps_its_state_on_a_claim_that_is_meant_for_agents() -> Result<()> {
    with_namespace(async |cluster| {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        let claim =
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "room"}, "spec": spec});
        cluster.apply(&claim).await?;
        let volumes = json!({"volumes": [{"name": "state", "claim": "room"}]});
        cluster.apply(&pool("clerks", json!({"template": volumes}))).await?;
        cluster.wait(Kind::AgentPool, "clerks", condition_saying("Ready", "False", "ClaimNotAllowed")).await?;
        let allowed = json!({"metadata": {"labels": {"docket.dev/agents": "allowed"}}});
        cluster.patch(Kind::PersistentVolumeClaim, "room", allowed).await?;
        cluster.wait(Kind::AgentPool, "clerks", condition("Ready", "True")).await?;
        let told = cluster.told_of_pools(|told| told.contains("ClaimNotAllowed")).await?;
        ensure!(told.contains("ClaimNotAllowed"), "the Events are:\n{told}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_new_pool_is_not_ready_before_its_agents_are() -> Result<()> {
    with_namespace(async |cluster| {
        // No node has this label, so that the pool cannot become ready.
        let device = json!({"kind": "Cpu", "nodeSelector": {"e2e.docket.dev/no-such": "node"}});
        cluster.apply(&pool("nowhere", json!({"replicas": 1, "device": device}))).await?;
        let pool = cluster.wait(Kind::AgentPool, "nowhere", condition("Ready", "False")).await?;
        let ready = condition_of(&pool, "Ready").context("a pool without Ready")?;
        ensure!(ready["message"].as_str().is_some_and(|message| !message.is_empty()), "Ready says nothing: {ready}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_new_pool_has_a_status_soon() -> Result<()> {
    with_namespace(async |cluster| {
        let began = Instant::now();
        let made: DynamicObject = serde_json::from_value(pool("clerks", json!({"replicas": 1})))?;
        cluster.all(Kind::AgentPool).create(&PostParams::default(), &made).await.context("make the pool")?;
        let observed = field("/status/observedGeneration", json!(1));
        wait(&cluster.all(Kind::AgentPool), "clerks", &observed, FIRST_STATUS).await?;
        eprintln!("a new pool had a status after {:.2} s", began.elapsed().as_secs_f64());
        Ok(())
    })
    .await
}

fn pool(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": name}, "spec": spec})
}

/// The scale subresource, which autoscalers read, tells the replicas and how to find the pods.
async fn scale_says(cluster: &Cluster, name: &str, replicas: i32) -> Result<()> {
    let scale = cluster.all(Kind::AgentPool).get_scale(name).await.context("read the scale subresource")?;
    let status = scale.status.context("a scale without status")?;
    ensure!(status.replicas == replicas, "the scale has {} replicas", status.replicas);
    let selector = status.selector.context("a scale without a selector")?;
    let pods = cluster.labelled(Kind::Pod, &selector).await?;
    ensure!(pods.len() == usize::try_from(replicas)?, "the selector {selector} finds {} pods", pods.len());
    Ok(())
}

/// The node says that it has four GPUs, as a device plugin would make it say. The kubelet gives them out a moment later.
async fn give_node_gpus() -> Result<()> {
    let capacity = json!({"status": {"capacity": {"nvidia.com/gpu": "4"}}});
    let nodes = Kind::Node.everywhere(&connect().await?);
    nodes
        .patch_status("node-1", &PatchParams::default(), &Patch::Merge(&capacity))
        .await
        .context("give the node GPUs")?;
    let given_out = field("/status/allocatable/nvidia.com~1gpu", json!("4"));
    wait(&nodes, "node-1", &given_out, PATIENCE).await.map(drop)
}
