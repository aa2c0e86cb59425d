//! Gateways are replaced, as each change of a pool or a pipeline does it, while clients come.

use std::{cell::Cell, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Kind, condition, present, with_namespace};
use reqwest::RequestBuilder;
use serde_json::json;
use tokio::{task::JoinSet, time::interval};

use crate::documents::letters;

/// Replacements.
const NUMBER: usize = 4;
/// A client comes so often, on a connection of its own, and waits no longer than this for whatever answer.
const EVERY: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(30);
/// A node of a busy machine may hear later of the end of a gateway than that waits for it. A gateway that does not wait leaves some
/// clients without an answer each time, so that of the replacements at least so many must leave at most one.
const CLEAN: usize = 2;
/// Fewer clients at a replacement show nothing: those of one second.
const FEW: usize = 20;

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
        let at = Cell::new(0);
        let mut replaced = std::pin::pin!(replace(cluster, &at));
        loop {
            tokio::select! {
                done = &mut replaced => break done?,
                _ = ticks.tick() => {
                    let (number, ask) = (at.get(), Arc::clone(&ask));
                    asked.spawn(async move { (number, without_answer(&ask).await) });
                }
            }
        }
        let answers = asked.join_all().await;
        let without: Vec<&(usize, Option<String>)> = answers.iter().filter(|(_, without)| without.is_some()).collect();
        eprintln!("clients without an answer: {} of {} at {NUMBER} replacements", without.len(), answers.len());
        let clean = (0..NUMBER).filter(|number| {
            let clients = answers.iter().filter(|(at, _)| at == number).count();
            clients >= FEW && without.iter().filter(|(at, _)| at == number).count() <= 1
        });
        let clean = clean.count();
        ensure!(clean >= CLEAN, "of {NUMBER} replacements {clean} left no client without an answer: {without:#?}");
        Ok(())
    })
    .await
}

/// Why a client has no answer, if it has none.
async fn without_answer(ask: &RequestBuilder) -> Option<String> {
    ask.try_clone()?.send().await.err().map(|error| format!("{error:?}"))
}

/// Changes the pipeline again and again, and waits each time until the gateway of before is gone.
async fn replace(cluster: &Cluster, at: &Cell<usize>) -> Result<()> {
    for number in 0..NUMBER {
        at.set(number);
        let before = cluster.labelled(Kind::Pod, "app.kubernetes.io/component=gateway").await?;
        cluster.patch(Kind::Pipeline, "letters", json!({"spec": {"retry": {"maxAttempts": 5 + number}}})).await?;
        cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
        for pod in before {
            cluster.wait_gone(Kind::Pod, &pod.metadata.name.unwrap_or_default()).await?;
        }
    }
    Ok(())
}
