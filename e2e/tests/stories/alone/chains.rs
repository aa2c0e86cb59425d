//! Pools whose work is another pool's work a moment before: their agents are there when it comes.

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Expectation, Kind, condition, with_namespace};
use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::json;

use crate::{
    documents::{all_ended_once, documents},
    scaling::{asks_for_some, sleeps, takes_work},
};

/// Which node has room for the first pool's agents.
const ROOM: &str = "docket.dev/e2e-room";
const POOLS: [&str; 2] = ["readers", "clerks"];

#[tokio::test]
#[ignore = "needs cluster"]
async fn the_agents_of_a_later_pool_are_ready_when_its_first_document_comes() -> Result<()> {
    with_namespace(async |cluster| {
        let told = chain(cluster).await;
        label(cluster, "-").await?;
        told
    })
    .await
}

/// While no node has room for the first pool, its documents wait there, and nothing has come to the second one.
async fn chain(cluster: &Cluster) -> Result<()> {
    label(cluster, "-").await?;
    cluster.apply_file("e2e/manifests/chain.yaml").await?;
    cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
    for pool in POOLS {
        cluster.wait(Kind::AgentPool, pool, condition("ScalingActive", "True")).await?;
        sleeps(cluster, pool).await?;
    }
    let gateway = cluster.gateway().await?;
    gateway.serves("letters", true).await?;

    let all = documents("chain", 12);
    gateway.submit_all("letters", &all).await?;
    cluster.wait(Kind::Deployment, "readers-agents", asks_for_some()).await?;
    cluster.wait(Kind::Deployment, "clerks-agents", takes_work()).await?;
    let came = cluster.delivered("clerks").await?.tasks;
    ensure!(came == 0, "{came} tasks had come to the second pool when its first agent was ready");
    // The first decision is the last that is told.
    let foreseen = Expectation::new("to have been started for work that is foreseen", |pool| {
        let decisions = pool.and_then(|pool| pool.data["status"]["scaling"]["decisions"].as_array());
        decisions.and_then(|all| all.last()).is_some_and(|first| first["reason"] == "Up:Foreseen")
    });
    cluster.wait(Kind::AgentPool, "clerks", foreseen).await?;

    // From here on agents stay until it was looked at when they became ready, however late that is.
    cool_down(cluster, "10m").await?;
    label(cluster, "=readers").await?;
    cluster.wait(Kind::Deployment, "readers-agents", takes_work()).await?;
    all_ended_once(&gateway, &all).await?;
    let (readers, clerks) = (first_ready(cluster, "readers").await?, first_ready(cluster, "clerks").await?);
    ensure!(clerks <= readers, "an agent of the second pool was ready at {clerks}, of the first at {readers}");
    cool_down(cluster, "10s").await?;
    for pool in POOLS {
        sleeps(cluster, pool).await?;
    }
    Ok(())
}

/// Sets how long the pools keep their agents when nothing is to be done.
async fn cool_down(cluster: &Cluster, time: &str) -> Result<()> {
    for pool in POOLS {
        let change = json!({"spec": {"scaling": {"cooldownToZero": time}}});
        let generation = cluster.patch(Kind::AgentPool, pool, change).await?.metadata.generation;
        let seen = Expectation::new("to be seen as it was changed", move |pool| {
            pool.is_some_and(|pool| pool.data["status"]["observedGeneration"].as_i64() >= generation)
        });
        cluster.wait(Kind::AgentPool, pool, seen).await?;
    }
    Ok(())
}

/// Sets the label of all nodes (`=VALUE`), or takes it away (`-`).
async fn label(cluster: &Cluster, change: &str) -> Result<()> {
    cluster.kubectl(&["label", "node", "--all", "--overwrite", &format!("{ROOM}{change}")], "").await.map(drop)
}

/// When the first of a pool's agents became ready.
async fn first_ready(cluster: &Cluster, pool: &str) -> Result<Timestamp> {
    let pods = cluster.labelled(Kind::Pod, &format!("docket.dev/pool={pool}")).await?;
    let ready = |pod: &DynamicObject| -> Option<Timestamp> {
        let conditions = pod.data["status"]["conditions"].as_array()?;
        let ready =
            conditions.iter().find(|condition| condition["type"] == "Ready" && condition["status"] == "True")?;
        ready["lastTransitionTime"].as_str()?.parse().ok()
    };
    pods.iter().filter_map(ready).min().with_context(|| format!("no agent of {pool} is ready"))
}
