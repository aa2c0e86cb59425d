//! CP-01: the operator dies after each of its writes.

use std::time::Duration;

use anyhow::Result;
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, stream};

use super::{Case, World};
use crate::faults::{
    Call, Fault, Rule, Workload,
    report::Findings,
    trial::{Outcome, Trouble, faulted, reference},
    workload,
};

pub const CASE: Case = Case {
    id: "CP-01",
    fault: "SIGKILL of the operator after each of its writes, with the answer and without",
    scaled: "each start has a Lease of its own, so that the hand-over is not waited for; CP-09 measures it",
    run: |world| run(world).boxed_local(),
};

/// The workloads of the short form: one that makes everything, one that removes everything.
const SHORT: [&str; 2] = ["pipeline: create", "all of a namespace goes"];

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let workloads: Vec<Workload> =
        workload::all().into_iter().filter(|work| !world.short || SHORT.contains(&work.name)).collect();
    let references = references(world, &workloads, &mut findings).await?;
    let plans = workloads.iter().zip(&references).flat_map(|(workload, reference)| {
        let indices = 1..=reference.writes.len();
        indices.flat_map(move |at| [true, false].map(|answered| (workload, reference, at, answered)))
    });
    let plans: Vec<_> = plans.collect();
    let count = plans.len();
    let trials: Vec<(String, Outcome)> = stream::iter(plans)
        .map(|(workload, reference, at, answered)| async move {
            let rule = Rule::new(Fault::Crash { answered }, Call::is_write).at(at);
            let outcome = faulted(world.lab, workload, world.converge(), Trouble::Calls(rule), reference).await?;
            let after = reference.writes.get(at - 1).map(String::as_str).unwrap_or_default();
            let how = if answered { "after" } else { "before the answer to" };
            anyhow::Ok((format!("{}, dead {how} write {at} ({after})", workload.name), outcome))
        })
        .buffer_unordered(world.at_once)
        .try_collect()
        .await?;
    tell(world, &mut findings, &trials, count);
    Ok(findings)
}

/// Goes through each workload twice without faults: what differs then would be no finding.
pub async fn references(world: &World<'_>, workloads: &[Workload], findings: &mut Findings) -> Result<Vec<Outcome>> {
    let pairs: Vec<(Outcome, Outcome)> = stream::iter(workloads)
        .map(async |workload| {
            let converge = world.converge();
            let (one, other) = (reference(world.lab, workload, converge), reference(world.lab, workload, converge));
            futures::future::try_join(one, other).await
        })
        .buffered(world.at_once.div_ceil(2))
        .try_collect()
        .await?;
    let mut wrong = Vec::new();
    for (workload, (one, other)) in workloads.iter().zip(&pairs) {
        let differences = crate::faults::state::difference(&one.state, &other.state);
        wrong.extend(one.wrong.iter().chain(&differences).map(|line| format!("{}: {line}", workload.name)));
        if one.counts != other.counts {
            wrong.push(format!(
                "{}: objects were made or removed {:?}, then {:?}",
                workload.name, one.counts, other.counts
            ));
        }
    }
    findings.none("workloads whose two runs without faults differ or leave something", workloads.len(), &wrong);
    Ok(pairs.into_iter().map(|(one, _)| one).collect())
}

/// What a number of trials found.
pub fn tell(world: &World<'_>, findings: &mut Findings, trials: &[(String, Outcome)], plans: usize) {
    let wrong: Vec<String> = trials
        .iter()
        .filter(|(_, outcome)| !outcome.wrong.is_empty())
        .map(|(name, outcome)| format!("{name}: {}", outcome.wrong.join(", ")))
        .collect();
    let met = trials.iter().filter(|(_, outcome)| outcome.met).count();
    findings.figure("plans", format!("{plans}, of which {met} came about"));
    findings.none("trials with another end, or objects made or removed more often", trials.len(), &wrong);
    let longest = trials.iter().map(|(_, outcome)| outcome.took).max().unwrap_or_default();
    let mut times: Vec<Duration> = trials.iter().map(|(_, outcome)| outcome.took).collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let text = format!("{:.1} s in the median, {:.1} s at most", median.as_secs_f64(), longest.as_secs_f64());
    findings.check("from the restart or the last step to the end state", text, longest <= world.converge());
}
