//! `docket approve --gateway` and `docket feedback`.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    connection::Connection,
    reading::{print_results, print_values},
};
use crate::{
    Error, Result,
    args::{ApproveArguments, ClientArguments, FeedbackArguments, Format},
    commands::approve,
};

/// Lists what waits for a person: questions of stages, then audits.
pub(in crate::commands) async fn pending(client: &ClientArguments, format: Format) -> Result<ExitCode> {
    let connection = Connection::open(client).await?;
    let mut items = connection.all("approvals", "approvals", &[]).await?;
    items.extend(connection.all("audits", "audits", &[]).await?);
    approve::print_pending(items, format);
    Ok(ExitCode::SUCCESS)
}

/// Answers for documents and prints what they have come to.
pub(in crate::commands) async fn answer(client: &ClientArguments, arguments: &ApproveArguments) -> Result<ExitCode> {
    let connection = Connection::open(client).await?;
    let said = json!({"approve": !arguments.reject, "stage": arguments.stage, "comment": arguments.comment});
    let mut results = Vec::new();
    for document in &arguments.documents {
        let request = || connection.of_pipeline(Method::POST, &["documents", document, "approval"], &[]).json(&said);
        results.push(connection.ask(request).await??);
    }
    print_results(&results, arguments.format);
    Ok(ExitCode::SUCCESS)
}

/// Tells a head what to learn, or lists what was said.
pub(in crate::commands) async fn feedback(arguments: FeedbackArguments) -> Result<ExitCode> {
    let connection = Connection::open(&arguments.client).await?;
    let keys = ["document", "head", "label", "score", "by", "at"];
    if arguments.list {
        let said = connection.all("feedback", "feedback", &[]).await?;
        print_values(said, &keys, arguments.format);
        return Ok(ExitCode::SUCCESS);
    }
    let document = arguments.document.as_deref().ok_or_else(|| Error::usage("name a document"))?;
    let said = json!({"head": arguments.head, "label": arguments.label, "score": arguments.score});
    let request = || connection.of_pipeline(Method::POST, &["documents", document, "feedback"], &[]).json(&said);
    let kept: Value = connection.ask(request).await??;
    print_values(vec![kept], &["document", "head", "changed"], arguments.format);
    Ok(ExitCode::SUCCESS)
}
