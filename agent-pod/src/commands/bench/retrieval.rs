//! Ingestion and search of a knowledge base of real sentences.

use std::{path::Path, sync::Arc, time::Instant};

use engine::Class;
use knowledge::{DocumentText, Ingestor, KnowledgeBase, Query};

use super::measure::{self, Measured};
use crate::{
    Error, Result,
    runtime::{
        models::{self, ModelNames},
        providers::Guard,
        services::{Embedder, Services},
        state::State,
    },
};

const SUITE: &str = "retrieval";
const EMBEDDER: &str = "minilm";
const TEXT: &str = include_str!("../../../../LICENSE");
const DOCUMENTS: usize = 300;
const QUERIES: usize = 50;
const CHUNK_TOKENS: usize = 64;

pub(super) async fn run(folder: Option<&Path>, rounds: usize) -> Result<Vec<Measured>> {
    let engine = models::start_catalogue(&[EMBEDDER], folder).await?;
    let sentences: Vec<&str> = knowledge::sentences(TEXT).into_iter().map(|(start, end)| &TEXT[start..end]).collect();
    let mut ingested = (Vec::new(), 0.0);
    let mut again = (Vec::new(), 0.0);
    let mut searched = (Vec::new(), 0.0);
    let mut embedded_and_searched = (Vec::new(), 0.0);
    for round in 0..=rounds {
        let place = tempfile::tempdir().map_err(Error::system("make a folder"))?;
        let state = State::open(place.path())?;
        let services = Arc::new(Services::open(&state, engine.clone(), ModelNames::default())?);
        let dimensions = engine.dimensions(EMBEDDER).unwrap_or(0);
        let digest = engine.digest(EMBEDDER).unwrap_or_default();
        let base = KnowledgeBase::open(&place.path().join("knowledge"), SUITE, dimensions, digest).await;
        let base = base.map_err(Error::system("open the knowledge base"))?;
        let first = fill(&services, &base, &sentences, round).await?;
        let second = fill(&services, &base, &sentences, round).await?;
        if round == 0 {
            continue;
        }
        for (into, (rate, cpu)) in [(&mut ingested, first), (&mut again, second)] {
            into.0.push(rate);
            into.1 += cpu;
        }
        let cpu = measure::cpu_seconds();
        for n in 0..QUERIES {
            let text = format!("{} {n}", sentences[(n * 7) % sentences.len()]);
            let begun = Instant::now();
            let vector = engine.embed(EMBEDDER, vec![text.clone()], Class::Interactive, None).await;
            let vector = vector.map_err(Error::system("embed a query"))?.vectors.pop();
            let embedded = begun.elapsed();
            let query = Query { text, vector, top_k: 10, vector_search: true, full_text: true, tenant: None };
            base.search(&query).await.map_err(Error::system("search"))?;
            searched.0.push((begun.elapsed() - embedded).as_secs_f64() * 1_000.0);
            embedded_and_searched.0.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        embedded_and_searched.1 += measure::cpu_seconds() - cpu;
    }
    Ok(vec![
        Measured::of(SUITE, "ingest 300 documents of 6 sentences", "documents/s", ingested.0, ingested.1),
        Measured::of(SUITE, "ingest them again, unchanged", "documents/s", again.0, again.1),
        Measured::of(SUITE, "search, vector and full text fused", "ms", searched.0, searched.1),
        Measured::of(SUITE, "embed the query and search", "ms", embedded_and_searched.0, embedded_and_searched.1),
    ])
}

async fn fill(services: &Arc<Services>, base: &KnowledgeBase, sentences: &[&str], round: usize) -> Result<(f64, f64)> {
    let (begun, cpu) = (Instant::now(), measure::cpu_seconds());
    let embedder = Arc::new(Embedder::new(services, EMBEDDER, Guard::default()));
    let mut ingestor = Ingestor::new(base.clone(), embedder, CHUNK_TOKENS, 0);
    for n in 0..DOCUMENTS {
        // Numbers make every sentence a new one: nothing is found among what is known.
        let line = |k: usize| format!("{} [{round}-{n}-{k}]", sentences[(n * 5 + k * 3) % sentences.len()]);
        let text = (0..6).map(line).collect::<Vec<_>>().join("\n\n");
        let document =
            DocumentText { document: format!("d{n}"), source: format!("d{n}.txt"), tenant: "local".to_owned(), text };
        ingestor.add(document).await.map_err(Error::system("ingest"))?;
    }
    ingestor.finish().await.map_err(Error::system("ingest"))?;
    Ok((DOCUMENTS as f64 / begun.elapsed().as_secs_f64(), measure::cpu_seconds() - cpu))
}
