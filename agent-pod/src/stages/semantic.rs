//! Answers from nearly the same prompts: what a prompt's scope is, where it lies, and whether such an answer was right.
//!
//! Only what was filled into the templates is compared. The templates' own words are part of the scope, so that a long
//! instruction does not make two short documents near.

use std::sync::Arc;

use crds::{SemanticCache, Work};
use engine::Class;
use flow::{Plan, PlannedStage};
use serde_json::Value;

use super::{Failure, context::Context, document_vector};
use crate::runtime::{
    cache::{
        Question,
        semantic::{
            Near,
            guard::guard,
            shadow::{Compared, compare},
        },
    },
    services::Services,
    templates::Parts,
};

/// Lowest cosine of two answers in different words that say the same.
const SAME_ANSWER: f32 = 0.9;

/// Bytes of a token that is longer than any.
const LONGEST_TOKEN: usize = 64;

/// How a stage is answered by nearly the same prompts.
pub(super) struct Semantic<'a> {
    pub(super) spec: &'a SemanticCache,
    /// The engine's name of the model that compares.
    embedder: String,
}

impl<'a> Semantic<'a> {
    /// `None` where the stage is answered by the same requests alone.
    pub(super) fn of(services: &Services, plan: &'a Plan, stage: &PlannedStage) -> Option<Self> {
        let (spec, model) = plan.semantic(&stage.name)?;
        let embedder = services.models.get(plan, &stage.spec.pool, &model.name)?;
        Some(Self { spec, embedder })
    }

    /// Where a prompt lies, and among which others. `None`, which is counted, where it cannot be compared: the document
    /// lacks a field of the scope, nothing was filled in, or more than the model reads at once; what it would not read could
    /// be anything.
    pub(super) async fn near(
        &self,
        services: &Arc<Services>,
        (plan, stage): (&Plan, &PlannedStage),
        context: &Context,
        answering: &str,
    ) -> Result<Option<Near>, Failure> {
        let Some(values) = scope_values(&self.spec.scope, context.metadata()) else {
            services.cache.not_comparable();
            return Ok(None);
        };
        let parts = prompt_parts(services, stage, context).await?;
        let text =
            parts.iter().flat_map(|parts| &parts.fillings).map(|text| text.trim()).collect::<Vec<_>>().join("\n");
        let Some(vector) = self.vector(services, &text).await else { return Ok(None) };
        let versions = [&context.tenant, &plan.name, &plan.digest, &stage.name, &plan.stage_digest(&stage.name)];
        let models = [answering, services.engine.digest(&self.embedder).unwrap_or_default()];
        // A round that is answered by the one before would be for nothing.
        let round = context.round.to_string();
        let frames = parts.iter().map(|parts| parts.frame.as_str());
        let scope = super::digest(
            versions
                .into_iter()
                .map(String::as_str)
                .chain(models)
                .chain([round.as_str()])
                .chain(values.iter().map(String::as_str))
                .chain(frames),
        );
        #[expect(clippy::cast_possible_truncation, reason = "a bound for numbers that are as short")]
        let similarity = self.spec.similarity as f32;
        Ok(Some(Near {
            scope,
            question: Question { guard: guard(&text), vector },
            similarity,
            ttl: self.spec.ttl.0,
            most: self.spec.max_entries as usize,
        }))
    }

    async fn vector(&self, services: &Services, text: &str) -> Option<Vec<f32>> {
        let most = services.engine.max_text_tokens(&self.embedder)?;
        // Whole books need not be cut into tokens to see that they are too long.
        if text.len() > most * LONGEST_TOKEN {
            services.cache.not_comparable();
            return None;
        }
        let tokens = services.engine.token_offsets(&self.embedder, text).map(|offsets| offsets.len());
        if !matches!(tokens, Ok(tokens) if (1..=most).contains(&tokens)) {
            services.cache.not_comparable();
            return None;
        }
        match services.embed(&self.embedder, &[text.to_owned()], Class::Normal, None).await {
            Ok(vectors) => vectors.into_iter().next().map(unit),
            // The cache is no reason to fail: what the engine really cannot do, the stage's own work will say.
            Err(error) => {
                services.cache.not_compared();
                tracing::debug!(error = crate::error::chain(&error), "a prompt was not compared with others");
                None
            }
        }
    }

    /// Whether a kept answer says something else than the fresh one.
    pub(super) async fn is_wrong(
        &self,
        services: &Arc<Services>,
        kept: &Value,
        fresh: &Value,
    ) -> Result<bool, Failure> {
        let (kept, fresh) = match compare(kept, fresh) {
            Compared::Same => return Ok(false),
            Compared::Wrong => return Ok(true),
            Compared::Words(kept, fresh) => (kept, fresh),
        };
        let kept = document_vector(services, &self.embedder, &kept, Class::Bulk).await?;
        let fresh = document_vector(services, &self.embedder, &fresh, Class::Bulk).await?;
        Ok(kept.iter().zip(&fresh).map(|(kept, fresh)| kept * fresh).sum::<f32>() < SAME_ANSWER)
    }
}

/// The prompts of a stage, told apart into what its templates say and what was filled in.
async fn prompt_parts(services: &Services, stage: &PlannedStage, context: &Context) -> Result<Vec<Parts>, Failure> {
    let (system, prompt, fields) = match stage.spec.work() {
        Some(Work::Generate(generate)) => {
            (generate.system.as_deref(), Some(generate.prompt.as_str()), ["generate.system", "generate.prompt"])
        }
        Some(Work::Extract(extract)) => {
            (extract.system.as_deref(), extract.prompt.as_deref(), ["extract.system", "extract.prompt"])
        }
        _ => return Ok(Vec::new()),
    };
    let mut parts = Vec::new();
    if let Some(system) = system {
        parts.push(context.render_parts(services, fields[0], system).await?);
    }
    parts.push(match prompt {
        Some(prompt) => context.render_parts(services, fields[1], prompt).await?,
        // An extract stage without a prompt reads the text as it is.
        None => Parts { frame: String::new(), fillings: vec![context.text.text.to_string()] },
    });
    Ok(parts)
}

/// The values of the scope's fields; `None` where one is not there. A name and its value are told apart from others by being
/// JSON.
pub fn scope_values(names: &[String], metadata: &Value) -> Option<Vec<String>> {
    let value = |name: &String| {
        let value = metadata.get(name).filter(|value| !value.is_null())?;
        Some(Value::Array(vec![Value::String(name.clone()), value.clone()]).to_string())
    };
    names.iter().map(value).collect()
}

/// With length 1.
fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.iter_mut().for_each(|value| *value /= length);
    vector
}
