//! DP-18: a worker dies between the two tasks that follow from a stage.

use std::time::Duration;

use anyhow::Result;

use super::{Case, DRAIN, Findings, World};
use crate::{
    cluster::{Cluster, Layout},
    documents::Document,
    load::Load,
};

const DEATHS: usize = 20;
const AT_ONCE: usize = 16;

pub(super) const CASE: Case = Case {
    id: "DP-18",
    fault: "a worker dies between the outputs of a fan-out",
    scaled: "20 deaths instead of 10,000 fan-outs",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let dies = |passes: usize| format!("die-at=half-published:{passes}");
    let layout = Layout { lease: Duration::from_secs(1), worker_faults: dies(3), ..world.layout() };
    let mut cluster = Cluster::start(layout).await?;
    let documents = (0..).map(|number| Document::new("document", number));
    let load = Load::start(cluster.client(), documents, AT_ONCE, Duration::ZERO);
    let mut deaths = 0;
    while deaths < DEATHS * world.scale {
        let died = cluster.revive(|| dies(1 + deaths % 5))?.len();
        deaths += died;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.restart_workers("")?;
    let verdict = load.verdict(&cluster, DRAIN).await?;
    let mut findings = Findings::default();
    findings.verdict(&verdict);
    findings.figure("deaths half-way", deaths);
    Ok(findings)
}
