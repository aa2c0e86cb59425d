//! `docket get`, `docket list` and `docket cancel`.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::Value;

use super::{connection::Connection, exit_code};
use crate::{
    Result,
    args::{CancelArguments, Format, GetArguments, ListArguments},
    commands::{
        print,
        run::summary::{one_line, word},
        table,
    },
};

/// Prints results; exit code 1 where a document was given up.
pub(in crate::commands) async fn get(arguments: GetArguments) -> Result<ExitCode> {
    let connection = Connection::open(&arguments.client).await?;
    let mut results = Vec::new();
    for document in &arguments.documents {
        let answer = match arguments.wait {
            true => connection.end_of(document).await?,
            false => connection.ask(|| connection.of_pipeline(Method::GET, &["documents", document], &[])).await?,
        };
        results.push(answer?);
    }
    print_results(&results, arguments.format);
    Ok(exit_code(&results))
}

/// Gives documents up and prints what they have come to.
pub(in crate::commands) async fn cancel(arguments: CancelArguments) -> Result<ExitCode> {
    let connection = Connection::open(&arguments.client).await?;
    let mut results = Vec::new();
    for document in &arguments.documents {
        let request = || connection.of_pipeline(Method::POST, &["documents", document, "cancel"], &[]);
        results.push(connection.ask(request).await??);
    }
    print_results(&results, arguments.format);
    Ok(ExitCode::SUCCESS)
}

/// Lists documents in short.
pub(in crate::commands) async fn list(arguments: ListArguments) -> Result<ExitCode> {
    let connection = Connection::open(&arguments.client).await?;
    let query: Vec<(&str, &str)> = arguments.outcome.iter().map(|outcome| ("outcome", outcome.as_str())).collect();
    let documents = connection.all("documents", "documents", &query).await?;
    let keys = ["document", "outcome", "tenant", "submitted", "changed"];
    print_values(documents, &keys, arguments.format);
    Ok(ExitCode::SUCCESS)
}

/// Results for people or programs.
pub(in crate::commands) fn print_results(results: &[Value], format: Format) {
    if format != Format::Table {
        return print_values(results.to_vec(), &[], format);
    }
    let rows: Vec<Vec<String>> = results
        .iter()
        .map(|result| {
            let why = match &result["deadLetter"] {
                Value::Null => result["output"].to_string(),
                letter => format!("{}: {}", word(&letter["reason"]), word(&letter["message"])),
            };
            let cell = |key: &str| word(&result[key]);
            vec![cell("document"), cell("outcome"), cell("seconds"), one_line(&why)]
        })
        .collect();
    print(&table(&["DOCUMENT", "OUTCOME", "SECONDS", "OUTPUT"], &rows));
}

/// Values as a table of these keys, as one list or as lines.
pub(in crate::commands) fn print_values(values: Vec<Value>, keys: &[&str], format: Format) {
    match format {
        Format::Json => print(&Value::Array(values).to_string()),
        Format::Jsonl => values.iter().for_each(|value| print(&value.to_string())),
        Format::Table => {
            let head: Vec<String> = keys.iter().map(|key| key.to_uppercase()).collect();
            let head: Vec<&str> = head.iter().map(String::as_str).collect();
            let row = |value: &Value| keys.iter().map(|key| one_line(&word(&value[*key]))).collect();
            let rows: Vec<Vec<String>> = values.iter().map(row).collect();
            print(&table(&head, &rows));
        }
    }
}
