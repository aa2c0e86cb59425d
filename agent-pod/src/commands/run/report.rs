//! What came of each document: lines for programs, a bar and a table for people.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::Path,
};

use flow::{DocumentRecord, Outcome, Plan, StageStatus};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::{
    learn::Learned,
    session::Session,
    summary::{Collector, Summary},
};
use crate::{
    Error, Result,
    args::Format,
    commands::{note, print},
    runtime::{services::Services, state::Run},
};

/// Writes results as documents end.
pub(crate) struct Reporter {
    format: Format,
    results: Option<Results>,
    folder: Option<std::path::PathBuf>,
    collector: Collector,
    bar: ProgressBar,
}

impl Reporter {
    /// Opens the output folder. A resumed run goes on with the lines that are there; a new one begins anew.
    pub(crate) fn open(run: &Run, plan: &Plan, folder: Option<&Path>, format: Format, resumed: bool) -> Result<Self> {
        let results = folder.map(|folder| Results::open(folder, resumed)).transpose()?;
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} documents  {bar:30}  {elapsed}  {msg}") {
            bar.set_style(style);
        }
        Ok(Self { format, results, folder: folder.map(Path::to_path_buf), collector: Collector::new(run, plan), bar })
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
        self.bar.enable_steady_tick(std::time::Duration::from_millis(250));
    }

    /// How many documents are expected, for the bar.
    pub(crate) fn expect(&self, documents: u64) {
        self.bar.set_length(documents);
    }

    /// A document has ended.
    pub(crate) async fn document(&mut self, session: &Session, record: &DocumentRecord) -> Result<()> {
        let plan = session.driver.plan(record).await.map_err(Error::system("read a document's plan"))?;
        let action = || format!("write the result of \"{}\"", record.submission.document);
        let line = result(&session.services, &plan, record).await.map_err(Error::system(action()))?;
        if let Some(results) = &mut self.results {
            results.write(&record.submission.document, &line).map_err(Error::system(action()))?;
        }
        if self.format == Format::Jsonl {
            print(&line.to_string());
        }
        self.collector.document(record);
        self.bar.inc(1);
        let dead = self.collector.dead_letters();
        if dead > 0 {
            self.bar.set_message(format!("{dead} dead-lettered"));
        }
        Ok(())
    }

    /// Prints the summary and writes it beside the results.
    pub(crate) async fn finish(self, session: &Session) -> Result<Summary> {
        self.bar.finish_and_clear();
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
        Ok(summary)
    }
}

/// results.jsonl: one line a document, whatever crashes and resumes there were.
struct Results {
    file: File,
    written: HashSet<String>,
}

impl Results {
    fn open(folder: &Path, resumed: bool) -> Result<Self> {
        let path = folder.join("results.jsonl");
        let action = || format!("open {}", path.display());
        std::fs::create_dir_all(folder).map_err(Error::system(action()))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(!resumed)
            .open(&path)
            .map_err(Error::system(action()))?;
        let mut written = HashSet::new();
        let mut whole = 0_u64;
        for line in BufReader::new(&file).split(b'\n') {
            let line = line.map_err(Error::system(action()))?;
            let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(&line) else { break };
            let Some(Value::String(document)) = fields.get("document") else { break };
            written.insert(document.clone());
            whole += line.len() as u64 + 1;
        }
        // A crash in the middle of a line leaves a torn one: it is cut off and written again. A whole last line may lack
        // only its newline.
        let length = file.metadata().map_err(Error::system(action()))?.len();
        file.set_len(whole.min(length)).map_err(Error::system(action()))?;
        file.seek(SeekFrom::End(0)).map_err(Error::system(action()))?;
        if whole > length {
            file.write_all(b"\n").map_err(Error::system(action()))?;
        }
        Ok(Self { file, written })
    }

    fn write(&mut self, document: &str, line: &Value) -> std::io::Result<()> {
        if self.written.contains(document) {
            return Ok(());
        }
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.written.insert(document.to_owned());
        Ok(())
    }
}

/// The result of a document as a person gets it.
pub(crate) async fn result(services: &Services, plan: &Plan, record: &DocumentRecord) -> std::result::Result<Value, queue::Error> {
    let mut stages = Map::new();
    let mut outputs = Map::new();
    let mut citations = Vec::new();
    let (mut prompt_tokens, mut completion_tokens) = (0, 0);
    for planned in plan.stages() {
        let Some(state) = record.stages.get(&planned.name) else { continue };
        let mut stage = Map::new();
        stage.insert("outcome".to_owned(), json!(outcome_word(&state.status)));
        stage.insert("rounds".to_owned(), json!(if state.attempt == 0 { state.round } else { state.round + 1 }));
        stage.insert("attempts".to_owned(), json!(state.attempt));
        let mut output = Value::Null;
        let (mut cached, mut seconds) = (false, 0.0);
        match &state.status {
            StageStatus::Done(completion) => {
                output = services.json(&completion.output).await?;
                (cached, seconds) = (completion.cached, completion.seconds);
                prompt_tokens += completion.prompt_tokens;
                completion_tokens += completion.completion_tokens;
                if let Some(Value::Array(found)) = output.get("citations") {
                    citations.extend(found.iter().cloned());
                }
                if planned.successors.is_empty() {
                    outputs.insert(planned.name.clone(), output.clone());
                }
            }
            StageStatus::Failed(cause) | StageStatus::Backoff { cause, .. } => {
                stage.insert("error".to_owned(), json!({"reason": cause.reason, "message": cause.message}));
            }
            _ => {}
        }
        stage.insert("cached".to_owned(), json!(cached));
        stage.insert("seconds".to_owned(), json!(seconds));
        stage.insert("output".to_owned(), output);
        stages.insert(planned.name.clone(), Value::Object(stage));
    }
    let sinks = plan.stages().iter().filter(|stage| stage.successors.is_empty()).count();
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
        "tokens": {"prompt": prompt_tokens, "completion": completion_tokens},
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

/// The word for a stage's state.
pub(crate) fn outcome_word(status: &StageStatus) -> &'static str {
    match status {
        StageStatus::Waiting => "waiting",
        StageStatus::Held => "held",
        StageStatus::Dispatched => "dispatched",
        StageStatus::Backoff { .. } => "backoff",
        StageStatus::Done(_) => "succeeded",
        StageStatus::Skipped => "skipped",
        StageStatus::Failed(_) => "failed",
    }
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
