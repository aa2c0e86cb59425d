//! `docket cache --gateway`.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::Value;

use super::connection::Connection;
use crate::{
    Error, Result,
    args::{ClientArguments, Format, SelectionArguments},
    commands::{cache, note, print, run::summary::checked_line, run::summary::word},
};

/// What the processes at a gateway and the server that they share keep.
pub(in crate::commands) async fn stats(gateway: &ClientArguments, format: Format) -> Result<ExitCode> {
    let connection = Connection::to_gateway(gateway)?;
    let answer = connection.ask(|| connection.request(Method::GET, &["v1", "cache"], &[])).await??;
    report(&answer, format);
    Ok(ExitCode::SUCCESS)
}

/// Removes results everywhere; says from where.
pub(in crate::commands) async fn clear(
    gateway: &ClientArguments,
    selection: &SelectionArguments,
    format: Format,
) -> Result<ExitCode> {
    let connection = Connection::to_gateway(gateway)?;
    let older_than = selection.older_than.map(|span| span.to_string());
    let query = [
        ("olderThan", older_than.as_deref()),
        ("tenant", selection.tenant.as_deref()),
        ("payload", selection.payload.as_deref()),
    ];
    let query: Vec<(&str, &str)> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let answer = connection.ask(|| connection.request(Method::POST, &["v1", "cache", "clear"], &query)).await??;
    report(&answer, format);
    let processes = answer["processes"].as_array().map_or(&[][..], Vec::as_slice);
    for process in processes {
        let name = word(&process["process"]);
        if let Some(error) = process["error"].as_str() {
            return Err(Error::system(format!("clear the cache of {name}"))(error.to_owned()));
        }
        if process["done"] != true {
            note(&format!("{name} has heard and was not done in time; it goes on"));
        }
    }
    note("processes that are away clear theirs when they come back");
    Ok(ExitCode::SUCCESS)
}

fn report(answer: &Value, format: Format) {
    if format != Format::Table {
        return print(&answer.to_string());
    }
    let mut levels: Vec<(String, Value)> = Vec::new();
    if answer["redis"].is_object() {
        levels.push(("redis".to_owned(), answer["redis"].clone()));
    }
    for process in answer["processes"].as_array().into_iter().flatten() {
        let name = word(&process["process"]);
        let of_process = ["memory", "disk"].into_iter().filter(|level| process[*level].is_object());
        levels.extend(of_process.map(|level| (format!("{level} of {name}"), process[level].clone())));
    }
    print(&cache::holdings(levels.into_iter()));
    if answer["checked"]["checked"].as_u64().is_some_and(|checked| checked > 0) {
        print(&format!("\nanswers to nearly equal prompts: {}", checked_line(&answer["checked"])));
    }
}
