//! Pools that follow their work: from nothing to agents and back, over a crash of who decides, and from one owner of the number
//! to the next.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Expectation, Gateway, Kind, condition, condition_saying, field, ready_replicas, with_namespace};
use serde_json::json;

use crate::documents::{all_ended_once, documents, submit_while};

pub const DEPLOYMENT: &str = "clerks-agents";
/// Tasks in work at once: three agents' with four each.
const AT_ONCE: u64 = 12;

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_burst_wakes_a_pool_and_it_sleeps_again() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = asleep(cluster).await?;
        let all = documents("burst", 1_000);
        let begun = Instant::now();
        submit_while(&gateway, &all, async || {
            cluster.wait(Kind::Deployment, DEPLOYMENT, asks_for_some()).await?;
            eprintln!("agents were asked for {:.1} s after the first document", begun.elapsed().as_secs_f64());
            cluster.wait(Kind::Deployment, DEPLOYMENT, takes_work()).await?;
            eprintln!("the first took work after {:.1} s", begun.elapsed().as_secs_f64());
            cluster.wait(Kind::Deployment, DEPLOYMENT, has_what_it_asks_for()).await?;
            eprintln!("all that were asked for were there after {:.1} s", begun.elapsed().as_secs_f64());
            Ok(())
        })
        .await?;
        all_ended_once(&gateway, &all).await?;
        let done = Instant::now();
        sleeps(cluster, "clerks").await?;
        eprintln!("the pool slept {:.1} s after the last document", done.elapsed().as_secs_f64());

        let pool = cluster.wait(Kind::AgentPool, "clerks", field("/status/scaling/desired", json!(0))).await?;
        let decisions = pool.data["status"]["scaling"]["decisions"].as_array().cloned().unwrap_or_default();
        let last = decisions.first().context("no decision is told")?;
        ensure!(last["reason"] == "ToZero" && last["to"] == 0, "the last decision is {last}");
        let are_told = |told: &str| told.contains("ScaledUp") && told.contains("ScaledToZero");
        let told = cluster.told_of_pools(are_told).await?;
        ensure!(are_told(&told), "the Events are:\n{told}");

        // It wakes again.
        let again = documents("again", 20);
        gateway.submit_all("letters", &again).await?;
        let both = all.into_iter().chain(again).collect();
        all_ended_once(&gateway, &both).await?;
        sleeps(cluster, "clerks").await?;
        // A task that is delivered again was handed back, or its lease was lost. Delivery is at least once: a machine that stands
        // still may cost all that are in work their leases. Agents that were taken from their work, as often as the number of them
        // changes, would hand back more.
        let delivered = cluster.delivered("clerks").await?;
        ensure!(delivered.deliveries <= delivered.tasks + AT_ONCE, "tasks were interrupted: {delivered:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn the_number_passes_from_one_owner_to_the_next_as_it_is() -> Result<()> {
    with_namespace(async |cluster| {
        asleep(cluster).await?;
        change(cluster, json!({"minReplicas": 2})).await?;
        cluster.wait(Kind::Deployment, DEPLOYMENT, ready_replicas(2)).await?;
        // A person takes over, and finds what there is.
        change(cluster, json!({"mode": "External"})).await?;
        cluster
            .wait(Kind::AgentPool, "clerks", condition_saying("ScalingActive", "False", "scale subresource"))
            .await?;
        cluster.wait(Kind::AgentPool, "clerks", field("/spec/replicas", json!(2))).await?;
        cluster.wait(Kind::Deployment, DEPLOYMENT, ready_replicas(2)).await?;
        cluster.scale("clerks", 3).await?;
        cluster.wait(Kind::Deployment, DEPLOYMENT, ready_replicas(3)).await?;
        // And the autoscaler again.
        change(cluster, json!({"mode": "Apply", "minReplicas": 0})).await?;
        cluster.wait(Kind::AgentPool, "clerks", condition("ScalingActive", "True")).await?;
        sleeps(cluster, "clerks").await?;
        // Without scaling, `replicas` is what there is, not what it was.
        cluster.patch(Kind::AgentPool, "clerks", json!({"spec": {"scaling": null}})).await?;
        cluster.wait(Kind::AgentPool, "clerks", condition_saying("ScalingActive", "False", "replicas")).await?;
        cluster.wait(Kind::AgentPool, "clerks", field("/status/desiredReplicas", json!(0))).await.map(drop)
    })
    .await
}

/// Applies the pipeline of a pool that sleeps.
pub async fn asleep(cluster: &Cluster) -> Result<Gateway> {
    cluster.apply_file("e2e/manifests/scaled.yaml").await?;
    cluster.wait(Kind::AgentPool, "clerks", condition("ScalingActive", "True")).await?;
    cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
    let gateway = cluster.gateway().await?;
    gateway.serves("letters", true).await?;
    sleeps(cluster, "clerks").await?;
    Ok(gateway)
}

pub async fn change(cluster: &Cluster, scaling: serde_json::Value) -> Result<()> {
    cluster.patch(Kind::AgentPool, "clerks", json!({"spec": {"scaling": scaling}})).await.map(drop)
}

/// Waits until no agent is asked for, and none is left.
pub async fn sleeps(cluster: &Cluster, pool: &str) -> Result<()> {
    cluster.wait(Kind::Deployment, &format!("{pool}-agents"), field("/spec/replicas", json!(0))).await?;
    for pod in cluster.labelled(Kind::Pod, &format!("docket.dev/pool={pool}")).await? {
        cluster.wait_gone(Kind::Pod, &pod.metadata.name.unwrap_or_default()).await?;
    }
    Ok(())
}

pub fn asks_for_some() -> Expectation {
    Expectation::new("to ask for agents", |deployment| {
        deployment.is_some_and(|deployment| deployment.data["spec"]["replicas"].as_u64().is_some_and(|asked| asked > 0))
    })
}

pub fn takes_work() -> Expectation {
    Expectation::new("to have an agent that takes work", |deployment| {
        deployment.is_some_and(|deployment| {
            deployment.data["status"]["readyReplicas"].as_u64().is_some_and(|ready| ready > 0)
        })
    })
}

fn has_what_it_asks_for() -> Expectation {
    Expectation::new("to have the agents that it asks for", |deployment| {
        deployment.is_some_and(|deployment| {
            let ready = deployment.data["status"]["readyReplicas"].as_u64();
            ready.is_some_and(|ready| ready > 0) && ready == deployment.data["spec"]["replicas"].as_u64()
        })
    })
}
