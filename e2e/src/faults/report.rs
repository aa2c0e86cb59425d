//! What the cases found, for machines and for people.

use std::{fmt, fmt::Write as _, path::Path, time::Duration};

use serde::Serialize;

use super::programs::{machine, version};

/// Findings of one kind that are told, and how much of each, in characters.
const TOLD: usize = 6;
const LONGEST: usize = 400;

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
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

/// The one in the middle.
pub fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Median, 99th of a hundred, and the longest.
pub fn times(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(index).copied().unwrap_or_default().as_secs_f64()
    };
    format!("{:.2} s in the median of {}, p99 {:.2} s, {:.2} s at most", at(0.5), times.len(), at(0.99), at(1.0))
}

/// What a case found.
#[derive(Debug, Default)]
pub struct Findings(Vec<Check>);

impl Findings {
    /// Something that must be so.
    pub fn check(&mut self, what: &str, found: impl fmt::Display, holds: bool) {
        self.0.push(Check { what: what.to_owned(), found: found.to_string(), holds: Some(holds) });
    }

    /// Something that must not be; the first are told.
    pub fn none(&mut self, what: &str, of: usize, found: &[String]) {
        let told: Vec<String> = found.iter().take(TOLD).map(|line| line.chars().take(LONGEST).collect()).collect();
        let colon = if told.is_empty() { "" } else { ": " };
        self.check(what, format!("{} of {of}{colon}{}", found.len(), told.join("; ")), found.is_empty() && of > 0);
    }

    /// A figure that nothing is asked of.
    pub fn figure(&mut self, what: &str, found: impl fmt::Display) {
        self.0.push(Check { what: what.to_owned(), found: found.to_string(), holds: None });
    }
}

/// A case and what it found.
#[derive(Debug, Serialize)]
pub struct CaseReport {
    /// As in the catalogue.
    pub id: &'static str,
    /// What is broken.
    pub fault: &'static str,
    /// What differs from the catalogue.
    pub scaled: &'static str,
    /// Seconds that it took.
    pub seconds: f64,
    /// What was looked at.
    pub checks: Vec<Check>,
}

impl CaseReport {
    /// Of a case's findings.
    pub fn of(id: &'static str, fault: &'static str, scaled: &'static str, seconds: f64, findings: Findings) -> Self {
        Self { id, fault, scaled, seconds, checks: findings.0 }
    }

    /// Whether everything is as it must be.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds != Some(false)) && !self.checks.is_empty()
    }
}

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version and revision of what was tested.
    pub docket: String,
    /// Of the API server.
    pub kubernetes: String,
    /// Of the broker.
    pub nats: String,
    /// The processor and how many of it.
    pub machine: String,
    /// Day, UTC.
    pub date: String,
    /// The cases.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// Of these cases, with the versions of what was tested.
    pub fn of(operator: &Path, nats: &Path, cases: Vec<CaseReport>) -> Self {
        let revision = version("git".as_ref(), &["describe", "--always", "--dirty"]);
        Self {
            docket: format!("{} {revision}", version(operator, &["--version"])).trim().to_owned(),
            kubernetes: version("kube-apiserver".as_ref(), &["--version"]),
            nats: version(nats, &["--version"]),
            machine: machine(),
            date: version("date".as_ref(), &["-u", "+%Y-%m-%d"]),
            cases,
        }
    }

    /// Whether every case holds.
    pub fn holds(&self) -> bool {
        self.cases.iter().all(CaseReport::holds)
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text =
            format!("- {}, {}, {}; {}; {}.\n", self.docket, self.kubernetes, self.nats, self.machine, self.date);
        text += "\n| case | fault | result | what was checked |\n| --- | --- | --- | --- |\n";
        for case in &self.cases {
            let checks: Vec<String> = case.checks.iter().map(ToString::to_string).collect();
            let checks = checks.join("; ").replace('|', "\\|").replace('\n', " ");
            let scaled = if case.scaled.is_empty() { String::new() } else { format!(". *{}*", case.scaled) };
            let word = if case.holds() { "passed" } else { "**failed**" };
            let _ = writeln!(text, "| {} | {} | {word} | {checks}{scaled} |", case.id, case.fault);
        }
        text
    }
}
