//! `docket submit`: documents to a gateway; what came of them as they end.

use std::{collections::BTreeMap, process::ExitCode, time::Instant};

use futures::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::connection::{Connection, Refused};
use crate::{
    Error, Result,
    args::{Format, SubmitArguments},
    commands::{
        note, print,
        run::{
            results::{self, Keep, Results},
            summary::{one_line, word},
        },
        table,
    },
    runtime::inputs::{self, Input, Refusal},
};

/// Documents whose end is waited for at once; those that were sent first come first.
const WAITED_FOR: usize = 64;
/// Bytes of the longest address that libraries of HTTP hold.
const LONGEST_ADDRESS: usize = 65_534;
/// Documents that are listed one by one in the table.
const LISTED: usize = 20;

/// What became of one document.
enum Sent {
    Accepted { document: String, repeated: bool },
    Refused { document: String, source: String, refused: Refused },
}

/// Sends the documents and, unless detached, waits for them; exit code 1 where one was refused or given up.
pub(in crate::commands) async fn submit(arguments: SubmitArguments) -> Result<ExitCode> {
    let documents = inputs::inputs(&arguments.input)?.take(arguments.limit.unwrap_or(usize::MAX));
    results::check(arguments.output.as_deref())?;
    let connection = Connection::open(&arguments.client).await?;
    let results = arguments.output.as_deref().map(|folder| Results::open(folder, &Keep::Nothing)).transpose()?;
    let mut report = Report::new(&connection.pipeline, arguments.format, arguments.detach, results);
    let (accepted, waiting) = mpsc::unbounded_channel();
    let sending = async {
        let mut sent = stream::iter(documents)
            .map(|input| send(&connection, &arguments, input))
            .buffer_unordered(usize::from(arguments.at_once));
        while let Some(sent) = sent.next().await {
            // The receiver goes only when waiting has failed, and then sending ends too.
            let _ = accepted.send(sent?);
        }
        drop(accepted);
        Ok(())
    };
    let following = async {
        let mut ended = UnboundedReceiverStream::new(waiting)
            .map(|sent| follow(&connection, sent, arguments.detach))
            .buffer_unordered(WAITED_FOR);
        while let Some(line) = ended.next().await {
            report.document(line?)?;
        }
        Ok(())
    };
    let outcome: Result<((), ())> = tokio::try_join!(sending, following);
    outcome.inspect_err(|_| note("run the same command again: what was accepted is not taken twice"))?;
    Ok(report.finish())
}

async fn send(connection: &Connection, arguments: &SubmitArguments, input: Input) -> Result<Sent> {
    let document = format!("{}{}", arguments.prefix, input.id);
    let most = connection.max_bytes;
    let reading = tokio::task::spawn_blocking(move || (input.read(most), input));
    let (bytes, input) = reading.await.map_err(Error::system("read a document"))?;
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(Refusal { reason, message }) => {
            let refused = Refused { reason: reason.to_owned(), message };
            return Ok(Sent::Refused { document, source: input.source, refused });
        }
    };
    let priority = input.priority.map(|priority| format!("{priority:?}"));
    let metadata = (!input.metadata.is_empty()).then(|| Value::Object(input.metadata.clone()).to_string());
    let mut query = vec![("id", document.as_str()), ("source", input.source.as_str())];
    query.extend(arguments.tenant.as_deref().map(|tenant| ("tenant", tenant)));
    query.extend(priority.as_deref().map(|priority| ("priority", priority)));
    query.extend(metadata.as_deref().map(|metadata| ("metadata", metadata)));
    let head = connection.of_pipeline(Method::POST, &["documents"], &query).build();
    if head.is_ok_and(|head| head.url().as_str().len() > LONGEST_ADDRESS) {
        let message = format!(
            "its metadata is too large to be sent: the address that it is written in, percent-encoded, may have {LONGEST_ADDRESS} bytes"
        );
        let refused = Refused { reason: "Invalid".to_owned(), message };
        return Ok(Sent::Refused { document, source: input.source, refused });
    }
    let request = || {
        let request = connection.of_pipeline(Method::POST, &["documents"], &query);
        Connection::with_bytes(request, &bytes)
    };
    let answer = connection.ask(request).await?;
    Ok(match answer {
        Ok(answer) => Sent::Accepted { document, repeated: answer["repeated"] == true },
        // Nobody else's documents will fare better.
        Err(refused) if matches!(refused.reason.as_str(), "Unauthenticated" | "NotFound" | "Forbidden") => {
            return Err(refused.into());
        }
        Err(refused) => Sent::Refused { document, source: input.source, refused },
    })
}

