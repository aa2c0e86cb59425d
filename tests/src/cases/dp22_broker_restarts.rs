//! DP-22: the broker is killed and started again under all clients.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Case, DRAIN, Findings, World};
use crate::{cluster::Cluster, documents::Document, load::Load};

const RESTARTS: usize = 8;
/// Longest time from the broker's return to the end of another document.
const CONSUMING_WITHIN: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 8;

pub(super) const CASE: Case = Case {
    id: "DP-22",
    fault: "kill -9 of the broker and a new start",
    scaled: "8 restarts instead of 100, so the slowest is judged instead of p99",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let mut cluster = Cluster::start(world.layout()).await?;
    let documents = (0..).map(|number| Document::new("document", number));
    let load = Load::start(cluster.client(), documents, AT_ONCE, Duration::from_millis(150));
    load.next_accepted(DRAIN).await;
    let mut times = Vec::new();
    for _ in 0..RESTARTS * world.scale {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.broker.restart(0).await?;
        let (back, ended) = (Instant::now(), cluster.ledger().effects().ended());
        while cluster.ledger().effects().ended() <= ended && back.elapsed() < CONSUMING_WITHIN * 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        times.push(back.elapsed());
        cluster.assert_running()?;
    }
    let verdict = load.verdict(&cluster, DRAIN).await?;
    times.sort_unstable();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    let mut findings = Findings::default();
    findings.verdict(&verdict);
    let text = format!("{:.1} s in the median, {:.1} s at most", median.as_secs_f64(), slowest.as_secs_f64());
    findings.check("next end after the broker's return", text, slowest <= CONSUMING_WITHIN);
    Ok(findings)
}
