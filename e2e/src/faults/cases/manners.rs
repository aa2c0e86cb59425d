//! LD-05, LD-06: what the operator asks for when nothing happens, and when one thing does.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{Case, World};
use crate::{
    Kind,
    faults::{
        Done, Operator, Step,
        lab::until,
        report::Findings,
        sparing::{is_of_status, is_sparing, statuses},
        workload,
    },
};

pub const IDLE: Case = Case {
    id: "LD-05",
    fault: "none: pools that are as they should be, and nothing happens",
    scaled: "200 pools for 2 minutes instead of 1,000 for 10; the pools have no agents",
    run: |world| idle(world).boxed_local(),
};

pub const CHANGES: Case = Case {
    id: "LD-06",
    fault: "none: one change of a pool or a pipeline at a time",
    scaled: "",
    run: |world| changes(world).boxed_local(),
};

/// Longest wait until many pools are ready.
const SETTLE: Duration = Duration::from_secs(240);
/// A machine that stands still ends watches, after which all is listed: of so many times one must be without anything.
const WINDOWS: usize = 3;
/// Without writes for so long nothing is under way.
pub const QUIET: Duration = Duration::from_secs(7);

/// Makes pools with so many agents each, many at once.
pub async fn make_pools(world: &World<'_>, namespaces: &[String], number: usize, agents: u32) -> Result<()> {
    stream::iter(0..number)
        .map(|index| async move {
            let object = json!({
                "apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool",
                "metadata": {"name": format!("pool-{index}")}, "spec": {"replicas": agents},
            });
            let api = Kind::AgentPool.within(&world.lab.client, &namespaces[index % namespaces.len()]);
            let params = PatchParams::apply("user").force();
            api.patch(&format!("pool-{index}"), &params, &Patch::Apply(&object)).await.map(drop)
        })
        .buffer_unordered(8)
        .try_collect::<()>()
        .await?;
    Ok(())
}

/// Waits until nothing was written for a while.
pub async fn quiet(operator: &Operator) -> Result<()> {
    let mut last = (0, std::time::Instant::now());
    until("nothing is written any more", SETTLE, async || {
        let count = operator.proxy.writes().len();
        if count != last.0 {
            last = (count, std::time::Instant::now());
        }
        Ok(last.1.elapsed() > QUIET)
    })
    .await
    .map(drop)
}

async fn idle(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let (number, time) = if world.short { (30, 30) } else { (200, 120) };
    let namespaces = [world.lab.namespace("idle").await?, world.lab.namespace("idle").await?];
    let operator = world.lab.start_alone(&namespaces.join(",")).await?;
    make_pools(world, &namespaces, number, 0).await?;
    let letters = Step::Apply(
        Kind::Pipeline,
        "letters",
        json!({"stages": [
        {"name": "read", "pool": "pool-0", "transform": {"template": "{{ document.text }}"}}]}),
    );
    letters.take(&world.lab.client, &namespaces[0]).await?;
    quiet(&operator).await?;
    let mut windows = 0;
    let (asked, writes, used) = loop {
        windows += 1;
        let (skip, used) = (operator.proxy.history().len(), operator.process.used());
        tokio::time::sleep(Duration::from_secs(time)).await;
        let asked: Vec<Done> = operator.proxy.history().into_iter().skip(skip).collect();
        let writes = asked.iter().filter(|done| done.call.changes() && !done.call.is_of_lease());
        let writes: Vec<String> = writes.map(|done| done.call.shown()).collect();
        if windows == WINDOWS || (writes.is_empty() && relists(&asked) == 0) {
            break (asked, writes, operator.process.used().saturating_sub(used));
        }
    };
    let of = |verb: &str| asked.iter().filter(|done| done.call.verb == verb && !done.call.is_of_lease()).count();
    findings.figure("pools", number);
    findings.figure("times that were looked at", windows);
    findings.figure("seconds", time);
    let words = writes.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    findings.check("writes beside the Lease", format!("{} {words}", writes.len()).trim(), writes.is_empty());
    // The pipeline waits for its pool, which has no agents, and is looked at every few seconds meanwhile.
    findings.check("lists of what is watched", relists(&asked), relists(&asked) == 0);
    findings.figure("lists in all, gets, watches", format!("{}, {}, {}", of("list"), of("get"), of("watch")));
    findings.figure("renewals of the Lease", asked.iter().filter(|done| done.call.is_of_lease()).count());
    let share = used.as_secs_f64() / time as f64 * 100.0;
    findings.figure("processor", format!("{share:.1} % of one"));
    drop(operator);
    for namespace in &namespaces {
        world.lab.release(namespace).await?;
    }
    Ok(findings)
}

/// Lists of kinds of which the operator has a watch: after its start there is no reason for one.
fn relists(asked: &[Done]) -> usize {
    asked.iter().filter(|done| done.call.verb == "list" && done.call.resource != "pods").count()
}

async fn changes(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let namespace = world.lab.namespace("changes").await?;
    let operator = world.lab.start_alone(&namespace).await?;
    let change = |change: serde_json::Value| Step::Change(Kind::AgentPool, "clerks", change);
    let steps = [
        ("a pool with two agents is made", workload::pool("clerks", 2)),
        ("a pipeline is made", workload::pipeline("letters", &["read", "write"])),
        ("a pool gets another agent", Step::Scale("clerks", 3)),
        ("a pool works less at once", change(json!({"concurrency": 2}))),
        ("a pool loses its policy", change(json!({"networkPolicy": {"enabled": false}}))),
        ("a pipeline gets other stages", workload::pipeline("letters", &["read"])),
        ("a pipeline goes", Step::Delete(Kind::Pipeline, "letters")),
    ];
    for (what, step) in steps {
        let skip = operator.proxy.writes().len();
        step.take(&world.lab.client, &namespace).await?;
        step.wait(&world.lab.client, &namespace).await?;
        quiet(&operator).await?;
        let writes: Vec<Done> = operator.proxy.writes().into_iter().skip(skip).collect();
        ensure!(!writes.is_empty(), "{what}, and nothing was written");
        findings.check(what, told(&writes), is_modest(&writes));
    }
    let made: u32 = operator.proxy.history().iter().map(|done| u32::from(done.status == Some(429))).sum();
    findings.check("answers of 429", made, made == 0);
    drop(operator);
    world.lab.release(&namespace).await?;
    Ok(findings)
}

fn told(writes: &[Done]) -> String {
    let objects = writes.iter().filter(|done| !is_of_status(done)).count();
    let mut told = vec![format!("{objects} writes of objects")];
    for ((resource, _), writes) in statuses(writes) {
        let Some(first) = writes.first() else { continue };
        let after = |done: &&Done| format!("{:.1}", done.at.duration_since(first.at).as_secs_f64());
        let times: Vec<String> = writes.iter().map(after).collect();
        let whose = if resource == "agentpools" { "pool" } else { "pipeline" };
        told.push(format!("{} of the {whose}'s status, at {} s", writes.len(), times.join(", ")));
    }
    told.join(", ")
}

/// One write a child at most, and of a status no more than somebody needs.
fn is_modest(writes: &[Done]) -> bool {
    let named = |done: &Done| format!("{} {}", done.call.resource, done.call.name);
    let is_ours = |done: &Done| matches!(done.call.resource.as_str(), "agentpools" | "pipelines");
    let mut children: Vec<String> =
        writes.iter().filter(|done| done.call.subresource.is_empty() && !is_ours(done)).map(named).collect();
    let count = children.len();
    children.sort_unstable();
    children.dedup();
    count == children.len() && statuses(writes).values().all(|writes| is_sparing(writes))
}
