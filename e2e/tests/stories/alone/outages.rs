//! The operator or the broker dies while documents are on their way: none is lost, none is worked to two ends.

use anyhow::{Context, Result};
use e2e::{Cluster, Expectation, HOME, Kind, OPERATOR, crash, ready_replicas, wait_for, with_namespace};
use kube::api::DynamicObject;

use crate::{
    documents::{all_ended_once, documents, letters, submit_while},
    kills::{runs_again, while_submitting},
    scaling::{DEPLOYMENT, asks_for_some, asleep, sleeps},
};

#[tokio::test]
#[ignore = "needs cluster"]
async fn an_operator_that_crashes_is_followed_by_the_other() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        while_submitting(&gateway, "operator", async || {
            crash_leader(cluster).await?;
            // Whoever leads then does what the one that died would have done.
            cluster.scale("clerks", 2).await?;
            cluster.wait(Kind::Deployment, "clerks-agents", ready_replicas(2)).await.map(drop)
        })
        .await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_broker_that_crashes_loses_no_document() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        while_submitting(&gateway, "broker", async || {
            let pods = Kind::Pod.within(&cluster.client, HOME);
            let broker = pods.get("docket-nats-0").await.context("find the broker")?;
            runs_again(&pods, &crash(&pods, &broker).await?).await
        })
        .await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn an_operator_that_crashes_while_it_scales_is_followed_by_one_that_goes_on() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = asleep(cluster).await?;
        let all = documents("crash", 600);
        submit_while(&gateway, &all, async || {
            cluster.wait(Kind::Deployment, DEPLOYMENT, asks_for_some()).await?;
            crash_leader(cluster).await
        })
        .await?;
        all_ended_once(&gateway, &all).await?;
        sleeps(cluster, "clerks").await
    })
    .await
}

/// Crashes the operator that leads.
async fn crash_leader(cluster: &Cluster) -> Result<()> {
    let leases = Kind::Lease.within(&cluster.client, HOME);
    let is_held =
        |lease: &DynamicObject| lease.data["spec"]["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty());
    // Between two leaders nobody holds it.
    let held = Expectation::new("to be held", move |lease| lease.is_some_and(is_held));
    let lease = wait_for(&leases, OPERATOR, &held).await?;
    // A pod's name, and after it what tells its processes apart.
    let holder = lease.data["spec"]["holderIdentity"].as_str().and_then(|holder| holder.split('_').next());
    let pods = Kind::Pod.within(&cluster.client, HOME);
    let leader = pods.get(holder.context("nobody leads")?).await;
    crash(&pods, &leader.context("the leader is not named as its pod")?).await.map(drop)
}
