//! DP-07: stages take three times as long as a lease; whoever works them says so in time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;

use super::{Case, DRAIN, Findings, World};
use crate::{
    broker,
    cluster::{Cluster, Layout},
    documents::{CHECKERS, Document, READERS},
    load::Load,
};

const LEASE: Duration = Duration::from_secs(2);
const DOCUMENTS: usize = 16;

pub(super) const CASE: Case = Case {
    id: "DP-07",
    fault: "every stage takes three times the lease",
    scaled: "16 documents, lease 2 s",
    run: |world| Box::pin(run(world)),
};

/// When each delivery was last extended, and the times between.
#[derive(Default)]
struct Beats {
    last: HashMap<String, Instant>,
    gaps: Vec<Duration>,
}

async fn run(world: &World) -> Result<Findings> {
    let slow = format!("slow=document:{}", (LEASE * 3).as_millis());
    let cluster = Cluster::start(Layout { lease: LEASE, worker_faults: slow, ..world.layout() }).await?;
    let client = broker::connect(&cluster.broker.urls().join(",")).await?;
    let mut settled = client.subscribe("$JS.ACK.>").await.context("listen to acknowledgements")?;
    let beats = Arc::new(Mutex::new(Beats::default()));
    let heard = Arc::clone(&beats);
    let listening = tokio::spawn(async move {
        while let Some(message) = settled.next().await {
            if message.payload.as_ref() == b"+WPI" {
                let mut beats = heard.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                if let Some(before) = beats.last.insert(message.subject.to_string(), now) {
                    beats.gaps.push(now - before);
                }
            }
        }
    });
    let documents = (0..DOCUMENTS * world.scale).map(|number| Document::new("document", number));
    let load = Load::start(cluster.client(), documents, DOCUMENTS, Duration::ZERO);
    let verdict = load.settle(&cluster, DRAIN).await?;
    listening.abort();
    let mut again = 0;
    for pool in [READERS, CHECKERS] {
        again += cluster.broker.delivered(pool).await?.again();
    }
    let mut gaps = beats.lock().unwrap_or_else(PoisonError::into_inner).gaps.clone();
    gaps.sort_unstable();
    let mut findings = Findings::default();
    findings.verdict(&verdict);
    findings.check("needless redeliveries", again, again == 0);
    let (median, longest) = (gaps.get(gaps.len() / 2).copied(), gaps.last().copied());
    let (median, longest) = (median.unwrap_or_default(), longest.unwrap_or_default());
    let text = format!("{} ms in the median of {}, {} ms at most", median.as_millis(), gaps.len(), longest.as_millis());
    // Every third of the lease; a beat that is left out would be two thirds.
    findings.check("time between two extensions", text, !gaps.is_empty() && longest < LEASE * 2 / 3);
    Ok(findings)
}