/// The line of a document: its result, its acceptance or why it was refused.
async fn follow(connection: &Connection, sent: Sent, detach: bool) -> Result<Value> {
    let refused = |document: &str, source: &str, refused: Refused| {
        json!({
            "document": document, "source": source, "outcome": "refused",
            "error": {"reason": refused.reason, "message": refused.message},
        })
    };
    match sent {
        Sent::Refused { document, source, refused: why } => Ok(refused(&document, &source, why)),
        Sent::Accepted { document, repeated } if detach => {
            Ok(json!({"document": document, "outcome": "accepted", "repeated": repeated}))
        }
        Sent::Accepted { document, .. } => {
            let end = connection.end_of(&document).await?;
            Ok(end.unwrap_or_else(|why| refused(&document, "", why)))
        }
    }
}

/// What is printed and counted.
struct Report {
    pipeline: String,
    format: Format,
    results: Option<Results>,
    begun: Instant,
    outcomes: BTreeMap<String, u64>,
    given_up: Vec<Value>,
    bar: ProgressBar,
}

impl Report {
    fn new(pipeline: &str, format: Format, detach: bool, results: Option<Results>) -> Self {
        let bar = ProgressBar::new_spinner();
        let template =
            if detach { "{spinner} {pos} sent  {elapsed}" } else { "{spinner} {pos} ended  {elapsed}  {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(250));
        let (outcomes, given_up) = (BTreeMap::new(), Vec::new());
        Self { pipeline: pipeline.to_owned(), format, results, begun: Instant::now(), outcomes, given_up, bar }
    }

    fn document(&mut self, line: Value) -> Result<()> {
        let document = word(&line["document"]);
        if let Some(results) = &mut self.results {
            let written = results.write(&document, &line);
            written.map_err(Error::system(format!("write the result of \"{document}\"")))?;
        }
        if self.format == Format::Jsonl {
            print(&line.to_string());
        }
        let outcome = word(&line["outcome"]);
        if matches!(outcome.as_str(), "dead-lettered" | "refused") {
            let why = if outcome == "refused" { &line["error"] } else { &line["deadLetter"] };
            let mut entry = Map::new();
            entry.insert("document".to_owned(), json!(document));
            entry.insert("outcome".to_owned(), json!(outcome));
            for key in ["stage", "reason", "message"] {
                entry.insert(key.to_owned(), why[key].clone());
            }
            self.given_up.push(Value::Object(entry));
            self.bar.set_message(format!("{} given up", self.given_up.len()));
        }
        *self.outcomes.entry(outcome).or_default() += 1;
        self.bar.inc(1);
        Ok(())
    }

    fn finish(self) -> ExitCode {
        self.bar.finish_and_clear();
        let seconds = (self.begun.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0;
        let total: u64 = self.outcomes.values().sum();
        let counts: Vec<String> = self.outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        let mut text = format!("pipeline {}\n{total} documents in {seconds} s", self.pipeline);
        if total > 0 {
            text = format!("{text}: {}", counts.join(", "));
        }
        if !self.given_up.is_empty() {
            let keys = ["document", "outcome", "stage", "reason", "message"];
            let row = |entry: &Value| keys.iter().map(|key| one_line(&word(&entry[*key]))).collect();
            let rows: Vec<Vec<String>> = self.given_up.iter().take(LISTED).map(row).collect();
            text = format!("{text}\n\n{}", table(&["DOCUMENT", "OUTCOME", "STAGE", "REASON", "MESSAGE"], &rows));
            if self.given_up.len() > LISTED {
                text = format!("{text}\nand {} more", self.given_up.len() - LISTED);
            }
        }
        match self.format {
            Format::Table => print(&text),
            Format::Jsonl => note(&text),
            Format::Json => {
                let value = json!({
                    "pipeline": self.pipeline, "documents": total, "outcomes": self.outcomes, "seconds": seconds,
                    "givenUp": self.given_up,
                });
                print(&value.to_string());
            }
        }
        if self.given_up.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
    }
}
