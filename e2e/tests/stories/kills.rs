//! Parts die while documents are on their way: none is lost, none is worked to two ends.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    Cluster, Expectation, Gateway, Kind, PATIENCE, condition, condition_saying, crash, ready_replicas, wait,
    with_namespace,
};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject},
};
use serde_json::json;

use crate::documents::{all_ended_once, documents, letters, submit_while};

const NUMBER: usize = 300;
/// Between two deaths of one process.
const PAUSE: Duration = Duration::from_secs(1);
/// A container that ended again and again is started again after up to five minutes.
const STARTED_AGAIN: Duration = Duration::from_secs(400);
/// Pods that are deleted as they start, and between two looks for them.
const DELETED: usize = 15;
const MOMENT: Duration = Duration::from_millis(100);

#[tokio::test]
#[ignore = "needs cluster"]
async fn agents_that_crash_lose_no_document() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        cluster.scale("clerks", 2).await?;
        cluster.wait(Kind::Deployment, "clerks-agents", ready_replicas(2)).await?;
        while_submitting(&gateway, "agents", async || {
            // All of them at once, and one of them again.
            let agents = cluster.labelled(Kind::Pod, "docket.dev/pool=clerks").await?;
            let (pods, mut crashed) = (cluster.all(Kind::Pod), Vec::new());
            for agent in &agents {
                crashed.push(crash(&pods, agent).await?);
            }
            for agent in &crashed {
                runs_again(&pods, agent).await?;
            }
            crash(&pods, &running(cluster, "docket.dev/pool=clerks").await?).await.map(drop)
        })
        .await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_gateway_that_crashes_loses_no_document() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        while_submitting(&gateway, "gateway", async || {
            let gateway = running(cluster, "app.kubernetes.io/component=gateway").await?;
            crash(&cluster.all(Kind::Pod), &gateway).await.map(drop)
        })
        .await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_gateway_that_ends_again_and_again_is_told_until_it_serves() -> Result<()> {
    with_namespace(async |cluster| {
        letters(cluster).await?;
        let told = cluster.wait(Kind::Pipeline, "letters", condition_saying("Ready", "False", "is started again"));
        let crashing = async {
            loop {
                let gateway = running(cluster, "app.kubernetes.io/component=gateway").await?;
                // It may just have ended: the next one is killed.
                let _ = crash(&cluster.all(Kind::Pod), &gateway).await;
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            told = told => drop(told?),
            failed = crashing => return failed,
        }
        wait(&cluster.all(Kind::Pipeline), "letters", &condition("Ready", "True"), STARTED_AGAIN).await.map(drop)
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn pods_that_are_deleted_lose_no_document() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        while_submitting(&gateway, "deleted", async || {
            let pod = running(cluster, "docket.dev/pool=clerks").await?;
            let name = pod.metadata.name.unwrap_or_default();
            cluster.all(Kind::Pod).delete(&name, &DeleteParams::default()).await.context("delete a pod")?;
            cluster.wait_gone(Kind::Pod, &name).await
        })
        .await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn pods_that_are_deleted_as_they_start_end_at_once() -> Result<()> {
    with_namespace(async |cluster| {
        letters(cluster).await?;
        cluster.scale("clerks", 3).await?;
        let mut deleted = BTreeSet::new();
        let until = Instant::now() + PATIENCE;
        while deleted.len() < DELETED {
            ensure!(Instant::now() < until, "only {} pods were found as they started", deleted.len());
            for pod in cluster.labelled(Kind::Pod, "docket.dev/pool=clerks").await? {
                let name = pod.metadata.name.unwrap_or_default();
                if pod.data["status"]["containerStatuses"][0]["ready"] != json!(true) && deleted.insert(name.clone()) {
                    match cluster.all(Kind::Pod).delete(&name, &DeleteParams::default()).await {
                        Err(kube::Error::Api(status)) if status.is_not_found() => {}
                        other => drop(other.context("delete a pod")?),
                    }
                }
            }
            tokio::time::sleep(MOMENT).await;
        }
        // Long before their grace is over.
        for name in &deleted {
            cluster.wait_gone(Kind::Pod, name).await?;
        }
        Ok(())
    })
    .await
}

/// Submits documents while something happens, and checks what became of all of them.
pub async fn while_submitting(
    gateway: &Gateway,
    prefix: &str,
    happens: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let all = documents(prefix, NUMBER);
    submit_while(gateway, &all, happens).await?;
    all_ended_once(gateway, &all).await
}

/// Waits until a pod that was crashed is ready again.
pub async fn runs_again(pods: &Api<DynamicObject>, crashed: &DynamicObject) -> Result<()> {
    let before = restarts(crashed);
    let again = Expectation::new("to run again", move |pod| {
        pod.is_some_and(|pod| {
            restarts(pod) > before && pod.data["status"]["containerStatuses"][0]["ready"] == json!(true)
        })
    });
    wait(pods, &crashed.metadata.name.clone().unwrap_or_default(), &again, PATIENCE).await.map(drop)
}

fn restarts(pod: &DynamicObject) -> u64 {
    pod.data["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
}

/// A pod whose container runs.
pub async fn running(cluster: &Cluster, labels: &str) -> Result<DynamicObject> {
    let running = Expectation::new("to run", |pod| {
        pod.is_some_and(|pod| pod.data["status"]["containerStatuses"][0]["state"]["running"].is_object())
    });
    let pods = cluster.labelled(Kind::Pod, labels).await?;
    let alive = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none());
    let name = alive.and_then(|pod| pod.metadata.name.clone()).with_context(|| format!("no pod has {labels}"))?;
    cluster.wait(Kind::Pod, &name, running).await
}
