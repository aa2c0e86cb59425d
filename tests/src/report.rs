//! What a run of the campaign found, for machines and for people.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{campaign, cases::CaseReport, checker::Verdict, tools};

/// The whole report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version and, where it is known, revision of what was tested.
    pub docket: String,
    /// Version of the broker.
    pub nats: String,
    /// Version of the S3 server, where there was one.
    pub s3: Option<String>,
    /// The processor and how many of it.
    pub machine: String,
    /// Day and time at the end, UTC.
    pub date: String,
    /// The random campaign.
    pub campaign: Option<campaign::Report>,
    /// The directed cases.
    pub cases: Vec<CaseReport>,
    /// Whether every promise was kept and every control found what it must.
    pub holds: bool,
}

impl Report {
    /// Puts it together.
    pub fn of(tools: &tools::Tools, campaign: Option<campaign::Report>, cases: Vec<CaseReport>) -> Self {
        let holds = campaign.as_ref().is_none_or(|campaign| campaign.verdict.holds())
            && cases.iter().all(CaseReport::is_no_failure);
        let revision = tools::version("git".as_ref(), "describe --always --dirty");
        Self {
            docket: format!("{} {revision}", tools::version(&tools.docket, "--version")).trim().to_owned(),
            nats: tools::version(&tools.nats, "--version"),
            s3: tools.s3.as_deref().map(|s3| tools::version(s3, "version")),
            machine: machine(),
            date: tools::version("date".as_ref(), "-u +%Y-%m-%d"),
            campaign,
            cases,
            holds,
        }
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("- {}, {}; {}", self.docket, self.nats, self.machine);
        if let Some(s3) = &self.s3 {
            let _ = write!(text, "; {s3}");
        }
        let _ = writeln!(text, "; {}.", self.date);
        if let Some(campaign) = &self.campaign {
            text += &campaign_text(campaign);
        }
        if !self.cases.is_empty() {
            text += "\n| case | fault | result | what was checked |\n| --- | --- | --- | --- |\n";
            for case in &self.cases {
                let checks: Vec<String> = case.checks.iter().map(ToString::to_string).collect();
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {}{} |",
                    case.id,
                    case.fault,
                    case.outcome_word(),
                    checks.join("; "),
                    if case.scaled.is_empty() { String::new() } else { format!(". *{}*", case.scaled) }
                );
            }
        }
        text
    }
}

fn campaign_text(campaign: &campaign::Report) -> String {
    let verdict = &campaign.verdict;
    let faults: Vec<String> = campaign.faults.iter().map(|(fault, count)| format!("{fault:?} {count}")).collect();
    let deaths: Vec<String> = campaign.deaths.iter().map(|(point, count)| format!("{point} {count}")).collect();
    format!(
        "\n{} documents, {} kills, {:.0} s, seed {}, {} workers. {}. Faults: {}. Deaths at steps: {}.\n",
        campaign.documents,
        campaign.kills,
        campaign.seconds,
        campaign.seed,
        campaign.workers,
        verdict_text(verdict),
        faults.join(", "),
        if deaths.is_empty() { "none".to_owned() } else { deaths.join(", ") }
    )
}

/// A verdict in one line.
pub fn verdict_text(verdict: &Verdict) -> String {
    let mut text = format!(
        "accepted {}, unclear {} (of which there {}), ended {}",
        verdict.accepted,
        verdict.unknown,
        verdict.unknown_found,
        verdict.ended.values().sum::<usize>()
    );
    for (word, documents) in verdict.broken() {
        let _ = write!(text, ", {word} {}", documents.len());
    }
    text
}

/// The processor and how many of it.
pub(crate) fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names: Vec<&str> =
        info.lines().filter_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).collect();
    format!("{} x {}", names.len(), names.first().copied().unwrap_or(std::env::consts::ARCH))
}
