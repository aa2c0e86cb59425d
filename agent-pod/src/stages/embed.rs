//! Text to vectors: as the stage's output, or into a knowledge base.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use crds::{Chunking, Embed};
use engine::Class;
use flow::{Plan, PlannedStage};
use knowledge::{DocumentText, Ingestor};
use serde_json::json;

use super::{
    Failure, Job,
    context::{Context, Text},
    heads::engine_failure,
};
use crate::runtime::{
    cache::Output,
    services::{Base, Embedder, Services},
};

pub(super) enum EmbedJob {
    Vectors { model: String, text: Text, chunking: Chunking },
    Knowledge { base: Base, document: String, source: String, tenant: String, text: Text },
}

pub(super) async fn prepare(
    services: &Arc<Services>,
    plan: &Plan,
    stage: &PlannedStage,
    embed: &Embed,
    context: &Context,
) -> Result<EmbedJob, Failure> {
    let text = context.text.clone();
    if let Some(name) = &embed.knowledge {
        let base = services.knowledge(plan, name, &stage.spec.pool).await;
        let base = base.map_err(|error| Failure::System(crate::error::chain(&error)))?;
        return Ok(EmbedJob::Knowledge {
            base,
            document: context.document.clone(),
            source: context.source.clone(),
            tenant: context.tenant.clone(),
            text,
        });
    }
    let model = services.models.stage_model(plan, &stage.spec.pool, embed.model.as_deref(), crds::ModelTask::Embed)?;
    let mut chunking = Chunking::default();
    if let Some(most) = services.engine.max_text_tokens(&model).and_then(|most| u32::try_from(most).ok()) {
        chunking.tokens = chunking.tokens.min(most);
    }
    Ok(EmbedJob::Vectors { model, text, chunking })
}

#[async_trait]
impl Job for EmbedJob {
    fn key(&self, services: &Services) -> Option<Vec<String>> {
        match self {
            Self::Vectors { model, text, .. } => {
                Some(vec![services.engine.digest(model).unwrap_or_default().to_owned(), text.digest.clone()])
            }
            // The table is the result; adding the same document twice changes nothing.
            Self::Knowledge { .. } => None,
        }
    }

    async fn run(&self, services: &Arc<Services>) -> Result<Output, Failure> {
        match self {
            Self::Vectors { model, text, chunking } => {
                let offsets =
                    services.engine.token_offsets(model, &text.text).map_err(|e| engine_failure(&e, model))?;
                let chunks =
                    knowledge::chunk(&text.text, &offsets, chunking.tokens as usize, chunking.overlap as usize);
                let texts: Vec<String> = chunks.iter().map(|c| text.text[c.start..c.end].to_owned()).collect();
                let vectors =
                    services.embed(model, &texts, Class::Normal, None).await.map_err(|e| engine_failure(&e, model))?;
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
                let tokens = chunks.iter().map(|chunk| chunk.tokens as u64).sum();
                Ok(Output {
                    value,
                    references: vec![payload],
                    prompt_tokens: tokens,
                    completion_tokens: 0,
                    model: Some(model.clone()),
                })
            }
            Self::Knowledge { base, document, source, tenant, text } => {
                let embedder = Arc::new(Embedder { services: Arc::clone(services), model: base.model.clone() });
                let mut ingestor = Ingestor::new(
                    base.base.clone(),
                    embedder,
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
                    .map_err(|error| Failure::transient("KnowledgeFailed", crate::error::chain(&error)))?;
                let counts = ingestor.finish().await;
                let counts =
                    counts.map_err(|error| Failure::transient("KnowledgeFailed", crate::error::chain(&error)))?;
                let value =
                    json!({"chunks": counts.chunks, "embedded": counts.embedded, "unchanged": counts.unchanged > 0});
                Ok(Output {
                    value,
                    references: Vec::new(),
                    prompt_tokens: 0,
                    completion_tokens: 0,
                    model: Some(base.model.clone()),
                })
            }
        }
    }
}
