//! What came of each document: lines for programs, a bar and a table for people.

use std::{path::Path, time::Duration};

use flow::{DocumentRecord, Outcome, Plan, StageStatus};
use indicatif::{ProgressBar, ProgressStyle};
use queue::Payloads;
use serde_json::{Map, Value, json};

use super::{
    learn::Learned,
    results::{Keep, Results},
    session::Session,
    summary::{Collector, Summary},
};
use crate::{
    Error, Result,
    args::Format,
    commands::{note, print},
    runtime::{progress::status_word, services::payload_json, state::Run},
};

/// How long results of stages that are still on their way to a shared cache may hold up the end, where its answers are not
/// waited for longer.
const LAST_STORES: Duration = Duration::from_secs(1);

/// Writes results as documents end.
pub(crate) struct Reporter {
    format: Format,
    results: Option<Results>,
    folder: Option<std::path::PathBuf>,
    collector: Collector,
    bar: ProgressBar,
}

impl Reporter {
    /// Opens the output folder.
    pub(crate) fn open(run: &Run, plan: &Plan, folder: Option<&Path>, format: Format, keep: &Keep<'_>) -> Result<Self> {
        let results = folder.map(|folder| Results::open(folder, keep)).transpose()?;
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} documents  {bar:30}  {elapsed}  {msg}") {
            bar.set_style(style);
        }
        Ok(Self { format, results, folder: folder.map(Path::to_path_buf), collector: Collector::new(run, plan), bar })
    }

    /// Counts only, for measurements: nothing is printed or written until `finish`.
    pub(crate) fn silent(run: &Run, plan: &Plan, format: Format) -> Self {
        Self { format, results: None, folder: None, collector: Collector::new(run, plan), bar: ProgressBar::hidden() }
    }

    /// Seconds of the stages that the cache answered.
    pub(crate) fn cached_seconds(&self) -> impl Iterator<Item = f64> {
        self.collector.cached_seconds()
    }

    /// What the heads learned before the run.
    pub(crate) fn learned(&mut self, learned: Learned) {
        self.collector.learned = learned;
    }

    /// The run begins, with documents that are unfinished.
    pub(crate) fn begin(&mut self, unfinished: usize) {
        if unfinished > 0 {
            note(&format!("{unfinished} documents go on where they stood"));
        }
        self.collector.begin();
        self.bar.inc_length(unfinished as u64);
        self.bar.enable_steady_tick(std::time::Duration::from_millis(250));
    }

    /// A document was accepted.
    pub(crate) fn accepted(&self) {
        self.bar.inc_length(1);
    }

    /// A document has ended.
    pub(crate) async fn document(&mut self, session: &Session, record: &DocumentRecord) -> Result<()> {
        let plan = session.driver.plan(record).await.map_err(Error::system("read a document's plan"))?;
        let action = || format!("write the result of \"{}\"", record.submission.document);
        let line =
            result(session.services.ports.payloads.as_ref(), &plan, record).await.map_err(Error::system(action()))?;
        if let Some(results) = &mut self.results {
            results.write(&record.submission.document, &line).map_err(Error::system(action()))?;
        }
        if self.format == Format::Jsonl {
            print(&line.to_string());
        }
        self.collector.document(record, line["citations"].as_array().map_or(0, Vec::len));
        self.bar.inc(1);
        let dead = self.collector.dead_letters();
        if dead > 0 {
            self.bar.set_message(format!("{dead} dead-lettered"));
        }
        Ok(())
    }

    /// So many documents have not ended because people are asked.
    pub(crate) fn awaiting(&mut self, documents: usize) {
        self.collector.awaiting = documents as u64;
    }

    /// Prints the summary and writes it beside the results.
    pub(crate) async fn finish(self, session: &Session) -> Result<Summary> {
        self.bar.finish_and_clear();
        let cache = &session.services.cache;
        cache.settle(cache.redis_settings().map_or(LAST_STORES, |redis| redis.or_longer(LAST_STORES))).await;
        let summary = self.collector.finish(session);
        if let Some(folder) = &self.folder {
            let path = folder.join("summary.json");
            let text = serde_json::to_string_pretty(&summary.json()).map_err(Error::system("write the summary"))?;
            std::fs::write(&path, text + "\n").map_err(Error::system(format!("write {}", path.display())))?;
        }
        match self.format {
            Format::Table => print(&summary.table()),
            Format::Json => print(&summary.json().to_string()),
            Format::Jsonl => note(&summary.table()),
        }
        if summary.awaiting() > 0 {
            note(&format!(
                "{} documents wait for a person: docket approve --state DIR --list; then run again with --resume",
                summary.awaiting()
            ));
        }
        Ok(summary)
    }
}

