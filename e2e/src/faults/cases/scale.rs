//! LD-04: one pool with very many agents beside very many pools, and none again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{FutureExt, future::try_join_all};
use kube::api::{DynamicObject, ListParams};

use super::{
    Case, World, load,
    manners::{QUIET, make_pools, quiet},
};
use crate::{
    Kind,
    faults::{Operator, Start, Step, lab::until, report::Findings, workload},
};

pub const CASE: Case = Case {
    id: "LD-04",
    fault: "beside 1,000 pools one is scaled from 0 to 10,000 agents and back to 0; in between the operator starts anew (LD-08)",
    scaled: "4 fake nodes of 2,500 agents instead of 1,000 nodes; the other pools have no agents",
    run: |world| run(world).boxed_local(),
};

/// Longest wait for each direction.
const LONGEST: Duration = Duration::from_secs(1_200);
/// The number of agents that the operator is to hold within.
const MEMORY_MIB: u64 = 256;
const POOL: &str = "crowd";
/// Namespaces of the other pools.
const NAMESPACES: usize = 10;

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let number: u32 = if world.short { 100 } else { 10_000 };
    let others: usize = if world.short { 10 } else { 1_000 };
    let namespace = world.lab.namespace("crowd").await?;
    let beside = try_join_all((0..NAMESPACES).map(|_| world.lab.namespace("beside"))).await?;
    let all = [std::slice::from_ref(&namespace), &beside].concat();
    let start = Start::new(&all.join(","));
    let mut operator = world.lab.start(&start).await?;
    world.lab.leader(&start.lease, std::slice::from_ref(&operator)).await?;
    let none = workload::pool(POOL, 0);
    none.take(&world.lab.client, &namespace).await?;
    none.wait(&world.lab.client, &namespace).await?;
    make_pools(world, &beside, others, 0).await?;
    quiet(&operator).await?;
    let empty = operator.process.memory().0;

    let up = scale(world, &namespace, number).await?;
    tell(&mut findings, &format!("from 0 to {number} agents"), number, up);
    quiet(&operator).await?;
    judge_memory(
        &mut findings,
        &format!("memory with {others} other pools and {number} agents, {empty} MiB without agents"),
        &operator,
    );
    let (memory, watched) = (operator.process.memory().0, load::watched(&operator));
    operator.process.kill()?;
    drop(operator);
    let began = Instant::now();
    let start = Start::new(&all.join(","));
    let operator = world.lab.start(&start).await?;
    world.lab.leader(&start.lease, std::slice::from_ref(&operator)).await?;
    quiet(&operator).await?;
    let quiet_after = began.elapsed();
    let found = format!("{:.1} s", quiet_after.as_secs_f64());
    findings.check("a new start leads and is quiet after", found, quiet_after <= load::LOOKED + QUIET);
    load::judge_watches(&mut findings, &watched, &operator, began);
    findings.check("writes of the new start", operator.proxy.writes().len(), operator.proxy.writes().is_empty());
    judge_memory(&mut findings, "memory of the new start", &operator);
    load::judge_memory(&mut findings, "and beside its predecessor's", memory, &operator);

    let down = scale(world, &namespace, 0).await?;
    tell(&mut findings, &format!("from {number} agents to 0"), number, down);
    let left = agents(world, &namespace).await?;
    findings.check("agents that are left", left, left == 0);
    drop(operator);
    for namespace in &all {
        world.lab.release(namespace).await?;
    }
    Ok(findings)
}

/// Writes the number by the scale subresource, and waits until the status says that it is so; how long that took.
async fn scale(world: &World<'_>, namespace: &str, number: u32) -> Result<Duration> {
    let began = Instant::now();
    Step::Scale(POOL, number).take(&world.lab.client, namespace).await?;
    let api = Kind::AgentPool.within(&world.lab.client, namespace);
    until("the pool has its agents", LONGEST, async || {
        let pool: DynamicObject = api.get(POOL).await.context("look at the pool")?;
        let ready = pool.data["status"]["readyReplicas"].as_u64().unwrap_or_default();
        Ok(ready == u64::from(number) && workload::is_settled(&pool))
    })
    .await?;
    if number == 0 {
        until("no agent is left", LONGEST, async || Ok(agents(world, namespace).await? == 0)).await?;
    }
    Ok(began.elapsed())
}

/// Agents' pods that there are, those on their way out included.
async fn agents(world: &World<'_>, namespace: &str) -> Result<usize> {
    let pods = Kind::Pod.within(&world.lab.client, namespace).list(&ListParams::default().limit(500)).await;
    Ok(pods.context("count the agents")?.items.len())
}

fn tell(findings: &mut Findings, what: &str, number: u32, took: Duration) {
    let rate = f64::from(number) / took.as_secs_f64();
    findings.figure(what, format!("{:.0} s, {rate:.0} a second", took.as_secs_f64()));
}

fn judge_memory(findings: &mut Findings, what: &str, operator: &Operator) {
    let (now, most) = operator.process.memory();
    findings.check(what, format!("{now} MiB, {most} MiB at most"), most <= MEMORY_MIB);
}
