//! DP-06: a worker stands still until its tasks belong to others, and then goes on with them.

use std::time::Duration;

use anyhow::Result;

use super::{Case, DRAIN, Findings, World};
use crate::{
    cluster::{Cluster, Layout},
    documents::Document,
    load::Load,
};

const LEASE: Duration = Duration::from_secs(2);
/// Workers that are stopped, one after the other.
const STOPS: usize = 6;
/// Slots of a worker: what it may have in hand.
const SLOTS: f64 = 8.0;
/// Documents at once and the pause after each: about what is worked while one worker stands still.
const AT_ONCE: usize = 6;
const PAUSE: Duration = Duration::from_millis(600);

pub(super) const CASE: Case = Case {
    id: "DP-06",
    fault: "SIGSTOP of a worker for longer than its lease, then SIGCONT",
    scaled: "six workers with some dozens of tasks in hand instead of 200",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let layout = Layout { lease: LEASE, worker_faults: "slow=document:500".to_owned(), ..world.layout() };
    let mut cluster = Cluster::start(layout).await?;
    let documents = (0..).map(|number| Document::new("document", number));
    let load = Load::start(cluster.client(), documents, AT_ONCE, PAUSE);
    let mut in_hand = 0.0;
    for stop in 0..STOPS * world.scale {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let victim = stop % cluster.workers.len();
        let used = cluster.client().metric(&cluster.health[victim], "docket_agent_utilization_ratio").await?;
        in_hand += (used * SLOTS).round();
        cluster.workers[victim].signal("STOP")?;
        tokio::time::sleep(LEASE + LEASE / 2).await;
        cluster.workers[victim].signal("CONT")?;
        cluster.assert_running()?;
    }
    let verdict = load.verdict(&cluster, DRAIN).await?;
    let mut findings = Findings::default();
    findings.verdict(&verdict);
    findings.check("tasks in the hands of stopped workers", in_hand, in_hand > 0.0);
    Ok(findings)
}
