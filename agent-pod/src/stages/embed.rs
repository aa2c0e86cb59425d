//! Text to vectors: as the stage's output, or into a knowledge base.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use crds::{Chunking, Embed};
use engine::Class;
use flow::Plan;
use knowledge::{Chunk, DocumentText, Ingestor};
use serde_json::json;

use super::{
    Failure, Job,
    context::{Context, Text},
    heads::engine_failure,
};
use crate::runtime::{
    cache::Output,
    computing::compute,
    providers::Guard,
    services::{Base, Embedded, Embedder, ModelError, Services},
};

pub(super) enum EmbedJob {
    Vectors { model: String, text: Text, chunking: Chunking, guard: Guard },
    Knowledge { base: Base, document: String, source: String, tenant: String, text: Text, guard: Guard },
}

pub(super) async fn prepare(
    services: &Arc<Services>,
    plan: &Plan,
    embed: &Embed,
    context: &Context,
) -> Result<EmbedJob, Failure> {
    let (text, guard) = (context.text.clone(), context.guard.clone());
    if let Some(name) = &embed.knowledge {
        let base = services.knowledge(plan, name, &context.pool).await;
        let base = base.map_err(|error| Failure::System(crate::error::chain(&error)))?;
        return Ok(EmbedJob::Knowledge {
            base,
            document: context.document.clone(),
            source: context.source.clone(),
            tenant: context.tenant.clone(),
            text,
            guard,
        });
    }
    let model = services.models.stage_model(plan, &context.pool, embed.model.as_deref(), crds::ModelTask::Embed)?;
    let mut chunking = Chunking::default();
    if let Some(most) = services.max_text_tokens(&model).and_then(|most| u32::try_from(most).ok()) {
        chunking.tokens = chunking.tokens.min(most);
    }
    Ok(EmbedJob::Vectors { model, text, chunking, guard })
}

#[async_trait]
impl Job for EmbedJob {
    fn key(&self, services: &Services) -> Option<Vec<String>> {
        match self {
            Self::Vectors { model, text, .. } => Some(vec![services.digest(model), text.digest.clone()]),
            // The table is the result; adding the same document twice changes nothing.
            Self::Knowledge { .. } => None,
        }
    }

    async fn run(&self, services: &Arc<Services>) -> Result<Output, Failure> {
        match self {
            Self::Vectors { model, text, chunking, guard } => {
                let (chunks, texts) = cut(services, model, text, chunking).await?;
                let embedded = services.embed_guarded(model, &texts, (Class::Normal, None), guard).await;
                let Embedded { vectors, tokens } = embedded.map_err(|error| engine_failure(&error, model))?;
                let bytes: Vec<u8> = vectors.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
                let payload = services.ports.payloads.put(Bytes::from(bytes)).await?;
                let places: Vec<_> =
                    chunks.iter().map(|c| json!({"start": c.start, "end": c.end, "tokens": c.tokens})).collect();
                let value = json!({
                    "model": model,
                    "dimensions": vectors.first().map_or(0, Vec::len),
                    "chunks": places,
                    "vectors": payload,
                });
                // A provider says itself what it has read.
                let counted = || chunks.iter().map(|chunk| chunk.tokens as u64).sum();
                let tokens = if services.models.provider(model).is_some() { tokens } else { counted() };
                Ok(Output {
                    value,
                    references: vec![payload],
                    prompt_tokens: tokens,
                    completion_tokens: 0,
                    model: Some(model.clone()),
                })
            }
            Self::Knowledge { base, document, source, tenant, text, guard } => {
                let embedder = Arc::new(Embedder::new(services, &base.model, guard.clone()));
                let mut ingestor = Ingestor::new(
                    base.base.clone(),
                    Arc::clone(&embedder) as Arc<dyn knowledge::Embedder>,
                    base.chunking.tokens as usize,
                    base.chunking.overlap as usize,
                );
                ingestor
                    .add(DocumentText {
                        document: document.clone(),
                        source: source.clone(),
                        tenant: tenant.clone(),
                        text: text.text.to_string(),
                    })
                    .await
                    .map_err(|error| ingest_failure(&error, &base.model))?;
                let counts = ingestor.finish().await;
                let counts = counts.map_err(|error| ingest_failure(&error, &base.model))?;
                let value =
                    json!({"chunks": counts.chunks, "embedded": counts.embedded, "unchanged": counts.unchanged > 0});
                Ok(Output {
                    value,
                    references: Vec::new(),
                    prompt_tokens: embedder.tokens(),
                    completion_tokens: 0,
                    model: Some(base.model.clone()),
                })
            }
        }
    }
}

/// The chunks of a text, and what stands in each.
async fn cut(
    services: &Arc<Services>,
    model: &str,
    text: &Text,
    chunking: &Chunking,
) -> Result<(Vec<Chunk>, Vec<String>), Failure> {
    let (tokens, overlap) = (chunking.tokens as usize, chunking.overlap as usize);
    let (services, tokenizer, text) = (Arc::clone(services), model.to_owned(), Arc::clone(&text.text));
    let cut = compute(move || -> Result<(Vec<Chunk>, Vec<String>), ModelError> {
        let offsets = services.token_offsets(&tokenizer, &text)?;
        let chunks = knowledge::chunk(&text, &offsets, tokens, overlap);
        let texts = chunks.iter().map(|chunk| text[chunk.start..chunk.end].to_owned()).collect();
        Ok((chunks, texts))
    });
    cut.await.map_err(|error| engine_failure(&error, model))
}

/// The model's own reason where it is the model that failed.
fn ingest_failure(error: &knowledge::IngestError, model: &str) -> Failure {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<ModelError>() {
            return engine_failure(error, model);
        }
        source = cause.source();
    }
    Failure::transient("KnowledgeFailed", crate::error::chain(error))
}
