//! A control that must fail: tasks are acknowledged before their results are durable.

use std::time::Duration;

use anyhow::Result;

use super::{Case, Findings, World};
use crate::{
    campaign::{self, Settings},
    report::verdict_text,
};

pub(super) const CASE: Case = Case {
    id: "CONTROL-ACK",
    fault: "control that must lose documents: tasks are acknowledged before their results are durable, workers are killed",
    scaled: "",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let report = campaign::run(&Settings {
        tools: world.tools.clone(),
        documents: 400,
        at_once: 32,
        faults: 8,
        workers: 2,
        pause: Duration::from_millis(500),
        passes: 0,
        seed: 2,
        drain: Duration::from_secs(8),
        acknowledge_first: true,
        keep: Some(world.folder.clone()),
    })
    .await?;
    let mut findings = Findings::default();
    findings.check("the checker finds broken promises", verdict_text(&report.verdict), !report.verdict.holds());
    Ok(findings)
}
