//! What `retention` removes when a run begins: documents of earlier runs of the pipeline, never of the one that goes on.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use flow::Plan;
use queue::Ports;

use crate::{
    Error, Result,
    commands::note,
    runtime::{
        driver::{DOCUMENTS, Scope},
        metrics::Metrics,
        now,
        retention::{Keeper, Rule},
        state::{Run, State},
    },
};

/// Removes it before anything is worked: no other process has the folder, and nothing is being stored.
pub(super) async fn remove_what_is_over(ports: &Ports, plan: &Plan, run: &Run) -> Result<()> {
    let action = || "remove what retention does not keep";
    let earlier: Vec<Run> = match plan.spec.retention {
        Some(_) => State::runs(ports, &plan.name).await?.into_iter().filter(|other| other.id != run.id).collect(),
        None => Vec::new(),
    };
    let rule = |scope: Run| plan.spec.retention.clone().map(|retention| Rule { scope: Scope::Run(scope), retention });
    // The run itself stands for the payloads: what it names is named.
    let mut rules: Vec<Rule> = earlier.iter().cloned().filter_map(rule).collect();
    if rules.is_empty() {
        let only_payloads =
            plan.spec.retention.clone().map(|kept| crds::Retention { records: None, dead_letters: None, ..kept });
        rules.extend(only_payloads.map(|retention| Rule { scope: Scope::Run(run.clone()), retention }));
    }
    let mut keeper = Keeper::new(ports.clone(), Duration::ZERO, Arc::new(Metrics::default()));
    let served = BTreeSet::from([plan.digest.clone()]);
    let removed = keeper.pass(&rules, &served, now()).await.map_err(Error::system(action()))?;
    if removed.any() {
        note(&format!(
            "retention: removed {} documents and {} dead letters of earlier runs, {} payloads and {} plans that nothing names",
            removed.records, removed.dead_letters, removed.payloads, removed.plans
        ));
    }
    for run in earlier {
        let documents = format!("{DOCUMENTS}{}/", run.id);
        let left = ports.records.scan(&documents, None, 1).await.map_err(Error::system(action()))?;
        if left.is_empty() {
            State::forget_run(ports, &run).await?;
        }
    }
    Ok(())
}
