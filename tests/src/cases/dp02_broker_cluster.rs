//! DP-02: servers of a broker of three are killed: each one, a majority, all.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Case, DRAIN, Findings, World};
use crate::{
    cluster::{Cluster, Layout},
    documents::Document,
    load::Load,
};

/// How long a server stays away.
const AWAY: Duration = Duration::from_secs(3);
/// How long Docket waits for an answer: servers elect a new leader sooner, so there is no use in waiting for one that is gone.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Longest time without an accepted document while one server is away, and after all are back.
const STALL: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 8;

pub(super) const CASE: Case = Case {
    id: "DP-02",
    fault: "kill -9 of servers of a broker of three (R3): each one, two, all",
    scaled: "each kind once, three seconds away, instead of every 5 s for 300 s; nats.timeout is 4s",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let mut cluster = Cluster::start(Layout { brokers: 3, timeout: TIMEOUT, ..world.layout() }).await?;
    let documents = (0..).map(|number| Document::new("document", number));
    let load = Load::start(cluster.client(), documents, AT_ONCE, Duration::from_millis(150));
    load.next_accepted(STALL).await;
    let mut findings = Findings::default();
    for _ in 0..world.scale {
        let mut longest = Duration::ZERO;
        for server in 0..3 {
            let since = Instant::now();
            away(&mut cluster, &[server]).await?;
            tokio::time::sleep(AWAY).await;
            longest = longest.max(load.longest_stall(since));
        }
        check(&mut findings, "one away, longest time without an accepted document", longest);
        for (what, servers) in [("two", &[0, 1][..]), ("all", &[0, 1, 2][..])] {
            away(&mut cluster, servers).await?;
            let resumed = load.next_accepted(STALL * 3).await;
            check(&mut findings, &format!("{what} away, the next document is accepted after their return"), resumed);
        }
    }
    findings.verdict(&load.verdict(&cluster, DRAIN).await?);
    Ok(findings)
}

async fn away(cluster: &mut Cluster, servers: &[usize]) -> Result<()> {
    for server in servers {
        cluster.broker.servers[*server].kill()?;
    }
    tokio::time::sleep(AWAY).await;
    for server in servers {
        cluster.broker.servers[*server].restart()?;
    }
    cluster.broker.await_ready().await
}

fn check(findings: &mut Findings, what: &str, took: Duration) {
    findings.check(what, format!("{:.1} s (limit {} s)", took.as_secs_f64(), STALL.as_secs()), took <= STALL);
}
