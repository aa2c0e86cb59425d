//! DP-13: documents that kill, panic, exhaust or hang whoever works them.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Case, DRAIN, Findings, World};
use crate::{
    broker::Broker,
    cluster::{Cluster, Layout},
    documents::{CHECKERS, Document, READERS, resources},
    load::Load,
};

const HEALTHY: usize = 300;
/// Poisonous documents of each kind but `exhaust`, of which there is one.
const EACH: usize = 2;
const FAULTS: &str = "kill=kill-,panic=panic-,exhaust=exhaust-,hang=hang-";
/// KiB of address space of a worker: what one that takes all memory comes up against.
const MEMORY: u64 = 16 << 20;
const AT_ONCE: usize = 16;

pub(super) const CASE: Case = Case {
    id: "DP-13",
    fault: "documents whose stage kills the process, panics, takes all memory, or hangs",
    scaled: "7 of 307 documents; memory under a limit of the shell; quarantine after three starts that never reported",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let layout = Layout {
        resources: resources(8, "stageTimeout: 2s\nretry: {maxAttempts: 2, backoff: {initial: 100ms}}"),
        lease: Duration::from_millis(1_500),
        worker_faults: FAULTS.to_owned(),
        worker_memory: Some(MEMORY),
        ..world.layout()
    };
    let mut cluster = Cluster::start(layout).await?;
    let each = EACH * world.scale;
    let poison = |kind, count, reason| (0..count).map(move |number| Document::doomed(kind, number, reason));
    let mut poisonous: Vec<Document> = poison("kill", each, "Quarantined").collect();
    poisonous.extend(poison("panic", each, "Quarantined"));
    poisonous.extend(poison("exhaust", 1, "Quarantined"));
    poisonous.extend(poison("hang", each, "Timeout"));
    let healthy = (0..HEALTHY * world.scale).map(|number| Document::new("document", number));
    let documents: Vec<Document> = poisonous.iter().cloned().chain(healthy).collect();
    let load = Load::start(cluster.client(), documents.into_iter(), AT_ONCE, Duration::ZERO);
    let (verdict, deaths) = load.settle_among_deaths(&mut cluster, FAULTS, DRAIN).await?;
    let mut findings = Findings::default();
    findings.verdict(&verdict);
    // Each that kills does so on its first delivery and on three more that were entered before; two may die together.
    findings.check("deaths of workers", deaths, deaths >= 4);
    cluster.restart_workers("")?;
    let left = await_empty(&cluster.broker).await?;
    findings.check("tasks left", left, left == 0);
    let mut redriven = 0;
    for document in &poisonous {
        redriven += usize::from(redrive(&cluster, document).await?);
    }
    let text = format!("{redriven} of {}", poisonous.len());
    findings.check("replayed and right, once nothing breaks any more", text, redriven == poisonous.len());
    Ok(findings)
}

/// Tasks that are left when nothing moves any more.
async fn await_empty(broker: &Broker) -> Result<u64> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left = broker.waiting(READERS).await? + broker.waiting(CHECKERS).await?;
        if left == 0 || Instant::now() >= deadline {
            return Ok(left);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Works a dead letter again; whether it comes to what it would have come to.
async fn redrive(cluster: &Cluster, document: &Document) -> Result<bool> {
    let client = cluster.client();
    client.replay(&document.id).await?;
    let whole = Document::new(document.id.split('-').next().unwrap_or_default(), number(&document.id));
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let seen = client.get(&document.id).await?;
        if let Some(seen) = seen.filter(|seen| seen.outcome.is_some()) {
            let right = crate::documents::Expected::Output(seen.output) == whole.expected;
            return Ok(seen.outcome.as_deref() == Some("succeeded") && right);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(false)
}

fn number(id: &str) -> usize {
    id.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
