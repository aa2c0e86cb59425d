//! CP-10: a leader that was stopped for long goes on, and believes for a moment that it still leads.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::{
    Case, World,
    election::{first_write, rivals},
};
use crate::{
    Kind,
    faults::{Done, Step, lab::until, report::Findings, workload},
};

pub const CASE: Case = Case {
    id: "CP-10",
    fault: "SIGSTOP of the leader in the middle of its writes, or of the removal of a pool that is made again meanwhile, until \
            another one leads; then SIGCONT",
    scaled: "16 trials of each instead of 200; the stop ends 5 s after the hand-over instead of after 60 s",
    run: |world| run(world).boxed_local(),
};

/// How long after the hand-over a stopped leader goes on, and is watched then.
const STOPPED: Duration = Duration::from_secs(5);
/// Longest wait for anything here.
const LONGEST: Duration = Duration::from_secs(60);
/// What makes something at the broker where it is missing, and what changes or takes away what is there.
const MADE: [&str; 1] = [".CREATE."];
const CHANGED: [&str; 3] = [".UPDATE.", ".DELETE.", ".PURGE."];

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let number: u32 = if world.short { 2 } else { 16 };
    let trials: Vec<Writes> = stream::iter(0..number)
        .map(async |index| in_the_middle_of_writes(world, Duration::from_millis(u64::from(index) * 40)).await)
        .buffer_unordered(world.at_once)
        .try_collect()
        .await?;
    let sum = |of: fn(&Writes) -> usize| trials.iter().map(of).sum::<usize>();
    let late = sum(|trial| trial.late);
    findings.figure("trials", number);
    findings.figure(
        "writes of the old leaders before the hand-over, and of their successors",
        format!("{} and {}", sum(|trial| trial.before), sum(|trial| trial.of_new)),
    );
    findings.check("writes of old leaders after the hand-over", late, late == 0 && sum(|trial| trial.of_new) > 0);

    let removals: Vec<Removal> = stream::iter(0..number)
        .map(async |index| in_the_middle_of_a_removal(world, Duration::from_millis(u64::from(index) * 12)).await)
        .buffer_unordered(world.at_once)
        .try_collect()
        .await?;
    let late: Vec<String> = removals.iter().flat_map(|removal| removal.late.clone()).collect();
    let lost = removals.iter().filter(|removal| removal.lying != 1).count();
    findings.figure("removals during which the leader was stopped", removals.len());
    findings.figure(
        "what the old leaders changed at the broker before, and their successors",
        format!(
            "{} and {}",
            removals.iter().map(|removal| removal.before).sum::<usize>(),
            removals.iter().map(|removal| removal.of_new).sum::<usize>()
        ),
    );
    let said = format!("{} {}", late.len(), late.join(", "));
    findings.check("what old leaders changed at the broker after the hand-over", said.trim(), late.is_empty());
    // A connection that was being opened makes what each connection needs.
    let made = removals.iter().map(|removal| removal.made).sum::<usize>();
    findings.figure("what they made there where it was missing, or found", made);
    findings.check("pools that were made again and have lost a task", lost, lost == 0);
    Ok(findings)
}

struct Writes {
    before: usize,
    of_new: usize,
    late: usize,
}

/// Writes of the old leader before and of the new one, and of the old one after the hand-over.
async fn in_the_middle_of_writes(world: &World<'_>, into: Duration) -> Result<Writes> {
    let (namespace, start, rivals) = rivals(world, 2).await?;
    let leader = world.lab.leader(&start.lease, &rivals).await?;
    let (old, new) = (&rivals[leader], &rivals[1 - leader]);
    let (client, pool) = (&world.lab.client, workload::pool("clerks", 1));
    pool.take(client, &namespace).await?;
    tokio::time::sleep(into).await;
    old.process.signal("STOP")?;
    Step::Change(Kind::AgentPool, "clerks", json!({"concurrency": 3})).take(client, &namespace).await?;
    first_write(new).await?;
    let taken = lease_taken(&new.proxy.history()).context("the successor holds the Lease")?;
    tokio::time::sleep(STOPPED).await;
    old.process.signal("CONT")?;
    // Something to do for both, if both believed to lead.
    Step::Change(Kind::AgentPool, "clerks", json!({"concurrency": 5})).take(client, &namespace).await?;
    pool.wait(client, &namespace).await?;
    tokio::time::sleep(STOPPED).await;
    let before = old.proxy.writes().iter().filter(|done| done.ended <= taken).count();
    let writes = Writes { before, of_new: new.proxy.writes().len(), late: old.proxy.writes().len() - before };
    drop(rivals);
    world.lab.release(&namespace).await?;
    Ok(writes)
}

fn lease_taken(history: &[Done]) -> Option<Instant> {
    let writes = history.iter().filter(|done| done.call.is_of_lease() && done.call.changes() && done.is_effective());
    writes.map(|done| done.ended).next()
}

struct Removal {
    /// Changes at the broker.
    before: usize,
    of_new: usize,
    late: Vec<String>,
    made: usize,
    /// Tasks in the stream of the pool that was made again.
    lying: u64,
}

/// The pool is deleted, its leader stops, the successor removes it, and a pool of the same name gets a task.
async fn in_the_middle_of_a_removal(world: &World<'_>, into: Duration) -> Result<Removal> {
    let (namespace, start, rivals) = rivals(world, 2).await?;
    let leader = world.lab.leader(&start.lease, &rivals).await?;
    let (old, new) = (&rivals[leader], &rivals[1 - leader]);
    let (client, broker) = (&world.lab.client, &world.lab.broker);
    let asked = |of: &str, calls: &[&str]| -> Vec<String> {
        let asked = broker.requests_of(of).into_iter();
        asked.filter(|subject| calls.iter().any(|call| subject.contains(call))).collect()
    };
    let pool = workload::pool("clerks", 0);
    pool.take(client, &namespace).await?;
    pool.wait(client, &namespace).await?;
    broker.lay(&namespace, "clerks").await?;
    Step::Delete(Kind::AgentPool, "clerks").take(client, &namespace).await?;
    tokio::time::sleep(into).await;
    old.process.signal("STOP")?;
    until("the successor leads", LONGEST, async || Ok(lease_taken(&new.proxy.history()).is_some())).await?;
    Step::Delete(Kind::AgentPool, "clerks").wait(client, &namespace).await?;
    pool.take(client, &namespace).await?;
    pool.wait(client, &namespace).await?;
    broker.lay(&namespace, "clerks").await?;
    tokio::time::sleep(STOPPED).await;
    let (before, made) = (asked(&old.name, &CHANGED), asked(&old.name, &MADE));
    old.process.signal("CONT")?;
    tokio::time::sleep(STOPPED).await;
    let removal = Removal {
        before: before.len(),
        of_new: asked(&new.name, &CHANGED).len(),
        late: asked(&old.name, &CHANGED).split_off(before.len()),
        made: asked(&old.name, &MADE).len() - made.len(),
        lying: broker.lying(&namespace, "clerks").await?,
    };
    drop(rivals);
    world.lab.release(&namespace).await?;
    Ok(removal)
}
