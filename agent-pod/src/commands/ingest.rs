//! `docket ingest`: documents into a knowledge base.

use std::{process::ExitCode, sync::Arc, time::Instant};

use engine::reach::Reach;
use indicatif::{ProgressBar, ProgressStyle};
use knowledge::{DocumentText, Ingestor};
use serde_json::{Value, json};

use super::{
    note, print,
    run::{submit::TENANT, summary::word},
    table, validate,
};
use crate::{
    Error, Result,
    args::{Format, IngestArguments},
    runtime::{
        inputs::{self, Input},
        models,
        providers::Guard,
        services::{Base, Embedder, Services},
        state::State,
    },
    stages::{self, Failure, MAX_BYTES},
};

/// Adds the documents; exit code 1 where some could not be read.
pub(super) async fn ingest(arguments: IngestArguments) -> Result<ExitCode> {
    let plan = Arc::new(validate::plan(&arguments.file)?);
    let documents = inputs::inputs(&arguments.input)?.take(arguments.limit.unwrap_or(usize::MAX));
    let state = State::open(&arguments.state.folder)?;
    let (engine, names) =
        models::start(&[Arc::clone(&plan)], arguments.models.folder.as_deref(), &Reach::anybody()).await?;
    let services = Arc::new(Services::open(&state, engine, names)?);
    let base = open(&services, &plan, &arguments.knowledge).await?;
    let begun = Instant::now();
    let embedder = Arc::new(Embedder::new(&services, &base.model, Guard::default()));
    let (tokens, overlap) = (base.chunking.tokens as usize, base.chunking.overlap as usize);
    let mut ingestor = Ingestor::new(base.base.clone(), embedder, tokens, overlap);
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} documents  {elapsed}  {msg}") {
        bar.set_style(style);
    }
    let mut refused = Vec::new();
    for input in documents {
        match text(&services, &input).await? {
            Ok(text) => {
                let document = DocumentText {
                    document: input.id.clone(),
                    source: input.source.clone(),
                    tenant: TENANT.to_owned(),
                    text,
                };
                ingestor.add(document).await.map_err(Error::system(format!("ingest \"{}\"", input.id)))?;
            }
            Err((reason, message)) => refused.push(json!({"document": input.id, "reason": reason, "message": message})),
        }
        bar.inc(1);
    }
    let counts = ingestor.finish().await.map_err(Error::system("write the knowledge base"))?;
    base.base.compact().await.map_err(Error::system("compact the knowledge base"))?;
    bar.finish_and_clear();
    let seconds = begun.elapsed().as_secs_f64();
    let version = base.base.version().await.map_err(Error::system("read the knowledge base"))?;
    let total = base.base.count().await.map_err(Error::system("read the knowledge base"))?;
    let value = json!({
        "knowledge": arguments.knowledge, "documents": counts.documents, "unchanged": counts.unchanged,
        "chunks": counts.chunks, "embedded": counts.embedded, "reused": counts.reused, "refused": refused,
        "chunksInTable": total, "version": version, "seconds": (seconds * 1_000.0).round() / 1_000.0,
        "documentsPerSecond": (counts.documents as f64 / seconds.max(0.001) * 100.0).round() / 100.0,
    });
    match arguments.format {
        Format::Table => print(&text_summary(&value)),
        Format::Json | Format::Jsonl => print(&value.to_string()),
    }
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A knowledge base of a plan, in the pool that can embed for it.
pub(super) async fn open(services: &Arc<Services>, plan: &flow::Plan, name: &str) -> Result<Base> {
    let Some(spec) = plan.spec.knowledge.iter().find(|knowledge| knowledge.name == name) else {
        let names: Vec<&str> = plan.spec.knowledge.iter().map(|knowledge| knowledge.name.as_str()).collect();
        return Err(Error::usage(format!(
            "pipeline \"{}\" has no knowledge \"{name}\"; it has: {}",
            plan.name,
            names.join(", ")
        )));
    };
    let pool = plan.pools.iter().find(|(_, pool)| pool.models.iter().any(|model| model.name == spec.embedder));
    let (pool, _) = pool.ok_or_else(|| {
        Error::usage(format!("no pool holds the model \"{}\" of knowledge \"{name}\"", spec.embedder))
    })?;
    services.knowledge(plan, name, pool).await
}

type Refused = (&'static str, String);

async fn text(services: &Services, input: &Input) -> Result<std::result::Result<String, Refused>> {
    let bytes = match input.read(MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(refusal) => return Ok(Err((refusal.reason, refusal.message))),
    };
    match stages::plain_text(services, &bytes, &input.source).await {
        Ok(text) => Ok(Ok(text)),
        Err(Failure::Document { reason, message, .. }) => Ok(Err((reason, message))),
        Err(Failure::System(message)) => Err(Error::system(format!("parse \"{}\"", input.id))(message)),
    }
}

fn text_summary(value: &Value) -> String {
    let refused = value["refused"].as_array().map_or(&[][..], Vec::as_slice);
    if !refused.is_empty() {
        let rows: Vec<Vec<String>> = refused
            .iter()
            .map(|entry| ["document", "reason", "message"].iter().map(|key| word(&entry[*key])).collect())
            .collect();
        note(&table(&["REFUSED", "REASON", "MESSAGE"], &rows));
    }
    format!(
        "{}: {} documents in {} s ({} a second), {} of them unchanged; {} chunks, {} embedded, {} reused; {} refused; \
         the table holds {} chunks at version {}",
        word(&value["knowledge"]),
        value["documents"],
        value["seconds"],
        value["documentsPerSecond"],
        value["unchanged"],
        value["chunks"],
        value["embedded"],
        value["reused"],
        refused.len(),
        value["chunksInTable"],
        value["version"],
    )
}
