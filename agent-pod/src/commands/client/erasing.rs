//! `docket erase --gateway`.

use reqwest::Method;
use serde_json::Value;

use super::connection::Connection;
use crate::{Result, args::ClientArguments};

/// Says that it is meant.
const ERASE: [(&str, &str); 1] = [("erase", "true")];

/// The reports on documents, or on a tenant.
pub(in crate::commands) async fn erase(
    client: &ClientArguments,
    documents: &[String],
    tenant: Option<&str>,
) -> Result<Vec<Value>> {
    let mut reports = Vec::new();
    let Some(tenant) = tenant else {
        let connection = Connection::open(client).await?;
        for document in documents {
            let request = || connection.of_pipeline(Method::DELETE, &["documents", document], &ERASE);
            reports.push(connection.ask(request).await??);
        }
        return Ok(reports);
    };
    let connection = Connection::to_gateway(client)?;
    loop {
        let request = || connection.request(Method::DELETE, &["v1", "tenants", tenant], &ERASE);
        let report = connection.ask(request).await??;
        let again = report["more"] == true && report["complete"] == true;
        reports.push(report);
        if !again {
            return Ok(reports);
        }
    }
}
