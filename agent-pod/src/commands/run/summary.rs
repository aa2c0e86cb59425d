//! The numbers of a run.

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode, time::Instant};

use flow::{DocumentRecord, Outcome, Plan, Spent, StageStatus};
use serde_json::{Value, json};

use super::{learn::Learned, report, session::Session};
use crate::{commands::table, runtime::state::Run};

/// Dead letters that are listed one by one in the table.
const LISTED: usize = 20;

/// Exit code of a run whose documents wait for people.
const AWAITING: u8 = 4;

/// Gathers what the summary says.
pub(crate) struct Collector {
    pub(crate) learned: Learned,
    /// Documents that have not ended because people are asked.
    pub(crate) awaiting: u64,
    run: String,
    pipeline: String,
    plan: String,
    begun: Instant,
    /// Documents that had ended when this process began.
    ended_before: u64,
    order: Vec<String>,
    outcomes: BTreeMap<&'static str, u64>,
    stages: BTreeMap<String, StageNumbers>,
    dead_letters: Vec<Value>,
    consumed: Spent,
    citations: u64,
}

#[derive(Default)]
struct StageNumbers {
    seconds: Vec<f64>,
    skipped: u64,
    failed: u64,
    cached_seconds: Vec<f64>,
}

/// What a run came to.
pub(crate) struct Summary {
    value: Value,
    dead_lettered: u64,
    awaiting: u64,
}

impl Collector {
    pub(crate) fn new(run: &Run, plan: &Plan) -> Self {
        Self {
            learned: Learned::default(),
            awaiting: 0,
            run: run.id.clone(),
            pipeline: plan.name.clone(),
            plan: plan.digest.clone(),
            begun: Instant::now(),
            ended_before: 0,
            order: plan.stages().iter().map(|stage| stage.name.clone()).collect(),
            outcomes: BTreeMap::new(),
            stages: BTreeMap::new(),
            dead_letters: Vec::new(),
            consumed: Spent::default(),
            citations: 0,
        }
    }

    pub(crate) fn begin(&mut self) {
        self.begun = Instant::now();
        self.ended_before = self.documents();
    }

    fn documents(&self) -> u64 {
        self.outcomes.values().sum()
    }

    pub(crate) fn dead_letters(&self) -> usize {
        self.dead_letters.len()
    }

    pub(crate) fn cached_seconds(&self) -> impl Iterator<Item = f64> {
        self.stages.values().flat_map(|stage| &stage.cached_seconds).copied()
    }

    pub(crate) fn document(&mut self, record: &DocumentRecord, citations: usize) {
        let Some(end) = &record.end else { return };
        self.citations += citations as u64;
        *self.outcomes.entry(report::end_word(end.outcome)).or_default() += 1;
        if let Some(letter) = &end.dead_letter {
            let mut letter = report::dead_letter(letter);
            letter["document"] = json!(record.submission.document);
            self.dead_letters.push(letter);
        }
        self.consumed = self.consumed.plus(record.consumed());
        for (name, state) in &record.stages {
            let numbers = self.stages.entry(name.clone()).or_default();
            match &state.status {
                StageStatus::Done(completion) => {
                    numbers.seconds.push(completion.seconds);
                    numbers.cached_seconds.extend(completion.cached.then_some(completion.seconds));
                }
                StageStatus::Skipped => numbers.skipped += 1,
                StageStatus::Failed(_) => numbers.failed += 1,
                _ => {}
            }
        }
    }

    pub(crate) fn finish(mut self, session: &Session) -> Summary {
        let seconds = self.begun.elapsed().as_secs_f64();
        let documents = self.documents();
        let ended_here = documents.saturating_sub(self.ended_before);
        let outcome = |outcome| self.outcomes.get(report::end_word(outcome)).copied().unwrap_or(0);
        let dead_lettered = outcome(Outcome::DeadLettered);
        let mut stages = Vec::new();
        for name in &self.order {
            stages.extend(self.stages.get_mut(name).map(|numbers| numbers.json(name)));
        }
        let engine = session.services.engine.statistics();
        let value = json!({
            "run": self.run,
            "pipeline": self.pipeline,
            "plan": self.plan,
            "documents": {
                "total": documents,
                "succeeded": outcome(Outcome::Succeeded),
                "partial": outcome(Outcome::Partial),
                "deadLettered": dead_lettered,
                "cancelled": outcome(Outcome::Cancelled),
                "awaiting": self.awaiting,
                "endedBefore": self.ended_before,
            },
            "seconds": round(seconds),
            "documentsPerSecond": round(ended_here as f64 / seconds.max(0.001)),
            "heads": self.learned.json(),
            "stages": stages,
            "tokens": {"prompt": self.consumed.prompt_tokens, "completion": self.consumed.completion_tokens},
            "cost": flow::units(self.consumed.cost),
            "citations": self.citations,
            "cache": session.services.cache.statistics(),
            "engine": {"device": format!("{:?}", session.services.engine.device()), "batches": engine.batches, "usefulTokens": engine.useful_tokens, "processedTokens": engine.processed_tokens},
            "peakMemoryBytes": peak_memory(),
            "deadLetters": self.dead_letters,
        });
        Summary { value, dead_lettered, awaiting: self.awaiting }
    }
}

