//! The broker goes away while a pool is scaled, and with it all numbers: nothing is done that they do not call for.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    Cluster, Expectation, HOME, Kind, Steps, condition, condition_saying, crash, field, ready_replicas, wait, wait_for,
    with_namespace,
};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    documents::{all_ended_once, documents, submit_while},
    kills::runs_again,
    scaling::{DEPLOYMENT, asleep, change, sleeps, takes_work},
};

const BROKER: &str = "docket-nats";
/// Longer than any of the times after which numbers are old.
const GAP: Duration = Duration::from_secs(40);

#[tokio::test]
#[ignore = "needs cluster"]
async fn while_nothing_is_known_of_a_pool_its_agents_stay_as_many_as_they_are() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = asleep(cluster).await?;
        // More than are needed, so that there is a wrong way up, and agents that stay, so that there is one down.
        change(cluster, json!({"maxReplicas": 6, "cooldownToZero": "10m"})).await?;
        let before = documents("before", 40);
        let steps = Steps::of(cluster, DEPLOYMENT);
        submit_while(&gateway, &before, async || {
            cluster.wait(Kind::Deployment, DEPLOYMENT, takes_work()).await.map(drop)
        })
        .await?;
        without_broker(cluster, async || {
            cluster.wait(Kind::AgentPool, "clerks", condition_saying("ScalingActive", "False", "Held")).await?;
            // As it is now: the watch of the steps may be late.
            let deployment = cluster.get(Kind::Deployment, DEPLOYMENT).await?;
            let held = deployment.data["spec"]["replicas"].as_u64().context("no agents were asked for")?;
            let others = Expectation::new("to ask for another number", move |deployment| {
                deployment.is_none_or(|deployment| deployment.data["spec"]["replicas"].as_u64() != Some(held))
            });
            let changed = wait(&cluster.all(Kind::Deployment), DEPLOYMENT, &others, GAP).await;
            ensure!(held > 0 && changed.is_err(), "without numbers, agents asked for were {:?}", steps.so_far());
            // And so it is told.
            cluster.wait(Kind::AgentPool, "clerks", field("/status/scaling/desired", json!(held))).await?;
            cluster
                .wait(Kind::AgentPool, "clerks", field("/status/scaling/decisions/0/to", json!(held)))
                .await
                .map(drop)
        })
        .await?;
        cluster.wait(Kind::AgentPool, "clerks", condition("ScalingActive", "True")).await?;

        let again = documents("again", 40);
        gateway.submit_all("letters", &again).await?;
        let all = before.into_iter().chain(again).collect();
        all_ended_once(&gateway, &all).await?;
        let woken = steps.so_far().into_iter().skip_while(|asked| *asked == 0).collect::<Vec<_>>();
        ensure!(!woken.contains(&0), "the pool went to sleep though its cool-down was not over: {woken:?}");
        change(cluster, json!({"cooldownToZero": "1s"})).await?;
        sleeps(cluster, "clerks").await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_broker_that_crashes_while_a_pool_is_scaled_makes_it_no_smaller() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = asleep(cluster).await?;
        // All may be done before it is seen that the broker is back; to sleep then would be no fault.
        change(cluster, json!({"cooldownToZero": "10m"})).await?;
        let all = documents("crash", 400);
        let steps = Steps::of(cluster, DEPLOYMENT);
        submit_while(&gateway, &all, async || {
            cluster.wait(Kind::Deployment, DEPLOYMENT, takes_work()).await?;
            let pods = Kind::Pod.within(&cluster.client, HOME);
            let broker = pods.get(&format!("{BROKER}-0")).await.context("find the broker")?;
            let before = steps.so_far();
            runs_again(&pods, &crash(&pods, &broker).await?).await?;
            let since = steps.so_far().split_off(before.len().saturating_sub(1));
            ensure!(since.is_sorted(), "agents asked for since the crash were {since:?}");
            Ok(())
        })
        .await?;
        all_ended_once(&gateway, &all).await?;
        change(cluster, json!({"cooldownToZero": "10s"})).await?;
        sleeps(cluster, "clerks").await
    })
    .await
}

/// Takes the broker away, and brings it back whatever comes of it.
async fn without_broker<T>(cluster: &Cluster, happens: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
    servers(cluster, 0).await?;
    let happened = happens().await;
    servers(cluster, 1).await?;
    happened
}

async fn servers(cluster: &Cluster, number: u64) -> Result<()> {
    let sets = Kind::StatefulSet.within(&cluster.client, HOME);
    let patch = Patch::Merge(json!({"spec": {"replicas": number}}));
    sets.patch(BROKER, &PatchParams::default(), &patch).await.context("change the number of the broker's servers")?;
    if number > 0 {
        wait_for(&sets, BROKER, &ready_replicas(number)).await?;
    }
    Ok(())
}
