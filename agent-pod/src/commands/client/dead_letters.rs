//! `docket dlq --gateway`.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::Value;

use super::{
    connection::Connection,
    exit_code,
    reading::{print_results, print_values},
};
use crate::{
    Error, Result,
    args::{ClientArguments, Format},
    commands::{note, print, run::summary::word},
};

/// Lists the dead letters of a pipeline.
pub(in crate::commands) async fn list(client: &ClientArguments, format: Format) -> Result<ExitCode> {
    let letters = Connection::open(client).await?.all("dead-letters", "deadLetters", &[]).await?;
    print_values(letters, &["document", "stage", "reason", "attempts", "message"], format);
    Ok(ExitCode::SUCCESS)
}

/// Shows one whole.
pub(in crate::commands) async fn show(client: &ClientArguments, document: &str) -> Result<ExitCode> {
    let connection = Connection::open(client).await?;
    let letters = connection.all("dead-letters", "deadLetters", &[]).await?;
    let found = letters.iter().find(|letter| letter["document"] == document);
    let found = found.ok_or_else(|| Error::usage(format!("\"{document}\" is not a dead letter")))?;
    print(&serde_json::to_string_pretty(found).map_err(Error::system("print the dead letter"))?);
    Ok(ExitCode::SUCCESS)
}

/// Works dead letters again, all where none is named, and waits for their ends.
pub(in crate::commands) async fn replay(
    client: &ClientArguments,
    documents: &[String],
    format: Format,
) -> Result<ExitCode> {
    let connection = Connection::open(client).await?;
    let documents = match documents {
        [] => {
            let letters = connection.all("dead-letters", "deadLetters", &[]).await?;
            letters.iter().map(|letter| word(&letter["document"])).collect()
        }
        named => named.to_vec(),
    };
    if documents.is_empty() {
        note("there are no dead letters");
    }
    for document in &documents {
        connection.ask(|| connection.of_pipeline(Method::POST, &["documents", document, "replay"], &[])).await??;
    }
    let mut results: Vec<Value> = Vec::new();
    for document in &documents {
        results.push(connection.end_of(document).await??);
    }
    print_results(&results, format);
    Ok(exit_code(&results))
}
