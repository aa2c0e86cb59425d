//! DP-09: documents come twice as fast as they are worked, and for a while nothing is worked at all.

use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::{StatusCode, header};
use tokio::task::JoinSet;

use super::{Case, DRAIN, Findings, World};
use crate::{
    checker::Submitted,
    client::Client,
    cluster::{Cluster, Layout},
    documents::Document,
    load::{Documents, verdict_on},
};

/// Work of a stage: 16 slots a pool and two tasks of each document give some 40 documents a second.
const WORK: &str = "slow=document:200";
/// Time between two documents: twice as fast.
const EVERY: Duration = Duration::from_millis(12);
const SECONDS: u64 = 16;
/// When the workers stand still, and for how long.
const STALL: (u64, u64) = (5, 5);
/// Longest time for a refusal.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// Memory that the gateway may take beyond what it had before.
const MORE_MEMORY: u64 = 64 << 20;

pub(super) const CASE: Case = Case {
    id: "DP-09",
    fault: "documents at twice the rate of the work; the workers stand still for 5 s",
    scaled: "16 s, stalled for 5 s instead of 10 min; room for 100 documents in flight",
    run: |world| Box::pin(run(world)),
};

struct Answer {
    document: Document,
    submitted: Submitted,
    took: Duration,
    says_when: bool,
}

async fn run(world: &World) -> Result<Findings> {
    let layout = Layout {
        gateway: "limits: {inFlight: 100}".to_owned(),
        worker_faults: WORK.to_owned(),
        lease: Duration::from_secs(2),
        ..world.layout()
    };
    let cluster = Cluster::start(layout).await?;
    let begun = Instant::now();
    let (mut before, mut peak) = (0, 0);
    let mut answers = JoinSet::new();
    let mut stalled = false;
    for number in 0.. {
        let second = begun.elapsed().as_secs();
        if second >= SECONDS * world.scale as u64 {
            break;
        }
        if second < STALL.0 {
            before = before.max(cluster.gateway.memory());
        }
        peak = peak.max(cluster.gateway.memory());
        let stall = (STALL.0..STALL.0 + STALL.1).contains(&second);
        if stall != stalled {
            stalled = stall;
            for worker in &cluster.workers {
                worker.signal(if stall { "STOP" } else { "CONT" })?;
            }
        }
        answers.spawn(submit(cluster.client(), Document::new("document", number)));
        tokio::time::sleep(EVERY).await;
    }
    let answers = answers.join_all().await;
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.submitted == Submitted::Refused).collect();
    let slowest = refused.iter().map(|answer| answer.took).max().unwrap_or_default();
    let (count, with_time) = (refused.len(), refused.iter().filter(|answer| answer.says_when).count());
    let mut findings = Findings::default();
    findings.check("refused with 429", count, count > 0);
    findings.check("of these with Retry-After", with_time, with_time == count);
    findings.check("slowest refusal", format!("{} ms", slowest.as_millis()), slowest <= REFUSED_WITHIN);
    let more = peak.saturating_sub(before);
    findings.check("more memory of the gateway", format!("{} KiB", more >> 10), more <= MORE_MEMORY);
    let documents: Documents =
        answers.into_iter().map(|answer| (answer.document.id, (answer.submitted, answer.document.expected))).collect();
    findings.verdict(&verdict_on(&cluster, documents, DRAIN).await?);
    Ok(findings)
}

async fn submit(client: Client, document: Document) -> Answer {
    let begun = Instant::now();
    let answer = client.post(&document.id, &document.text).await;
    let took = begun.elapsed();
    let (submitted, says_when) = match answer {
        Ok(answer) if answer.status().is_success() => (Submitted::Accepted, false),
        Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
            (Submitted::Refused, answer.headers().contains_key(header::RETRY_AFTER))
        }
        _ => (Submitted::Unknown, false),
    };
    Answer { document, submitted, took, says_when }
}
