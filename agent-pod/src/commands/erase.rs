//! `docket erase`: documents, or all of a tenant's, removed from everywhere, with a report of what was looked at.

use std::{process::ExitCode, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    cache, client, note, print,
    run::{submit::TENANT, summary::word},
    table,
};
use crate::{
    Error, Result,
    args::{EraseArguments, Format},
    results::{Rows, Sinks},
    runtime::{
        erasure::{Eraser, Folder, Opinions, Order, Place, Scope},
        metrics::Metrics,
        plans::Plans,
        state::State,
    },
};

/// Erases; exit code 1 where something may be left.
pub(super) async fn erase(arguments: EraseArguments) -> Result<ExitCode> {
    let reports = match arguments.remote.client(arguments.pipeline.as_ref()) {
        Some(client) => client::erase(&client, &arguments.documents, arguments.tenant.as_deref()).await?,
        None => in_folder(&arguments).await?,
    };
    Ok(show(&reports, arguments.format))
}

/// No other process has the folder, so nobody is waited for.
async fn in_folder(arguments: &EraseArguments) -> Result<Vec<Value>> {
    let redis = arguments.redis.as_deref().map(|url| cache::settings(url, Duration::ZERO)).transpose()?;
    let state = State::open_existing(&arguments.state.folder)?;
    let scopes: Vec<Scope> = match &arguments.tenant {
        Some(tenant) => vec![Scope::Tenant { tenant: tenant.clone() }],
        None => {
            let scope = |document: &String| Scope::Document {
                pipeline: arguments.pipeline.clone(),
                document: document.clone(),
            };
            arguments.documents.iter().map(scope).collect()
        }
    };
    let mut reports = Vec::new();
    for scope in scopes {
        // `docket ingest` leaves no record, and so no word of the knowledge base.
        let also = match &scope {
            Scope::Document { pipeline: None, document } => Order::of_ingested(TENANT, document),
            _ => Order::default(),
        };
        let folder = Folder { path: state.folder.clone(), services: None, redis: redis.clone(), also };
        let metrics = Arc::new(Metrics::default());
        let sinks = Sinks::new(Arc::clone(&state.ports.payloads), &state.folder, Arc::clone(&metrics));
        let places: Vec<Arc<dyn Place>> = vec![
            Arc::new(folder),
            Arc::new(Rows { sinks: Arc::new(sinks), plans: Vec::new() }),
            Arc::new(Opinions { records: Arc::clone(&state.ports.records) }),
        ];
        let eraser = Eraser {
            ports: state.ports.clone(),
            plans: Arc::new(Plans::new(Arc::clone(&state.ports.records))),
            metrics,
            places,
            wait: Duration::ZERO,
            settle: Duration::ZERO,
            turn: tokio::sync::Mutex::default(),
        };
        loop {
            let report = eraser.erase(scope.clone(), &|_| true).await.map_err(Error::system("erase"))?;
            let again = report.more && report.complete;
            reports.push(json!(report));
            if !again {
                break;
            }
        }
    }
    Ok(reports)
}

fn show(reports: &[Value], format: Format) -> ExitCode {
    match format {
        Format::Json => print(&json!(reports).to_string()),
        Format::Jsonl => reports.iter().for_each(|report| print(&report.to_string())),
        Format::Table => {
            for report in reports {
                print(&format!("{}: {} documents", name(&report["scope"]), report["documents"]));
                let rows: Vec<Vec<String>> = places(report)
                    .map(|place| {
                        let left = place["left"].as_array().map_or(0, Vec::len).to_string();
                        vec![word(&place["place"]), word(&place["removed"]), word(&place["absent"]), left]
                    })
                    .collect();
                print(&table(&["PLACE", "REMOVED", "ABSENT", "LEFT"], &rows));
            }
        }
    }
    let mut exit_code = ExitCode::SUCCESS;
    for report in reports {
        for place in places(report) {
            for left in place["left"].as_array().into_iter().flatten() {
                note(&format!("left: {}: {}: {}", name(&report["scope"]), word(&place["place"]), word(left)));
                exit_code = ExitCode::from(1);
            }
        }
        let found = report["documents"].as_u64() != Some(0)
            || places(report).any(|place| place["place"] != "kept vectors" && place["removed"].as_u64() != Some(0));
        if !found {
            note(&format!("{}: nothing was found", name(&report["scope"])));
        }
    }
    exit_code
}

fn places(report: &Value) -> impl Iterator<Item = &Value> {
    report["places"].as_array().into_iter().flatten()
}

fn name(scope: &Value) -> String {
    match (&scope["tenant"], &scope["document"]) {
        (Value::String(tenant), _) => format!("tenant \"{tenant}\""),
        (_, document) => format!("\"{}\"", word(document)),
    }
}
