//! DP-01: a worker dies at each step of its work.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;

use super::{Case, DRAIN, Findings, World};
use crate::{
    cluster::{Cluster, Layout},
    documents::Document,
    load::Load,
    schedule::{Deaths, POINTS},
};

/// Passes of a step before a worker dies at it, at most.
const PASSES: u64 = 40;
/// Deaths at each step.
const EACH: usize = 2;
const AT_ONCE: usize = 16;

pub(super) const CASE: Case = Case {
    id: "DP-01",
    fault: "a worker dies at each step: pulled, working, worked, recorded, half published, published, acknowledging",
    scaled: "two deaths a step; the campaign does it at scale",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let mut deaths = Deaths::new(1, PASSES);
    let layout = Layout { worker_faults: deaths.faults(), lease: Duration::from_secs(2), ..world.layout() };
    let mut cluster = Cluster::start(layout).await?;
    let documents = (0..).map(|number| Document::new("document", number));
    let load = Load::start(cluster.client(), documents, AT_ONCE, Duration::ZERO);
    let mut died: BTreeMap<String, usize> = BTreeMap::new();
    while died.len() < POINTS.len() || died.values().any(|count| *count < EACH * world.scale) {
        for death in cluster.revive(|| deaths.faults())? {
            *died.entry(death).or_default() += 1;
        }
        cluster.gateway.assert_running()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.restart_workers("")?;
    let verdict = load.verdict(&cluster, DRAIN).await?;
    let mut findings = Findings::default();
    findings.verdict(&verdict);
    findings.figure("deaths", format!("{died:?}").replace(['{', '}', '"'], ""));
    Ok(findings)
}
