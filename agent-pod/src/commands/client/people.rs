//! `docket approve --gateway`.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::json;

use super::{connection::Connection, reading::print_results};
use crate::{
    Result,
    args::{ApproveArguments, ClientArguments, Format},
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
