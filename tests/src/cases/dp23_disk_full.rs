//! DP-23: the broker has no room left.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use reqwest::StatusCode;

use super::{Case, DRAIN, Findings, World};
use crate::{
    checker::Submitted,
    cluster::{Cluster, Layout},
    documents::Document,
    load::{Documents, verdict_on},
};

const ROOM: &str = "max_file_store: 1MB";
/// Longest time from the first document that finds no room to an answer that says so.
const REPORTED_WITHIN: Duration = Duration::from_secs(30);
/// Longest time from new room to the next end.
const RESUMED_WITHIN: Duration = Duration::from_secs(60);
/// Documents that go in at once.
const AT_ONCE: usize = 16;
/// More than find room.
const MOST: usize = 20_000;

pub(super) const CASE: Case = Case {
    id: "DP-23",
    fault: "the broker's storage is full; later there is room again",
    scaled: "the server's own limit of 1 MB instead of a full file system, which needs root; the knowledge base's disk is not filled",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let broker_options = format!("sync_interval: always\n{ROOM}");
    let mut cluster = Cluster::start(Layout { broker_options, ..world.layout() }).await?;
    let mut documents = Documents::new();
    let mut number = 0;
    let (reported, said) = loop {
        let batch: Vec<Document> = (number..number + AT_ONCE).map(|number| Document::new("document", number)).collect();
        number += AT_ONCE;
        let begun = Instant::now();
        let posts = batch.iter().map(|document| post(&cluster, document));
        let answers = futures::future::join_all(posts).await;
        let mut refused = None;
        for (document, (submitted, said)) in batch.into_iter().zip(answers) {
            documents.insert(document.id, (submitted, document.expected));
            refused = refused.or(said);
        }
        if let Some(said) = refused {
            break (begun.elapsed(), said);
        }
        if number > MOST {
            bail!("the broker took {MOST} documents into {ROOM}");
        }
    };
    let mut findings = Findings::default();
    let text = format!("{:.1} s: {said}", reported.as_secs_f64());
    findings.check("no room is said within", text, reported <= REPORTED_WITHIN && said.contains("Unavailable"));
    cluster.assert_running()?;
    let file = cluster.layout.folder.join("broker-0.conf");
    let settings = fs::read_to_string(&file).context("read the broker's file")?;
    fs::write(&file, settings.replace(ROOM, "max_file_store: 1GB")).context("write the broker's file")?;
    let (room, ended) = (Instant::now(), cluster.ledger().effects().ended());
    cluster.broker.restart(0).await?;
    let more: Vec<Document> = (number..number + AT_ONCE).map(|number| Document::new("document", number)).collect();
    for document in more {
        let (submitted, _) = post(&cluster, &document).await;
        documents.insert(document.id, (submitted, document.expected));
    }
    while cluster.ledger().effects().ended() <= ended && room.elapsed() < RESUMED_WITHIN * 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let resumed = room.elapsed();
    findings.check("goes on after", format!("{:.1} s", resumed.as_secs_f64()), resumed <= RESUMED_WITHIN);
    findings.verdict(&verdict_on(&cluster, documents, DRAIN).await?);
    Ok(findings)
}

/// What became of a document, and what was said where there was no room for it.
async fn post(cluster: &Cluster, document: &Document) -> (Submitted, Option<String>) {
    match cluster.client().post(&document.id, &document.text).await {
        Ok(answer) if answer.status().is_success() => (Submitted::Accepted, None),
        Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {
            (Submitted::Unknown, Some(answer.text().await.unwrap_or_default()))
        }
        _ => (Submitted::Unknown, None),
    }
}
