//! The cases of the catalogue: one kind of fault each, and what must be so afterwards.

mod answers;
mod crashes;
mod deletion;
mod election;
mod fields;
mod half_open;
mod hand_overs;
mod isolation;
mod load;
mod manners;
mod recovery;
mod scale;
mod split_brain;
mod tampering;
mod watches;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::LocalBoxFuture;

use super::{
    Lab,
    report::{CaseReport, Findings},
    trial::{CONVERGE, CONVERGE_IN_A_CROWD},
};

type Run = for<'a> fn(&'a World<'a>) -> LocalBoxFuture<'a, Result<Findings>>;

/// A case of the catalogue.
pub struct Case {
    /// As in the catalogue.
    pub id: &'static str,
    /// What is broken.
    pub fault: &'static str,
    /// What differs from the catalogue.
    pub scaled: &'static str,
    run: Run,
}

/// Where a case takes place, and how much of it.
pub struct World<'a> {
    /// What trials share.
    pub lab: &'a Lab,
    /// A part of each case that fits into the tests of every change.
    pub short: bool,
    /// Trials at once.
    pub at_once: usize,
}

impl World<'_> {
    /// So long after the restart, or after its last step, a trial must be where it should be. The short form is told beside the
    /// stories' clusters.
    fn converge(&self) -> Duration {
        if self.short { CONVERGE_IN_A_CROWD } else { CONVERGE }
    }
}

/// All cases, in the order of the catalogue.
pub static ALL: &[Case] = &[
    crashes::CASE,
    answers::CASE,
    watches::CASE,
    election::LEADER_DIES,
    split_brain::CASE,
    hand_overs::CASE,
    election::TOO_EARLY,
    isolation::CASE,
    deletion::CASE,
    tampering::CASE,
    recovery::CASE,
    fields::CASE,
    half_open::CASE,
    load::CASE,
    scale::CASE,
    manners::IDLE,
    manners::CHANGES,
];

/// The cases of the short form.
pub const SHORT: [&str; 4] = ["CP-01", "CP-02", "CP-12", "LD-05"];

/// Runs these cases one after the other. One that cannot be done is told as broken.
pub async fn run(world: &World<'_>, wanted: impl Fn(&Case) -> bool) -> Vec<CaseReport> {
    let mut reports = Vec::new();
    for case in ALL.iter().filter(|case| wanted(case)) {
        eprintln!("{}: {}", case.id, case.fault);
        let begun = Instant::now();
        let findings = (case.run)(world).await.with_context(|| format!("run {}", case.id)).unwrap_or_else(|error| {
            let mut findings = Findings::default();
            findings.check("the case was done", format!("{error:#}"), false);
            findings
        });
        let report = CaseReport::of(case.id, case.fault, case.scaled, begun.elapsed().as_secs_f64(), findings);
        let word = if report.holds() { "passed" } else { "FAILED" };
        eprintln!("{}: {word} after {:.0} s", case.id, report.seconds);
        for check in &report.checks {
            eprintln!("  {check}");
        }
        reports.push(report);
    }
    reports
}
