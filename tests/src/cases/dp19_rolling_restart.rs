//! DP-19: all workers are replaced one after the other under load; and one that has no time hands back what it has.

use std::time::Duration;

use anyhow::Result;

use super::{Case, DRAIN, Findings, World};
use crate::{
    cluster::{Cluster, Layout},
    documents::{CHECKERS, Document, READERS},
    load::Load,
};

const GRACE: Duration = Duration::from_secs(12);
/// A worker is gone this long before the end of its grace period.
const SPARE: Duration = Duration::from_secs(5);
const SLOTS: usize = 8;
/// Documents at once and the pause after each: half of what is worked.
const AT_ONCE: usize = 8;
const PAUSE: Duration = Duration::from_millis(200);

pub(super) const CASE: Case = Case {
    id: "DP-19",
    fault: "SIGTERM to every worker in turn under load, then two signals to workers with long work in hand",
    scaled: "four workers, grace 12 s",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let faults = "slow=document:100,slow=long:4000".to_owned();
    let mut cluster = Cluster::start(Layout { grace: GRACE, worker_faults: faults, ..world.layout() }).await?;
    let documents = (0..).map(|number| Document::new("document", number));
    let load = Load::start(cluster.client(), documents, AT_ONCE, PAUSE);
    load.next_accepted(DRAIN).await;
    let mut killed = 0;
    for victim in (0..cluster.workers.len()).cycle().take(cluster.workers.len() * world.scale) {
        let worker = &mut cluster.workers[victim];
        worker.signal("TERM")?;
        if !tokio::task::block_in_place(|| worker.ended_within(GRACE - SPARE))? {
            killed += 1;
            worker.kill()?;
        }
        worker.restart()?;
        cluster.await_workers().await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let verdict = load.verdict(&cluster, DRAIN).await?;
    let mut again = 0;
    for pool in [READERS, CHECKERS] {
        again += cluster.broker.delivered(pool).await?.again();
    }
    let mut findings = Findings::default();
    findings.verdict(&verdict);
    findings.check("workers that were not gone in time", killed, killed == 0);
    let in_flight = (SLOTS * cluster.workers.len() * world.scale) as u64;
    findings.check("redeliveries", format!("{again} (in flight: {in_flight})"), again <= in_flight);
    findings.check("most attempts of a stage", verdict.most_attempts, verdict.most_attempts == 1);
    hand_back(&mut cluster, &mut findings).await?;
    Ok(findings)
}

/// A second signal does not wait: what is in hand goes back, and counts against no document.
async fn hand_back(cluster: &mut Cluster, findings: &mut Findings) -> Result<()> {
    let documents: Vec<Document> = (0..SLOTS).map(|number| Document::new("long", number)).collect();
    let load = Load::start(cluster.client(), documents.into_iter(), SLOTS, Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(2)).await;
    for worker in &mut cluster.workers {
        worker.signal("TERM")?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        // One that had nothing in hand is gone already.
        let _ = worker.signal("TERM");
        tokio::task::block_in_place(|| worker.ended_within(GRACE))?;
    }
    let handed_back: usize =
        cluster.workers.iter().map(|worker| worker.said().matches("handed back unfinished").count()).sum();
    for worker in &mut cluster.workers {
        worker.restart()?;
    }
    let verdict = load.settle(cluster, DRAIN).await?;
    findings.check("tasks handed back unfinished", handed_back, handed_back > 0);
    let own = [&verdict.lost, &verdict.stuck, &verdict.failed, &verdict.wrong, &verdict.repeated];
    let text = format!("{} ended, {} attempts at most", verdict.ended.values().sum::<usize>(), verdict.most_attempts);
    let right = own.iter().all(|broken| broken.is_empty()) && verdict.most_attempts == 1;
    findings.check("their documents", text, right);
    Ok(())
}
