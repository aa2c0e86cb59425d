//! DP-17: the payloads' store refuses one request in ten and is slow.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Case, DRAIN, Findings, World};
use crate::{
    cluster::{Cluster, Layout},
    documents::Document,
    load::Load,
    s3::{BUCKET, S3, Trouble},
};

const TROUBLE: Trouble = Trouble { refused: 10, delay: Duration::from_millis(200), ignores_conditions: false };
const SECONDS: u64 = 15;
/// Longest time from the end of the trouble to the end of the next document.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 8;

pub(super) const CASE: Case = Case {
    id: "DP-17",
    fault: "S3 answers one request in ten with 503 and takes 200 ms longer",
    scaled: "15 s instead of 30 min, 200 ms instead of 1 s; times are told, not judged",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let Some(program) = &world.tools.s3 else {
        return Ok(Findings::skipped("there is no S3 server: run scripts/s3-server.sh"));
    };
    let s3 = S3::start(program, &world.folder).await?;
    let payloads = Some(format!("s3://{BUCKET}/documents"));
    let cluster = Cluster::start(Layout { payloads, environment: s3.environment(), ..world.layout() }).await?;
    let before = (0..50).map(|number| Document::new("before", number));
    let before = Load::start(cluster.client(), before, AT_ONCE, Duration::ZERO).settle(&cluster, DRAIN).await?;
    let during = (0..).map(|number| Document::new("during", number));
    let during = Load::start(cluster.client(), during, AT_ONCE, Duration::ZERO);
    s3.set(TROUBLE);
    tokio::time::sleep(Duration::from_secs(SECONDS * world.scale as u64)).await;
    s3.set(Trouble::default());
    let recovered = Instant::now();
    let ended = cluster.ledger().effects().ended();
    while cluster.ledger().effects().ended() <= ended && recovered.elapsed() < RECOVERED_WITHIN * 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let recovered = recovered.elapsed();
    let verdict = during.verdict(&cluster, DRAIN).await?;
    let mut findings = Findings::default();
    findings.check("documents before", before.accepted, before.broken().iter().all(|(_, broken)| broken.is_empty()));
    // The gateway lists those from before, too.
    let own = crate::checker::Verdict {
        phantom: verdict.phantom.iter().filter(|id| !id.starts_with("before")).cloned().collect(),
        ..verdict
    };
    findings.verdict(&own);
    findings.check("recovered after", format!("{:.1} s", recovered.as_secs_f64()), recovered <= RECOVERED_WITHIN);
    let (requests, refused, _) = s3.counts();
    findings.check("requests refused", format!("{refused} of {requests}"), refused > 0);
    let effects = cluster.ledger().effects();
    for (what, kind) in [("before", "before"), ("during the trouble", "during")] {
        findings.figure(&format!("submission to end {what}"), quantiles(&effects.latencies(kind)));
    }
    Ok(findings)
}

fn quantiles(sorted: &[u64]) -> String {
    let at = |per_cent: usize| sorted.get(sorted.len().saturating_sub(1) * per_cent / 100).copied().unwrap_or_default();
    format!("{} ms in the median, {} ms p99, of {}", at(50), at(99), sorted.len())
}
