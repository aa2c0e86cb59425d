//! DP-10: what waits and what is in work never looks like nothing while workers leave with work in hand.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Case, DRAIN, Findings, World};
use crate::{
    cluster::{Cluster, Layout},
    documents::{CHECKERS, Document, READERS},
    load::Load,
};

const SAMPLES: usize = 500;
/// How often a worker is told to leave, in samples.
const LEAVES_EVERY: usize = 60;
/// Documents at once: so few that hardly any waits, and what there is is in work.
const AT_ONCE: usize = 3;

pub(super) const CASE: Case = Case {
    id: "DP-10",
    fault: "workers leave (SIGTERM) while nothing waits and some documents are in work",
    scaled: "the numbers that a scaler reads are tested, not a scaler",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let layout = Layout { worker_faults: "slow=document:250".to_owned(), ..world.layout() };
    let mut cluster = Cluster::start(layout).await?;
    let mut settings = queue::jetstream::Settings::new(cluster.broker.urls().join(","));
    settings.lease = cluster.layout.lease;
    settings.payloads = "memory:".to_owned();
    let store = queue::jetstream::open(settings).await.context("open the queue as a scaler does")?;
    let documents = (0..).map(|number| Document::new("document", number));
    let load = Load::start(cluster.client(), documents, AT_ONCE, Duration::from_millis(700));
    load.next_accepted(DRAIN).await;
    let (mut with_work, mut only_in_work, mut false_zeros, mut left) = (0, 0, 0, 0);
    while with_work < SAMPLES * world.scale {
        let open = load.open(&cluster);
        // Tasks go from the readers to the checkers: in this order none can slip through between the two.
        let readers = store.ports.queue.depth(READERS).await.context("read the depth")?;
        let checkers = store.ports.queue.depth(CHECKERS).await.context("read the depth")?;
        with_work += usize::from(!open.is_empty());
        let pending: u64 = readers.pending.iter().chain(&checkers.pending).sum();
        let total = readers.total() + checkers.total();
        only_in_work += usize::from(pending == 0 && total > 0);
        if total == 0 {
            for id in &open {
                // What is unfinished now was unfinished then.
                let seen = cluster.client().get(id).await?;
                false_zeros += usize::from(seen.is_none_or(|seen| seen.outcome.is_none()));
            }
        }
        if with_work % LEAVES_EVERY == LEAVES_EVERY - 1 && !open.is_empty() {
            let victim = left % cluster.workers.len();
            cluster.workers[victim].signal("TERM")?;
            left += 1;
        }
        for worker in &mut cluster.workers {
            if worker.ended()?.is_some() {
                worker.restart()?;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut findings = Findings::default();
    findings.check("looks while documents were open", with_work, true);
    findings.check("of these with everything in work and nothing waiting", only_in_work, only_in_work > 0);
    findings.check("of these that said nothing is there", false_zeros, false_zeros == 0);
    findings.check("workers that left", left, left > 0);
    findings.verdict(&load.verdict(&cluster, DRAIN).await?);
    Ok(findings)
}
