//! Gateways are replaced, as each change of a pool or a pipeline does it, while clients come.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Kind, condition, present, with_namespace};
use serde_json::json;
use tokio::{task::JoinSet, time::interval};

use crate::documents::letters;

/// Replacements.
const NUMBER: usize = 4;
/// A client comes so often, on a connection of its own, and waits no longer than this for whatever answer.
const EVERY: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(10);
/// Of so many clients one may find nobody: a node of a busy machine may hear later of the end of a gateway than that waits for it.
const ONE_OF: usize = 100;

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_gateway_that_is_replaced_leaves_no_client_without_an_answer() -> Result<()> {
    with_namespace(async |cluster| {
        letters(cluster).await?;
        let service = cluster.wait(Kind::Service, "docket-gateway", present()).await?;
        let address = service.data["spec"]["clusterIP"].as_str().context("the gateway has no address")?;
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(ANSWER).build()?;
        let ask = Arc::new(http.get(format!("http://{address}:8080/v1/pipelines")));
        let (mut asked, mut ticks) = (JoinSet::new(), interval(EVERY));
        let mut replaced = std::pin::pin!(replace(cluster));
        loop {
            tokio::select! {
                done = &mut replaced => break done?,
                _ = ticks.tick() => {
                    let ask = Arc::clone(&ask);
                    asked.spawn(async move { ask.try_clone()?.send().await.err().map(|error| format!("{error:?}")) });
                }
            }
        }
        let answers = asked.join_all().await;
        let without: Vec<&String> = answers.iter().flatten().collect();
        eprintln!("clients without an answer: {} of {} at {NUMBER} replacements", without.len(), answers.len());
        ensure!(answers.len() > ONE_OF && without.len() * ONE_OF <= answers.len(), "without an answer: {without:#?}");
        Ok(())
    })
    .await
}

/// Changes the pipeline again and again, and waits each time until the gateway of before is gone.
async fn replace(cluster: &Cluster) -> Result<()> {
    for number in 0..NUMBER {
        let before = cluster.labelled(Kind::Pod, "app.kubernetes.io/component=gateway").await?;
        cluster.patch(Kind::Pipeline, "letters", json!({"spec": {"retry": {"maxAttempts": 5 + number}}})).await?;
        cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
        for pod in before {
            cluster.wait_gone(Kind::Pod, &pod.metadata.name.unwrap_or_default()).await?;
        }
    }
    Ok(())
}
