//! `docket watch`: server-sent events as they come.

use std::process::ExitCode;

use bytes::Bytes;
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    connection::{Connection, PAUSE},
    exit_code,
};
use crate::{
    Error, Result,
    args::{Format, WatchArguments},
    commands::{note, print, print_part, run::summary::word},
};

/// Longest event that is read: a result holds what all stages made.
const MAX_EVENT: usize = 64 << 20;

/// Follows a document to its end, beginning again where the connection breaks; exit code 1 where it is given up.
pub(in crate::commands) async fn watch(arguments: WatchArguments) -> Result<ExitCode> {
    let connection = Connection::open(&arguments.client).await?;
    let mut shown = Shown { format: arguments.format, stages: Map::new(), writing: None, problem: String::new() };
    loop {
        let request = || connection.of_pipeline(Method::GET, &["documents", &arguments.document, "events"], &[]);
        let mut body = connection.send(request).await??.bytes_stream();
        let mut lines = Lines::default();
        while let Some(Ok(chunk)) = body.next().await {
            for (name, data) in lines.take(&chunk)? {
                shown.event(&name, &data);
                if name == "end" {
                    return Ok(exit_code([&data]));
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What of a stream of events has come.
#[derive(Default)]
pub struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// The events that are whole with these bytes: name and data.
    pub fn take(&mut self, chunk: &Bytes) -> Result<Vec<(String, Value)>> {
        self.pending.extend_from_slice(chunk);
        if self.pending.len() > MAX_EVENT {
            return Err(Error::system("follow the document")("an event is too large"));
        }
        let mut events = Vec::new();
        while let Some(end) = self.pending.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.pending.drain(..end + 2).collect();
            events.extend(event(&String::from_utf8_lossy(&block)));
        }
        Ok(events)
    }
}

/// `None` for comments, which only keep the connection open.
fn event(block: &str) -> Option<(String, Value)> {
    let field = |name: &str| {
        let values = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let values: Vec<&str> = values.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect();
        (!values.is_empty()).then(|| values.join("\n"))
    };
    Some((field("event")?, serde_json::from_str(&field("data")?).ok()?))
}

/// What has been shown.
struct Shown {
    format: Format,
    stages: Map<String, Value>,
    writing: Option<String>,
    /// Why the gateway told no more, the last time.
    problem: String,
}

impl Shown {
    fn event(&mut self, name: &str, data: &Value) {
        if self.format != Format::Table {
            return print(&json!({"event": name, "data": data}).to_string());
        }
        match name {
            "progress" => {
                let Value::Object(stages) = &data["stages"] else { return };
                let news: Vec<String> = stages
                    .iter()
                    .filter(|(stage, state)| self.stages.get(*stage) != Some(*state) && *state != "waiting")
                    .map(|(stage, state)| format!("{stage} {}", word(state)))
                    .collect();
                if !news.is_empty() {
                    self.end_text();
                    print(&news.join(", "));
                }
                self.stages.clone_from(stages);
            }
            "token" => {
                let stage = word(&data["stage"]);
                if self.writing.as_ref() != Some(&stage) {
                    self.end_text();
                    print(&format!("{stage} writes:"));
                    self.writing = Some(stage);
                }
                print_part(data["text"].as_str().unwrap_or_default());
            }
            "end" => {
                self.end_text();
                print(&format!("{} after {} s", word(&data["outcome"]), data["seconds"]));
            }
            "error" => {
                let problem = format!("{}: {}", word(&data["reason"]), word(&data["message"]));
                // What lasts is said once, though the gateway is asked again and again.
                if self.problem != problem {
                    self.end_text();
                    note(&format!("the gateway tells no more for now: {problem}; it is asked again"));
                    self.problem = problem;
                }
            }
            _ => {}
        }
    }

    fn end_text(&mut self) {
        if self.writing.take().is_some() {
            print("");
        }
    }
}
