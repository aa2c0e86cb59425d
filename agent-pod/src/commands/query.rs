//! `docket query`: chunks of a knowledge base that fit a text.

use std::{io::BufRead as _, path::Path, process::ExitCode, sync::Arc};

use crds::RetrievalStep;
use engine::reach::Reach;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ingest, print,
    run::{submit::TENANT, summary::one_line},
    table, validate,
};
use crate::{
    Error, Result,
    args::{Format, QueryArguments, Step},
    runtime::{models, services::Services, state::State},
    stages::{self, Failure},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryLine {
    id: String,
    text: String,
}

/// Searches and prints what was found.
pub(super) async fn query(arguments: QueryArguments) -> Result<ExitCode> {
    let plan = Arc::new(validate::plan(&arguments.file)?);
    let queries = match (&arguments.text, &arguments.queries) {
        (Some(text), _) => vec![QueryLine { id: "query".to_owned(), text: text.clone() }],
        (None, Some(path)) => read_queries(path)?,
        (None, None) => Vec::new(),
    };
    let state = State::open_existing(&arguments.state.folder)?;
    let (engine, names) =
        models::start(&[Arc::clone(&plan)], arguments.models.folder.as_deref(), &Reach::anybody()).await?;
    let services = Arc::new(Services::open(&state, engine, names)?);
    let base = ingest::open(&services, &plan, &arguments.knowledge).await?;
    let steps: Vec<RetrievalStep> = arguments
        .steps
        .iter()
        .map(|step| match step {
            Step::Ann => RetrievalStep::Ann,
            Step::FullText => RetrievalStep::FullText,
        })
        .collect();
    let mut rows = Vec::new();
    let mut found = Vec::new();
    for query in &queries {
        let hits = stages::search(&services, &base, &query.text, arguments.top_k as usize, &steps, TENANT).await;
        let hits = hits.map_err(|failure| match failure {
            Failure::Document { message, .. } | Failure::System(message) => {
                Error::system(format!("search for \"{}\"", query.id))(message)
            }
        })?;
        for hit in hits {
            match arguments.format {
                Format::Table => rows.push(vec![
                    query.id.clone(),
                    hit.rank.to_string(),
                    format!("{:.4}", hit.score),
                    format!("{}:{}-{}", hit.document, hit.start, hit.end),
                    one_line(&hit.text),
                ]),
                Format::Json | Format::Jsonl => found.push(json!({
                    "query": query.id, "document": hit.document, "chunk": hit.chunk, "rank": hit.rank,
                    "score": hit.score, "text": hit.text, "start": hit.start, "end": hit.end,
                })),
            }
        }
    }
    match arguments.format {
        Format::Table => print(&table(&["QUERY", "RANK", "SCORE", "PLACE", "TEXT"], &rows)),
        Format::Json => print(&Value::Array(found).to_string()),
        Format::Jsonl => found.iter().for_each(|hit| print(&hit.to_string())),
    }
    Ok(ExitCode::SUCCESS)
}

fn read_queries(path: &Path) -> Result<Vec<QueryLine>> {
    let open = |error: std::io::Error| Error::usage(format!("--queries {}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(open)?;
    let mut queries = Vec::new();
    for (number, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.map_err(open)?;
        if line.trim().is_empty() {
            continue;
        }
        queries.push(serde_json::from_str(&line).map_err(|error| {
            Error::usage(format!("{}:{}: not a query ({{\"id\", \"text\"}}): {error}", path.display(), number + 1))
        })?);
    }
    Ok(queries)
}
