//! CP-25: connections to the API server that are open and dead.

use std::time::Duration;

use anyhow::Result;
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::{Case, World};
use crate::{
    Kind,
    faults::{Call, Done, Fault, Rule, Step, lab::until, report::Findings, workload},
};

pub const CASE: Case = Case {
    id: "CP-25",
    fault: "requests are never answered and their connections stay open: GET, LIST, PATCH, the Lease, all of them",
    scaled: "4 trials of each kind; a proxy that swallows requests, instead of a firewall that drops packets",
    run: |world| run(world).boxed_local(),
};

type Kinds = (&'static str, fn(&Call) -> bool);

const SILENT: [Kinds; 5] = [
    ("GET", |call| call.verb == "get" && !call.is_of_lease()),
    ("LIST", |call| call.verb == "list"),
    ("PATCH", |call| call.verb == "patch"),
    ("Lease", Call::is_of_lease),
    ("everything", |_| true),
];

/// Longest that a call, and one about the Lease, may hang; with a margin for a busy machine.
const CALL: Duration = Duration::from_millis(10_500);
const LEASE: Duration = Duration::from_millis(5_500);
/// How long nothing is answered: longer than a call, its repetition, and the renew deadline.
const TROUBLE: Duration = Duration::from_secs(25);
/// After that, work goes on so soon.
const RESUMES: Duration = Duration::from_secs(20);
/// Longest wait, for one that does not.
const LONGEST: Duration = Duration::from_secs(60);

struct Trial {
    /// Longest time for which a call, and one about the Lease, hung, and how many did.
    calls: Vec<Duration>,
    lease: Vec<Duration>,
    resumed: Duration,
}

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let number = if world.short { 1 } else { 4 };
    for (name, silent) in SILENT {
        let trials: Vec<Trial> = stream::iter(0..number)
            .map(async |_| trial(world, silent).await)
            .buffer_unordered(world.at_once)
            .try_collect()
            .await?;
        let longest = |of: fn(&Trial) -> &Vec<Duration>| {
            let times = || trials.iter().flat_map(of);
            (times().count(), times().max().copied().unwrap_or_default())
        };
        let (count, call) = longest(|trial| &trial.calls);
        let (lease_count, lease) = longest(|trial| &trial.lease);
        let found = format!(
            "{count} calls hung for {:.1} s at most, {lease_count} about the Lease for {:.1} s",
            call.as_secs_f64(),
            lease.as_secs_f64()
        );
        findings.check(name, found, call <= CALL && lease <= LEASE && count + lease_count > 0);
        let resumed = trials.iter().map(|trial| trial.resumed).max().unwrap_or_default();
        findings.check(
            &format!("{name}: work goes on after"),
            format!("{:.1} s at most", resumed.as_secs_f64()),
            resumed <= RESUMES,
        );
    }
    Ok(findings)
}

async fn trial(world: &World<'_>, silent: fn(&Call) -> bool) -> Result<Trial> {
    let namespace = world.lab.namespace("silent").await?;
    let mut operator = world.lab.start_alone(&namespace).await?;
    let (client, pool) = (&world.lab.client, workload::pool("clerks", 0));
    pool.take(client, &namespace).await?;
    pool.wait(client, &namespace).await?;
    operator.proxy.add(Rule::new(Fault::Silence, move |call| call.verb != "watch" && silent(call)));
    let change = |concurrency: u32| Step::Change(Kind::AgentPool, "clerks", json!({"concurrency": concurrency}));
    change(3).take(client, &namespace).await?;
    // Lists are asked for where a pipeline changes.
    workload::pipeline("letters", &["read"]).take(client, &namespace).await?;
    tokio::time::sleep(TROUBLE).await;
    operator.proxy.heal();
    change(5).take(client, &namespace).await?;
    let resumed = until("work goes on", LONGEST, async || {
        // One that gave up by itself would be started again by its Deployment.
        anyhow::ensure!(operator.process.runs()?, "the operator has ended:\n{}", operator.process.said());
        let object = Kind::AgentPool.within(client, &namespace).get("clerks").await?;
        Ok(workload::is_settled(&object))
    })
    .await?;
    let hung = |lease: bool| {
        let hung = |done: &Done| done.status.is_none() && done.call.verb != "watch" && done.call.is_of_lease() == lease;
        operator.proxy.history().iter().filter(|done| hung(done)).map(|done| done.ended - done.at).collect()
    };
    let trial = Trial { calls: hung(false), lease: hung(true), resumed };
    drop(operator);
    world.lab.release(&namespace).await?;
    Ok(trial)
}