impl StageNumbers {
    fn json(&mut self, name: &str) -> Value {
        self.seconds.sort_by(f64::total_cmp);
        let quantile = |q: f64| {
            let last = self.seconds.len().saturating_sub(1);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "q is in 0..1")]
            let index = (q * last as f64).round() as usize;
            self.seconds.get(index).map(|seconds| round(*seconds))
        };
        json!({
            "name": name, "succeeded": self.seconds.len(), "skipped": self.skipped, "failed": self.failed,
            "cached": self.cached_seconds.len(), "p50": quantile(0.5), "p95": quantile(0.95),
        })
    }
}

impl Summary {
    /// How many documents have not ended because people are asked.
    pub(crate) fn awaiting(&self) -> u64 {
        self.awaiting
    }

    /// What the process ends with: a run that is not over says so before it says what was given up.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match (self.awaiting, self.dead_lettered) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::from(1),
            _ => ExitCode::from(AWAITING),
        }
    }

    pub(crate) fn json(&self) -> &Value {
        &self.value
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let v = &self.value;
        let documents = &v["documents"];
        let mut text = format!("pipeline {}  run {}\n", word(&v["pipeline"]), word(&v["run"]));
        let before = match documents["endedBefore"].as_u64() {
            None | Some(0) => String::new(),
            Some(before) => format!(", {before} had ended before"),
        };
        let _ = writeln!(
            text,
            "{} documents in {} s ({} a second{before}): {} succeeded, {} partial, {} dead-lettered, {} cancelled",
            documents["total"],
            v["seconds"],
            v["documentsPerSecond"],
            documents["succeeded"],
            documents["partial"],
            documents["deadLettered"],
            documents["cancelled"],
        );
        if self.awaiting > 0 {
            let _ = writeln!(text, "{} documents wait for a person", self.awaiting);
        }
        let rows: Vec<Vec<String>> = v["stages"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|s| {
                ["name", "succeeded", "skipped", "failed", "cached", "p50", "p95"]
                    .iter()
                    .map(|key| word(&s[*key]))
                    .collect()
            })
            .collect();
        let _ = writeln!(
            text,
            "\n{}",
            table(&["STAGE", "SUCCEEDED", "SKIPPED", "FAILED", "CACHED", "P50 S", "P95 S"], &rows)
        );
        for head in v["heads"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "\nhead {}: learned from {} documents", word(&head["name"]), head["examples"]);
            for point in head["accuracy"].as_array().into_iter().flatten() {
                let _ = writeln!(
                    text,
                    "  accuracy on {} held-out documents after {} labels: {:.1} %",
                    point["heldOut"],
                    point["labels"],
                    point["accuracy"].as_f64().unwrap_or(0.0) * 100.0
                );
            }
        }
        let _ = writeln!(
            text,
            "\ntokens: {} read, {} written   cost: {}   cache: {}   citations: {}   peak memory: {} MiB",
            v["tokens"]["prompt"],
            v["tokens"]["completion"],
            v["cost"],
            cache_line(&v["cache"]),
            v["citations"],
            v["peakMemoryBytes"].as_u64().unwrap_or(0) >> 20,
        );
        let letters: &[Value] = v["deadLetters"].as_array().map_or(&[], Vec::as_slice);
        if !letters.is_empty() {
            let rows: Vec<Vec<String>> = letters
                .iter()
                .take(LISTED)
                .map(|l| {
                    ["document", "stage", "reason", "message"].iter().map(|key| one_line(&word(&l[*key]))).collect()
                })
                .collect();
            let _ = writeln!(text, "\n{}", table(&["DEAD LETTER", "STAGE", "REASON", "MESSAGE"], &rows));
            if letters.len() > LISTED {
                let _ = writeln!(text, "and {} more: docket dlq list", letters.len() - LISTED);
            }
        }
        text.trim_end().to_owned()
    }
}

/// Who answered, and what is wrong with Redis where something is.
fn cache_line(cache: &Value) -> String {
    let mut line = format!("{} hits in memory, ", cache["memory"]["hits"]);
    let redis = &cache["redis"];
    if redis.is_object() {
        let _ = write!(line, "{} in Redis", redis["hits"]);
        let (errors, skipped) = (&redis["errors"], &redis["skipped"]);
        if *errors != 0 || *skipped != 0 {
            let _ = write!(line, " ({errors} errors, {skipped} skipped, breaker {})", word(&redis["breaker"]));
        }
        line.push_str(", ");
    }
    let _ = write!(line, "{} on disk, ", cache["disk"]["hits"]);
    let semantic = &cache["semantic"];
    if semantic["hits"] != 0 || semantic["misses"] != 0 || semantic["skipped"] != 0 {
        let _ = write!(line, "{} semantic ({}), ", semantic["hits"], checked_line(semantic));
    }
    let _ = write!(line, "{} computed", cache["computed"]);
    line
}

/// What was measured of answers to nearly equal prompts.
pub(crate) fn checked_line(checked: &Value) -> String {
    let ratio = checked["wrongRatio"].as_f64();
    let share = ratio.map_or_else(String::new, |ratio| format!(", {:.1} %", ratio * 100.0));
    format!("{} checked, {} wrong{share}", checked["checked"], checked["wrong"])
}

/// A JSON value without quotes.
pub(crate) fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// For a table's cell.
pub(crate) fn one_line(text: &str) -> String {
    const WIDTH: usize = 120;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// The most memory that this process has had, from the kernel's account.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0) * 1_024
}
