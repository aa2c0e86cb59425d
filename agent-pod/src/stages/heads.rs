//! Labels and scores by small trained heads over the document's vector.

use std::sync::Arc;

use async_trait::async_trait;
use engine::Class;
use flow::Plan;
use serde_json::{Map, Value, json};

use super::{
    Failure, Job,
    context::{Context, Text},
};
use crate::runtime::{
    cache::Output,
    heads::{Trained, TrainedHead},
    providers::Guard,
    services::{Embedded, ModelError, Services},
};

/// Tokens of the pieces that a document's vector is the mean of.
const PIECE_TOKENS: usize = 128;
/// Pieces that count; more of a long document says little new about its kind.
const MAX_PIECES: usize = 32;

pub(super) struct HeadJob {
    model: String,
    head: Arc<Trained>,
    text: Text,
    guard: Guard,
}

pub(super) fn prepare(services: &Services, plan: &Plan, head: &str, context: &Context) -> Result<HeadJob, Failure> {
    let spec = plan.spec.heads.iter().find(|spec| spec.name == head);
    let spec = spec.ok_or_else(|| Failure::permanent("UnknownHead", format!("the plan has no head \"{head}\"")))?;
    let model = services.models.stage_model(plan, &context.pool, Some(&spec.embedder), crds::ModelTask::Embed)?;
    let trained = services.heads.get(&plan.name, head).ok_or_else(|| {
        Failure::permanent(
            "HeadUntrained",
            format!("head \"{head}\" has not been trained: give labels with --feedback FILE (lines {{\"document\", \"head\", \"label\"}}), or to a gateway with docket feedback"),
        )
    })?;
    Ok(HeadJob { model, head: trained, text: context.text.clone(), guard: context.guard.clone() })
}

#[async_trait]
impl Job for HeadJob {
    fn key(&self, services: &Services) -> Option<Vec<String>> {
        Some(vec![services.digest(&self.model), self.head.version.clone(), self.text.digest.clone()])
    }

    async fn run(&self, services: &Arc<Services>) -> Result<Output, Failure> {
        let pieces = pieces(services, &self.model, &self.text.text)?;
        let embedded = services.embed_guarded(&self.model, &pieces, (Class::Normal, None), &self.guard).await;
        let Embedded { vectors, tokens } = embedded.map_err(|error| engine_failure(&error, &self.model))?;
        let vector = mean(&vectors);
        let value = match &self.head.head {
            TrainedHead::Classifier(classifier) => {
                let prediction = classifier.predict(&vector);
                let all: Map<String, Value> =
                    prediction.probabilities.iter().map(|(label, p)| (label.clone(), json!(rounded(*p)))).collect();
                json!({"label": prediction.label, "probability": rounded(prediction.probability), "probabilities": all})
            }
            TrainedHead::Anomaly(anomaly) => json!({"score": rounded(anomaly.score(&vector))}),
            TrainedHead::Quality(quality) => json!({"score": rounded(quality.score(&vector))}),
        };
        Ok(Output {
            value,
            references: Vec::new(),
            prompt_tokens: tokens,
            completion_tokens: 0,
            model: Some(self.model.clone()),
        })
    }
}

fn rounded(value: f32) -> f64 {
    (f64::from(value) * 10_000.0).round() / 10_000.0
}

/// The mean of the vectors of a text's pieces, of length 1: what heads read.
pub async fn document_vector(
    services: &Arc<Services>,
    model: &str,
    text: &str,
    class: Class,
) -> Result<Vec<f32>, Failure> {
    let pieces = pieces(services, model, text)?;
    let vectors = services.embed(model, &pieces, class, None).await.map_err(|error| engine_failure(&error, model))?;
    Ok(mean(&vectors))
}

fn pieces(services: &Services, model: &str, text: &str) -> Result<Vec<String>, Failure> {
    let offsets = services.token_offsets(model, text).map_err(|error| engine_failure(&error, model))?;
    let tokens = services.max_text_tokens(model).unwrap_or(PIECE_TOKENS).min(PIECE_TOKENS);
    let mut pieces: Vec<String> = knowledge::chunk(text, &offsets, tokens, 0)
        .iter()
        .take(MAX_PIECES)
        .map(|piece| text[piece.start..piece.end].to_owned())
        .collect();
    if pieces.is_empty() {
        pieces.push(String::new());
    }
    Ok(pieces)
}

fn mean(vectors: &[Vec<f32>]) -> Vec<f32> {
    let mut mean = vec![0.0_f32; vectors.first().map_or(0, Vec::len)];
    for vector in vectors {
        mean.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
    }
    let length = mean.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    mean.iter_mut().for_each(|value| *value /= length);
    mean
}

/// The text of a document outside a pipeline: parsed like a parse stage does.
pub async fn plain_text(services: &Services, bytes: &[u8], name: &str) -> Result<String, Failure> {
    let limits = knowledge::parse::Limits::default();
    let parsed = knowledge::parse::parse(bytes, name, &limits, &services.parser).await;
    parsed.map(|parsed| parsed.text).map_err(|error| Failure::permanent(error.reason(), crate::error::chain(&error)))
}

/// What a model's refusal means for the document.
pub(super) fn engine_failure(error: &ModelError, model: &str) -> Failure {
    let message = crate::error::chain(error);
    let error = match error {
        ModelError::Engine(error) => error,
        ModelError::Provider(error) => {
            let failure = if error.is_transient() { Failure::transient } else { Failure::permanent };
            return failure(error.reason(), message).not_before(error.after()).with_model(model);
        }
    };
    let failure = match error {
        engine::Error::EngineStopped { .. } => return Failure::System(message),
        engine::Error::Overloaded => Failure::transient("Overloaded", message),
        engine::Error::MeetDeadline => Failure::transient("Timeout", message),
        engine::Error::Generate(_) => Failure::permanent("GenerationFailed", message),
        engine::Error::Tokenise(_) => Failure::permanent("TokenizationFailed", message),
        _ => Failure::permanent("InferenceFailed", message),
    };
    failure.with_model(model)
}
