//! LD-01, LD-08: many pools, and a start in the middle of them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{FutureExt, StreamExt as _, future::try_join_all};
use kube::{
    api::ListParams,
    runtime::{WatchStreamExt as _, watcher},
};

use super::{
    Case, World,
    manners::{make_pools, quiet},
};
use crate::{
    Kind,
    faults::{
        Operator, Start,
        lab::until,
        report::{Findings, times},
        workload,
    },
};

pub const CASE: Case = Case {
    id: "LD-01",
    fault: "1,000 pools of one agent each are applied as fast as the API server takes them; then the operator starts anew (LD-08)",
    scaled: "1,000 pools instead of 9,000 in 15 minutes",
    run: |world| run(world).boxed_local(),
};

/// Longest wait for all of them.
const LONGEST: Duration = Duration::from_secs(600);
/// A start watches everything after this (LD-08).
const WATCHING: Duration = Duration::from_secs(15);
/// And has looked at every object after this.
pub const LOOKED: Duration = Duration::from_secs(60);
/// Memory that a start may need beyond half as much again as its predecessor had: what an allocator keeps.
const SLACK_MIB: u64 = 32;

/// Namespaces of each wave, at most.
const NAMESPACES: usize = 10;

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let sizes: &[usize] = if world.short { &[1, 100] } else { &[1, 100, 1_000] };
    let number: usize = sizes.iter().sum();
    let waves = try_join_all(
        sizes.iter().map(|&size| try_join_all((0..size.min(NAMESPACES)).map(|_| world.lab.namespace("many")))),
    )
    .await?;
    let namespaces = waves.concat();
    let start = Start::new(&namespaces.join(","));
    let mut operator = world.lab.start(&start).await?;
    world.lab.leader(&start.lease, std::slice::from_ref(&operator)).await?;
    let first = operator.process.memory();
    for (&size, namespaces) in sizes.iter().zip(&waves) {
        wave(world, namespaces, size, &mut findings).await?;
    }
    quiet(&operator).await?;
    let writes = operator.proxy.writes().len();
    findings.figure("writes", format!("{writes}, {:.1} a pool", writes as f64 / number as f64));
    let (memory, most) = operator.process.memory();
    findings.figure("memory of the operator", format!("{memory} MiB, {most} MiB at most, {} MiB before", first.0));

    let watched = watched(&operator);
    operator.process.kill()?;
    drop(operator);
    let began = Instant::now();
    let operator = world.lab.start(&Start::new(&namespaces.join(","))).await?;
    // Of every pool the Deployment is read last.
    until("every pool was looked at", LONGEST, async || {
        let history = operator.proxy.history();
        let looked = history.iter().filter(|done| done.call.verb == "get" && done.call.resource == "deployments");
        let mut pools: Vec<(&str, &str)> =
            looked.map(|done| (done.call.namespace.as_str(), done.call.name.as_str())).collect();
        pools.sort_unstable();
        pools.dedup();
        Ok(pools.len() >= number)
    })
    .await?;
    let looked = began.elapsed();
    let found = format!("{:.1} s", looked.as_secs_f64());
    findings.check("a new start has looked at every pool after", found, looked <= LOOKED);
    judge_watches(&mut findings, &watched, &operator, began);
    quiet(&operator).await?;
    let again = operator.proxy.writes();
    findings.check("writes of the new start", again.len(), again.is_empty());
    judge_memory(&mut findings, "its memory", memory, &operator);
    drop(operator);
    for namespace in &namespaces {
        world.lab.release(namespace).await?;
    }
    Ok(findings)
}

/// Kinds of which an operator has a watch.
pub fn watched(operator: &Operator) -> BTreeSet<String> {
    let history = operator.proxy.history();
    history.into_iter().filter(|done| done.call.verb == "watch").map(|done| done.call.resource).collect()
}

/// When a new start watched all that its predecessor did.
pub fn judge_watches(findings: &mut Findings, watched: &BTreeSet<String>, operator: &Operator, began: Instant) {
    let history = operator.proxy.history();
    let first = |kind: &String| {
        let mut watches = history.iter().filter(|done| done.call.verb == "watch" && done.call.resource == *kind);
        watches.next().map(|done| done.at.saturating_duration_since(began))
    };
    let last = watched.iter().map(first).collect::<Option<Vec<Duration>>>().and_then(|begun| begun.into_iter().max());
    let found = last.map_or_else(|| "not all".to_owned(), |last| format!("{:.1} s", last.as_secs_f64()));
    let what = format!("and watched all {} kinds after", watched.len());
    findings.check(&what, found, last.is_some_and(|last| last <= WATCHING));
}

/// The most memory that a new start needed, beside what its predecessor had at last.
pub fn judge_memory(findings: &mut Findings, what: &str, before: u64, operator: &Operator) {
    let (now, most) = operator.process.memory();
    let found = format!("{now} MiB, {most} MiB at most, {before} MiB before the start");
    findings.check(what, found, most <= before * 3 / 2 + SLACK_MIB);
}

/// Makes so many pools at once, and waits until all have what belongs to them.
async fn wave(world: &World<'_>, namespaces: &[String], number: usize, findings: &mut Findings) -> Result<()> {
    let watches = namespaces.iter().map(|namespace| settled(world, namespace, number / namespaces.len()));
    let began = Instant::now();
    let applying = async {
        make_pools(world, namespaces, number, 1).await?;
        anyhow::Ok(began.elapsed())
    };
    let (applied, settled) = futures::future::try_join(applying, try_join_all(watches)).await?;
    let all = began.elapsed();
    let latencies: Vec<Duration> = settled.into_iter().flatten().collect();
    findings.figure(&format!("{number} pools: applied within"), format!("{:.1} s", applied.as_secs_f64()));
    findings.check(
        &format!("{number} pools: all are ready after"),
        format!("{:.1} s", all.as_secs_f64()),
        latencies.len() == number,
    );
    findings.figure(&format!("{number} pools: from apply to Ready"), times(latencies));
    Ok(())
}

/// From the creation of each pool of a namespace to its status, as a watch shows both.
async fn settled(world: &World<'_>, namespace: &str, number: usize) -> Result<Vec<Duration>> {
    let api = Kind::AgentPool.within(&world.lab.client, namespace);
    api.list(&ListParams::default().limit(1)).await.context("list pools")?;
    let events = watcher(api, watcher::Config::default().timeout(crate::connection::WATCH_SECONDS)).default_backoff();
    let mut objects = std::pin::pin!(events.applied_objects());
    let (mut made, mut settled) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
    let watching = async {
        while settled.len() < number {
            let Some(Ok(object)) = objects.next().await else { continue };
            let name = object.metadata.name.clone().unwrap_or_default();
            let begun = *made.entry(name.clone()).or_insert_with(Instant::now);
            if workload::is_settled(&object) {
                settled.entry(name).or_insert_with(|| begun.elapsed());
            }
        }
    };
    // Those that are missing then are told by their number.
    let _ = tokio::time::timeout(LONGEST, watching).await;
    Ok(settled.into_values().collect())
}
