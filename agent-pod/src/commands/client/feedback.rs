//! `docket feedback`: what a person says of documents, for the heads that learn from it.

use std::{collections::BTreeMap, process::ExitCode};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    connection::{Connection, Refused},
    reading::print_values,
};
use crate::{
    Error, Result,
    args::{FeedbackArguments, Format},
    commands::{
        labels::{self, Feedback, Split},
        print,
    },
};

/// Tells heads what to learn, or lists what was said; exit code 1 where a line of a file was refused.
pub(in crate::commands) async fn feedback(arguments: FeedbackArguments) -> Result<ExitCode> {
    let lines = arguments.from.as_deref().map(|path| labels::read("--from", path, |_| None)).transpose()?;
    let connection = Connection::open(&arguments.client).await?;
    let keys = ["document", "head", "label", "score", "by", "at"];
    if arguments.list {
        let said = connection.all("feedback", "feedback", &[]).await?;
        print_values(said, &keys, arguments.format);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(lines) = lines {
        return say_all(&connection, lines, &arguments).await;
    }
    let document = arguments.document.as_deref().ok_or_else(|| Error::usage("name a document"))?;
    let said = json!({"head": arguments.head, "label": arguments.label, "score": arguments.score});
    let kept = say(&connection, document, &said).await??;
    print_values(vec![kept], &["document", "head", "changed"], arguments.format);
    Ok(ExitCode::SUCCESS)
}

async fn say(connection: &Connection, document: &str, said: &Value) -> Result<std::result::Result<Value, Refused>> {
    let request = || connection.of_pipeline(Method::POST, &["documents", document, "feedback"], &[]).json(said);
    connection.ask(request).await
}

/// Says all lines of a file, several at once. What is held out for measuring is not for learning.
async fn say_all(connection: &Connection, lines: Vec<Feedback>, arguments: &FeedbackArguments) -> Result<ExitCode> {
    let lines = lines.into_iter().filter(|line| line.split == Split::Train);
    // Of two lines about the same the later one counts, as it does of two requests.
    let lines: BTreeMap<_, _> = lines.map(|line| ((line.document.clone(), line.head.clone()), line)).collect();
    let answers = stream::iter(lines.into_values())
        .map(|line| told(connection, line))
        .buffer_unordered(usize::from(arguments.at_once));
    let answers: Vec<Value> = answers.try_collect().await?;
    let (refused, kept): (Vec<Value>, Vec<Value>) = answers.into_iter().partition(|answer| !answer["error"].is_null());
    let changed = kept.iter().filter(|answer| answer["changed"] == true).count();
    match arguments.format {
        Format::Jsonl => kept.iter().chain(&refused).for_each(|answer| print(&answer.to_string())),
        Format::Json => {
            print(&json!({"kept": kept.len(), "changed": changed, "refused": refused}).to_string());
        }
        Format::Table => {
            print(&format!("{} labels and scores are kept, {changed} of them new or changed", kept.len()));
            if !refused.is_empty() {
                print(&format!("{} were refused:", refused.len()));
                print_values(refused.clone(), &["document", "head", "line", "error"], Format::Table);
            }
        }
    }
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What became of a line.
async fn told(connection: &Connection, line: Feedback) -> Result<Value> {
    let Feedback { place, document, head, label, score, .. } = line;
    match say(connection, &document, &json!({"head": head, "label": label, "score": score})).await? {
        Ok(kept) => Ok(kept),
        // No other line will fare better.
        Err(refused) if matches!(refused.reason.as_str(), "Unauthenticated" | "Forbidden") => Err(refused.into()),
        Err(Refused { reason, message }) => {
            Ok(json!({"document": document, "head": head, "line": place, "error": format!("{reason}: {message}")}))
        }
    }
}
