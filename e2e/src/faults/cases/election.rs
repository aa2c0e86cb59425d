//! CP-09, CP-12: who leads, how fast another one does, and whether anybody writes before it leads.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use serde_json::json;

use super::{Case, World};
use crate::{
    Kind,
    faults::{Operator, Start, Step, lab::until, report::Findings, workload},
};

pub const LEADER_DIES: Case = Case {
    id: "CP-09",
    fault: "the leader is killed (SIGKILL), or asked to end (SIGTERM), with another operator standing by",
    scaled: "16 trials each instead of 100",
    run: |world| leader_dies(world).boxed_local(),
};

pub const TOO_EARLY: Case = Case {
    id: "CP-12",
    fault: "three operators start at once and have work to do",
    scaled: "10 starts instead of 50",
    run: |world| too_early(world).boxed_local(),
};

/// Rivals are told apart by their proxies. Catalogue: the successor writes this soon.
const AFTER_KILL: Duration = Duration::from_secs(20);
const AFTER_TERM: Duration = Duration::from_secs(3);
/// Longest wait for anything here.
const LONGEST: Duration = Duration::from_secs(60);
/// Who did not lead at first would be heard of after this.
const STOPPED: Duration = Duration::from_secs(5);

async fn leader_dies(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let number = if world.short { 2 } else { 16 };
    for (signal, limit) in [("KILL", AFTER_KILL), ("TERM", AFTER_TERM)] {
        let mut times: Vec<Duration> = stream::iter(0..number)
            .map(async |_| hand_over(world, signal).await)
            // Few at once: it is the operator that is measured.
            .buffer_unordered(world.at_once.min(4))
            .try_collect()
            .await?;
        times.sort_unstable();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        let found =
            format!("{:.1} s in the median of {number}, {:.1} s at most", median.as_secs_f64(), longest.as_secs_f64());
        findings.check(&format!("SIG{signal}: until the successor's first write"), found, longest <= limit);
    }
    Ok(findings)
}

/// Makes a pool that is to be changed, and ends the leader.
async fn hand_over(world: &World<'_>, signal: &str) -> Result<Duration> {
    let (namespace, start, rivals) = rivals(world, 2).await?;
    let leader = world.lab.leader(&start.lease, &rivals).await?;
    let standby = &rivals[1 - leader];
    let (client, pool) = (&world.lab.client, workload::pool("clerks", 0));
    pool.take(client, &namespace).await?;
    pool.wait(client, &namespace).await?;
    rivals[leader].process.signal(signal)?;
    let ended = Instant::now();
    // The proxy of a process that was killed must not finish what it had begun.
    if signal == "KILL" {
        rivals[leader].proxy.cut();
    }
    Step::Change(Kind::AgentPool, "clerks", json!({"concurrency": 3})).take(client, &namespace).await?;
    let first = first_write(standby).await?;
    drop(rivals);
    world.lab.release(&namespace).await?;
    Ok(first.saturating_duration_since(ended))
}

/// When an operator wrote first.
pub async fn first_write(of: &Operator) -> Result<Instant> {
    until("the successor writes", LONGEST, async || Ok(!of.proxy.writes().is_empty())).await?;
    of.proxy.writes().first().map(|done| done.ended).context("the successor has written")
}

/// Operators that share a Lease, and what they watch.
pub async fn rivals(world: &World<'_>, number: usize) -> Result<(String, Start, Vec<Operator>)> {
    let namespace = world.lab.namespace("rivals").await?;
    let start = Start::new(&namespace);
    let rivals = try_join_all((0..number).map(|_| world.lab.start(&start))).await?;
    Ok((namespace, start, rivals))
}

async fn too_early(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let number = if world.short { 4 } else { 10 };
    let trials: Vec<(usize, Vec<String>)> = stream::iter(0..number)
        .map(async |_| start_at_once(world).await)
        .buffer_unordered(world.at_once.div_ceil(2))
        .try_collect()
        .await?;
    let (writes, foreign): (Vec<usize>, Vec<Vec<String>>) = trials.into_iter().unzip();
    findings.figure("starts of three", number);
    findings.none("writes of processes that did not hold the Lease", writes.iter().sum(), &foreign.concat());
    Ok(findings)
}

/// All writes, and those of processes that did not hold the Lease then.
async fn start_at_once(world: &World<'_>) -> Result<(usize, Vec<String>)> {
    let namespace = world.lab.namespace("rivals").await?;
    let (client, pool) = (&world.lab.client, workload::pool("clerks", 1));
    pool.take(client, &namespace).await?;
    let start = Start::new(&namespace);
    let rivals = try_join_all((0..3).map(|_| world.lab.start(&start))).await?;
    pool.wait(client, &namespace).await?;
    tokio::time::sleep(STOPPED).await;
    let mut held: Vec<(Instant, usize)> = Vec::new();
    for (index, rival) in rivals.iter().enumerate() {
        let history = rival.proxy.history();
        let lease = history.iter().filter(|done| done.call.is_of_lease() && done.call.changes() && done.is_effective());
        held.extend(lease.map(|done| (done.ended, index)));
    }
    held.sort_unstable();
    let holder_at = |at: Instant| held.iter().rev().find(|(since, _)| *since <= at).map(|(_, index)| *index);
    let mut foreign = Vec::new();
    let mut count = 0;
    for (index, rival) in rivals.iter().enumerate() {
        for done in rival.proxy.writes() {
            count += 1;
            if holder_at(done.at) != Some(index) {
                foreign.push(format!("{} by {}", done.call.shown(), rival.name));
            }
        }
    }
    drop(rivals);
    world.lab.release(&namespace).await?;
    Ok((count, foreign))
}
