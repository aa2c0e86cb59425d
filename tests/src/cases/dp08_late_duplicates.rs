//! DP-08: everything comes a second time when nobody remembers the first: documents from clients, and every task.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;

use super::{Case, DRAIN, Findings, World};
use crate::{
    broker,
    cluster::Cluster,
    documents::{CHECKERS, Document, READERS},
    load::Load,
};

const DOCUMENTS: usize = 200;
const AT_ONCE: usize = 16;
/// The header by which the broker knows a message again within its window.
const MESSAGE_ID: &str = "Nats-Msg-Id";

pub(super) const CASE: Case = Case {
    id: "DP-08",
    fault: "all documents are submitted again and all tasks published again after everything was restarted",
    scaled: "the deduplication window is not waited for: the second tasks carry nothing by which the broker could know them",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let mut cluster = Cluster::start(world.layout()).await?;
    let client = broker::connect(&cluster.broker.urls().join(",")).await?;
    let mut published = client.subscribe("docket.tasks.>").await.context("listen to tasks")?;
    let tasks = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&tasks);
    let listening = tokio::spawn(async move {
        while let Some(message) = published.next().await {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        }
    });
    let documents = || (0..DOCUMENTS * world.scale).map(|number| Document::new("document", number));
    let documents: Vec<Document> = documents().collect();
    let first = Load::start(cluster.client(), documents.clone().into_iter(), AT_ONCE, Duration::ZERO);
    let first = first.settle(&cluster, DRAIN).await?;
    listening.abort();
    let tasks = std::mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner));
    let changes = cluster.ledger().effects().changes();

    cluster.gateway.kill()?;
    cluster.gateway.restart()?;
    cluster.restart_workers("")?;
    cluster.await_ready().await?;
    cluster.await_workers().await?;
    for task in &tasks {
        let mut headers = async_nats::HeaderMap::new();
        for (name, values) in task.headers.iter().flat_map(async_nats::HeaderMap::iter) {
            for value in values.iter().filter(|_| name.to_string() != MESSAGE_ID) {
                headers.append(name.clone(), value.clone());
            }
        }
        let sent = client.publish_with_headers(task.subject.clone(), headers, task.payload.clone()).await;
        sent.context("publish a task again")?;
    }
    client.flush().await.context("publish the tasks again")?;
    let second = Load::start(cluster.client(), documents.into_iter(), AT_ONCE, Duration::ZERO);
    let second = second.settle(&cluster, DRAIN).await?;
    await_empty(&cluster).await?;

    let mut findings = Findings::default();
    findings.verdict(&first);
    findings.verdict(&second);
    findings.check("tasks that came again", tasks.len(), tasks.len() >= 4 * DOCUMENTS * world.scale);
    let more = cluster.ledger().effects().changes() - changes;
    findings.check("changes of records after that", more, more == 0);
    Ok(findings)
}

async fn await_empty(cluster: &Cluster) -> Result<()> {
    let deadline = Instant::now() + DRAIN;
    for pool in [READERS, CHECKERS] {
        while cluster.broker.waiting(pool).await? > 0 {
            if Instant::now() >= deadline {
                bail!("tasks of pool {pool} are left");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}
