//! Directed cases: one fault each, in a small system of its own, with the pass criterion of the catalogue.
//!
//! Amounts and times are those of a machine with two cores; each case says what was scaled.

mod dp01_steps;
mod dp02_broker_cluster;
mod dp06_zombie;
mod dp07_slow_stage;
mod dp08_late_duplicates;
mod dp09_full;
mod dp10_scale_down;
mod dp13_poison;
mod dp16_conditions;
mod dp17_s3_trouble;
mod dp18_half_published;
mod dp19_rolling_restart;
mod dp21_peers;
mod dp22_broker_restarts;
mod dp23_disk_full;
mod in07_requests;
mod in13_messages;
mod lossy_broker;
mod weak_ack;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use serde::Serialize;

use crate::{checker::Verdict, cluster::Layout, report::verdict_text, tools::Tools};

/// Longest that a case may take for each unit of its scale: one that hangs must not hold up the others.
const LONGEST: Duration = Duration::from_secs(420);
/// Longest wait for the ends of a case's documents: longer than a sweep lets a document be that nobody works.
const DRAIN: Duration = Duration::from_secs(180);

/// All cases, in the order of the catalogue; the controls last.
pub static ALL: [Case; 19] = [
    dp01_steps::CASE,
    dp02_broker_cluster::CASE,
    dp06_zombie::CASE,
    dp07_slow_stage::CASE,
    dp08_late_duplicates::CASE,
    dp09_full::CASE,
    dp10_scale_down::CASE,
    dp13_poison::CASE,
    dp16_conditions::CASE,
    dp17_s3_trouble::CASE,
    dp18_half_published::CASE,
    dp19_rolling_restart::CASE,
    dp21_peers::CASE,
    dp22_broker_restarts::CASE,
    dp23_disk_full::CASE,
    in07_requests::CASE,
    in13_messages::CASE,
    weak_ack::CASE,
    lossy_broker::CASE,
];

type Run = for<'a> fn(&'a World) -> BoxFuture<'a, Result<Findings>>;

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

/// Where a case takes place.
pub struct World {
    tools: Tools,
    folder: PathBuf,
    scale: usize,
}

impl World {
    fn layout(&self) -> Layout {
        Layout::new(&self.tools, &self.folder)
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What.
    pub what: String,
    /// What was found.
    pub found: String,
    /// Whether that is right; none for a figure that nothing is asked of.
    pub holds: Option<bool>,
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let broken = if self.holds == Some(false) { " **(broken)**" } else { "" };
        write!(formatter, "{}: {}{broken}", self.what, self.found)
    }
}

/// What a case found.
#[derive(Debug, Default)]
struct Findings {
    checks: Vec<Check>,
    skipped: Option<String>,
}

impl Findings {
    fn skipped(reason: &str) -> Self {
        Self { checks: Vec::new(), skipped: Some(reason.to_owned()) }
    }

    fn check(&mut self, what: &str, found: impl fmt::Display, holds: bool) {
        self.checks.push(Check { what: what.to_owned(), found: found.to_string(), holds: Some(holds) });
    }

    fn figure(&mut self, what: &str, found: impl fmt::Display) {
        self.checks.push(Check { what: what.to_owned(), found: found.to_string(), holds: None });
    }

    fn verdict(&mut self, verdict: &Verdict) {
        let mut text = verdict_text(verdict);
        for (word, documents) in verdict.broken() {
            if let Some(first) = documents.first() {
                text += &format!("; {word} for example \"{first}\"");
            }
        }
        self.check("documents", text, verdict.holds() && verdict.accepted > 0);
    }
}

/// What became of a case.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseReport {
    /// As in the catalogue.
    pub id: &'static str,
    /// What was broken.
    pub fault: &'static str,
    /// What differs from the catalogue.
    pub scaled: &'static str,
    /// Seconds that it took.
    pub seconds: f64,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// Why it could not be looked at.
    pub skipped: Option<String>,
    /// Why the case itself failed.
    pub error: Option<String>,
}

impl CaseReport {
    /// Whether nothing was found broken; a case that was skipped found nothing.
    pub fn is_no_failure(&self) -> bool {
        self.error.is_none() && self.checks.iter().all(|check| check.holds != Some(false))
    }

    /// The result in a word.
    pub fn outcome_word(&self) -> &'static str {
        match (&self.skipped, self.is_no_failure()) {
            (_, false) => "**failed**",
            (Some(_), true) => "skipped",
            (None, true) => "passed",
        }
    }
}

/// Runs cases one after another; what happens is told on standard error.
pub async fn run<'a>(
    cases: impl Iterator<Item = &'a Case>,
    tools: &Tools,
    scale: u32,
    keep: Option<&Path>,
) -> Result<Vec<CaseReport>> {
    let mut reports = Vec::new();
    for case in cases {
        let temporary = tempfile::tempdir().context("make a folder")?;
        let folder = keep.unwrap_or(temporary.path()).join(case.id);
        std::fs::create_dir_all(&folder).context("make the case's folder")?;
        let world = World { tools: tools.clone(), folder, scale: scale as usize };
        let begun = Instant::now();
        let found = tokio::time::timeout(LONGEST * scale, (case.run)(&world)).await;
        let (findings, error) = match found {
            Ok(Ok(findings)) => (findings, None),
            Ok(Err(error)) => (Findings::default(), Some(format!("{error:#}"))),
            Err(_) => (Findings::default(), Some(format!("it took longer than {} s", (LONGEST * scale).as_secs()))),
        };
        let report = CaseReport {
            id: case.id,
            fault: case.fault,
            scaled: case.scaled,
            seconds: begun.elapsed().as_secs_f64(),
            checks: findings.checks,
            skipped: findings.skipped,
            error,
        };
        tell(&report);
        reports.push(report);
    }
    Ok(reports)
}

#[allow(clippy::print_stderr, reason = "for the person who waits")]
fn tell(report: &CaseReport) {
    eprintln!("{} {} ({:.0} s)", report.id, report.outcome_word(), report.seconds);
    for line in report.skipped.iter().chain(&report.error) {
        eprintln!("    {line}");
    }
    for check in &report.checks {
        eprintln!("    {check}");
    }
}
