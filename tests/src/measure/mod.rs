//! What the queue costs: real processes on this machine, beside a bare JetStream loop on the same broker. Rounds of both take
//! turns, so that they meet the same noise; what is told is the median of the rounds and their spread.

mod envelopes;
mod hop;
mod raw;
mod slots;
mod tokens;

use std::{fmt::Write as _, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::tools::{self, Tools};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The programs.
    pub tools: Tools,
    /// Measured rounds, after one of warm-up.
    pub rounds: usize,
    /// Folder of models; the tokens are left out without the small one.
    pub models: Option<std::path::PathBuf>,
}

/// A row of the table: one way to do one thing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// What.
    pub what: String,
    /// Who does it.
    pub arm: &'static str,
    /// Of the values.
    pub unit: &'static str,
    /// The median of the rounds.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// One value a round.
    pub values: Vec<f64>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of what was measured.
    pub docket: String,
    /// Version of the broker.
    pub nats: String,
    /// The processor and how many of it.
    pub machine: String,
    /// The day, UTC.
    pub date: String,
    /// Measured rounds.
    pub rounds: usize,
    /// The table.
    pub rows: Vec<Row>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

impl Report {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "- {}, {}; {}; {}; {} rounds, medians.\n",
            self.docket, self.nats, self.machine, self.date, self.rounds
        );
        for line in &self.left_out {
            let _ = writeln!(text, "- Left out: {line}");
        }
        text += "\n| what | arm | unit | median | min–max |\n| --- | --- | --- | ---: | --- |\n";
        for Row { what, arm, unit, median, min, max, .. } in &self.rows {
            let [median, min, max] = [median, min, max].map(|value| shown(*value));
            let _ = writeln!(text, "| {what} | {arm} | {unit} | {median} | {min}–{max} |");
        }
        text
    }
}

/// Three significant digits.
fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Values of rounds, by what was measured, in the order in which it was first measured.
#[derive(Default)]
pub struct Rounds {
    rows: Vec<Row>,
}

impl Rounds {
    /// A value of one round.
    pub fn add(&mut self, what: &str, arm: &'static str, unit: &'static str, value: f64) {
        match self.rows.iter_mut().find(|row| row.what == what && row.arm == arm) {
            Some(row) => row.values.push(value),
            None => {
                let (what, values) = (what.to_owned(), vec![value]);
                self.rows.push(Row { what, arm, unit, median: 0.0, min: 0.0, max: 0.0, values });
            }
        }
    }

    /// Quantiles of many times of one round, in milliseconds.
    pub fn add_times(&mut self, what: &str, arm: &'static str, mut times: Vec<Duration>) {
        times.sort_unstable();
        for (name, per_cent) in [("p50", 50), ("p95", 95), ("p99", 99)] {
            let at = times.len().saturating_sub(1) * per_cent / 100;
            if let Some(time) = times.get(at) {
                self.add(&format!("{what}, {name}"), arm, "ms", time.as_secs_f64() * 1_000.0);
            }
        }
    }

    /// The rows, each with its median and spread.
    pub fn finish(mut self) -> Vec<Row> {
        for row in &mut self.rows {
            let mut sorted = row.values.clone();
            sorted.sort_by(f64::total_cmp);
            (row.min, row.max) = (sorted[0], sorted[sorted.len() - 1]);
            row.median = sorted[sorted.len() / 2];
        }
        self.rows
    }
}

/// Measures everything.
pub async fn run(settings: &Settings) -> Result<Report> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let mut rounds = Rounds::default();
    let mut left_out = Vec::new();
    hop::run(settings, &at(folder.path(), "hop")?, &mut rounds).await.context("measure hops")?;
    slots::run(settings, &at(folder.path(), "slots")?, &mut rounds).await.context("measure workers")?;
    envelopes::run(settings, &at(folder.path(), "envelopes")?, &mut rounds).await.context("measure envelopes")?;
    match &settings.models {
        Some(models) if models.join("smollm2-135m-instruct").is_dir() => {
            tokens::run(settings, models, &at(folder.path(), "tokens")?, &mut rounds)
                .await
                .context("measure tokens")?;
        }
        _ => left_out.push("tokens: the small model is missing (make models)".to_owned()),
    }
    Ok(Report {
        docket: tools::version(&settings.tools.docket, "--version"),
        nats: tools::version(&settings.tools.nats, "--version"),
        machine: crate::report::machine(),
        date: tools::version("date".as_ref(), "-u +%Y-%m-%d"),
        rounds: settings.rounds,
        rows: rounds.finish(),
        left_out,
    })
}

fn at(folder: &Path, name: &str) -> Result<std::path::PathBuf> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).context("make a folder")?;
    Ok(folder)
}