/// The result of a document as a person gets it.
pub(crate) async fn result(
    payloads: &dyn Payloads,
    plan: &Plan,
    record: &DocumentRecord,
) -> std::result::Result<Value, queue::Error> {
    let mut stages = Map::new();
    let mut outputs = Map::new();
    let mut citations = Vec::new();
    let consumed = record.consumed();
    for planned in plan.stages() {
        let Some(state) = record.stages.get(&planned.name) else { continue };
        let mut stage = Map::new();
        stage.insert("outcome".to_owned(), json!(status_word(&state.status)));
        stage.insert("rounds".to_owned(), json!(if state.attempt == 0 { state.round } else { state.round + 1 }));
        stage.insert("attempts".to_owned(), json!(state.attempt));
        let mut output = Value::Null;
        let (mut cached, mut cache_level, mut fallback) = (false, None, None);
        match &state.status {
            StageStatus::Done(completion) => {
                output = match payload_json(payloads, &completion.output).await {
                    Ok(output) => output,
                    // The document has ended; that its output cannot be shown must not hold up the others.
                    Err(error @ (queue::Error::NotFound { .. } | queue::Error::Damaged { .. })) => {
                        stage
                            .insert("error".to_owned(), json!({"reason": "PayloadLost", "message": error.to_string()}));
                        Value::Null
                    }
                    Err(error) => return Err(error),
                };
                cached = completion.cached;
                fallback = completion.fallback.as_deref();
                cache_level.clone_from(&completion.cache_level);
                if let Some(Value::Array(found)) = output.get("citations") {
                    citations.extend(found.iter().cloned());
                }
                if planned.is_last() {
                    outputs.insert(planned.name.clone(), output.clone());
                }
            }
            StageStatus::Failed(cause) | StageStatus::Backoff { cause, .. } => {
                stage.insert("error".to_owned(), json!({"reason": cause.reason, "message": cause.message}));
            }
            _ => {}
        }
        stage.insert("cached".to_owned(), json!(cached));
        if let Some(level) = cache_level {
            stage.insert("cacheLevel".to_owned(), json!(level));
        }
        stage.insert("fallback".to_owned(), json!(fallback));
        stage.insert("seconds".to_owned(), json!(state.consumed().seconds));
        stage.insert("cost".to_owned(), json!(flow::units(state.consumed().cost)));
        stage.insert("output".to_owned(), output);
        stages.insert(planned.name.clone(), Value::Object(stage));
    }
    let sinks = plan.stages().iter().filter(|stage| stage.is_last()).count();
    let output = match sinks {
        1 => outputs.into_iter().next().map_or(Value::Null, |(_, output)| output),
        _ => Value::Object(outputs),
    };
    let end = record.end.as_ref();
    let ended_at = end.map_or(record.changed_at, |end| end.at);
    let mut line = json!({
        "document": record.submission.document,
        "source": record.submission.source,
        "outcome": end.map_or(json!("unfinished"), |end| json!(end.outcome)),
        "stages": stages,
        "output": output,
        "citations": citations,
        "quality": record.quality,
        "tokens": {"prompt": consumed.prompt_tokens, "completion": consumed.completion_tokens},
        "cost": flow::units(consumed.cost),
        "seconds": ended_at.saturating_sub(record.submitted_at) as f64 / 1_000.0,
        "plan": record.plan,
    });
    if !record.degraded.is_empty() {
        line["degraded"] = json!(record.degraded);
    }
    if let Some(letter) = end.and_then(|end| end.dead_letter.as_ref()) {
        line["deadLetter"] = dead_letter(letter);
    }
    Ok(line)
}

/// A dead letter as a person gets it.
pub(crate) fn dead_letter(letter: &flow::DeadLetter) -> Value {
    json!({
        "stage": letter.stage, "reason": letter.cause.reason, "message": letter.cause.message,
        "attempts": letter.attempts, "worker": letter.cause.worker, "model": letter.cause.model,
    })
}

/// The word for a document's end.
pub(crate) fn end_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Partial => "partial",
        Outcome::DeadLettered => "dead-lettered",
        Outcome::Cancelled => "cancelled",
    }
}
