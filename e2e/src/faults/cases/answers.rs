//! CP-02: what the operator wrote is done, and it does not hear so.

use anyhow::Result;
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, stream};

use super::{Case, World, crashes};
use crate::faults::{
    Call, Fault, Rule, Workload,
    report::Findings,
    trial::{Outcome, Trouble, faulted},
    workload,
};

pub const CASE: Case = Case {
    id: "CP-02",
    fault: "each write in turn is done and its answer lost: the connection breaks, or 504 or 503 is answered",
    scaled: "",
    run: |world| run(world).boxed_local(),
};

const LOST: [Fault; 3] = [Fault::Reset, Fault::Mistaken(504), Fault::Mistaken(503)];

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let short = |work: &Workload| !world.short || work.name == "pipeline: create";
    let workloads: Vec<Workload> = workload::all().into_iter().filter(short).collect();
    let references = crashes::references(world, &workloads, &mut findings).await?;
    let faults = if world.short { &LOST[..1] } else { &LOST[..] };
    let plans = workloads.iter().zip(&references).flat_map(|(workload, reference)| {
        let indices = 1..=reference.writes.len();
        indices.flat_map(move |at| faults.iter().map(move |fault| (workload, reference, at, *fault)))
    });
    let plans: Vec<_> = plans.collect();
    let count = plans.len();
    let trials: Vec<(String, Outcome)> = stream::iter(plans)
        .map(|(workload, reference, at, fault)| async move {
            let rule = Rule::new(fault, Call::is_write).at(at);
            let outcome = faulted(world.lab, workload, world.converge(), Trouble::Calls(rule), reference).await?;
            let write = reference.writes.get(at - 1).map(String::as_str).unwrap_or_default();
            anyhow::Ok((format!("{}, {fault:?} for write {at} ({write})", workload.name), outcome))
        })
        .buffer_unordered(world.at_once)
        .try_collect()
        .await?;
    crashes::tell(world, &mut findings, &trials, count);
    // And one where many are lost at once.
    for (workload, reference) in workloads.iter().zip(&references) {
        let rule = Rule::new(Fault::Reset, Call::is_write).times(if world.short { 2 } else { 4 });
        let outcome = faulted(world.lab, workload, world.converge(), Trouble::Calls(rule), reference).await?;
        findings.none(&format!("{}, with several answers lost in a row", workload.name), 1, &outcome.wrong);
    }
    Ok(findings)
}
