//! CP-04: events of watches come late, or never.

use anyhow::Result;
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, stream};

use super::{Case, World, crashes};
use crate::faults::{
    Watches,
    report::Findings,
    trial::{Outcome, Trouble, faulted},
    workload,
};

pub const CASE: Case = Case {
    id: "CP-04",
    fault: "watches show nothing while steps are taken that cancel each other; then their events come late, or are lost and the \
            watch begins anew (410)",
    scaled: "",
    run: |world| run(world).boxed_local(),
};

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let workloads = workload::cancelling();
    let references = crashes::references(world, &workloads, &mut findings).await?;
    let mut plans = Vec::new();
    for (workload, reference) in workloads.iter().zip(&references) {
        let steps = workload.steps.len();
        let windows = (0..steps).flat_map(|from| (from + 1..=steps).map(move |to| (from, to)));
        for (from, to) in windows {
            plans.extend([Watches::Open, Watches::Lost].map(|then| (workload, reference, from, to, then)));
        }
    }
    let count = plans.len();
    let trials: Vec<(String, Outcome)> = stream::iter(plans)
        .map(|(workload, reference, from, to, then)| async move {
            let outcome = faulted(world.lab, workload, Trouble::Events { from, to, then }, reference).await?;
            let how = if then == Watches::Lost { "lost" } else { "late" };
            anyhow::Ok((format!("{}, steps {} to {to} {how}", workload.name, from + 1), outcome))
        })
        .buffer_unordered(world.at_once)
        .try_collect()
        .await?;
    crashes::tell(&mut findings, &trials, count);
    Ok(findings)
}
