//! CP-04: events of watches come late, or never.

use anyhow::Result;
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, stream};

use super::{Case, World, crashes};
use crate::faults::{
    Step, Watches,
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
        for (from, to) in windows.filter(|(from, to)| can_cancel(&workload.steps[*from..*to])) {
            plans.extend([Watches::Open, Watches::Lost].map(|then| (workload, reference, from, to, then)));
        }
    }
    let count = plans.len();
    let trials: Vec<(String, Outcome)> = stream::iter(plans)
        .map(|(workload, reference, from, to, then)| async move {
            let trouble = Trouble::Events { from, to, then };
            let outcome = faulted(world.lab, workload, world.converge(), trouble, reference).await?;
            let how = if then == Watches::Lost { "lost" } else { "late" };
            anyhow::Ok((format!("{}, steps {} to {to} {how}", workload.name, from + 1), outcome))
        })
        .buffer_unordered(world.at_once)
        .try_collect()
        .await?;
    crashes::tell(world, &mut findings, &trials, count);
    Ok(findings)
}

/// Whether steps that nobody sees can end as they would be seen. Not where an object that was seen before is deleted and
/// applied again: its finalizer keeps it, so it is the old one that is applied, and it goes as soon as its deletion is seen.
fn can_cancel(unseen: &[Step]) -> bool {
    let name = |step: &Step| match step {
        Step::Apply(kind, name, _) | Step::Delete(kind, name) => Some((*kind, *name)),
        Step::Change(..) | Step::Scale(..) => None,
    };
    let is_applied =
        |steps: &[Step], object| steps.iter().any(|step| matches!(step, Step::Apply(..)) && name(step) == object);
    unseen.iter().enumerate().all(|(index, step)| {
        let object = name(step);
        !matches!(step, Step::Delete(..))
            || is_applied(&unseen[..index], object)
            || !is_applied(&unseen[index + 1..], object)
    })
}
