//! Writing by a model: free text, or an answer that matches a JSON schema.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use crds::{Extract, Generate, ModelTask, Role, Sampling};
use engine::{
    Class,
    generation::{ChatMessage, ChatRole, Finish, GenerateRequest},
};
use flow::{Plan, PlannedStage};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Failure, Job, context::Context, heads::engine_failure, roles::system_prompt};
use crate::runtime::{cache::Output, services::Services};

pub(super) struct GenerateJob {
    model: String,
    request: GenerateRequest,
    stream: Option<String>,
}

pub(super) async fn prepare(
    services: &Services,
    plan: &Plan,
    stage: &PlannedStage,
    generate: &Generate,
    context: &Context,
) -> Result<GenerateJob, Failure> {
    let system = match &generate.system {
        Some(template) => context.render(services, "generate.system", template).await?,
        None => system_prompt(generate.role).to_owned(),
    };
    let prompt = context.render(services, "generate.prompt", &generate.prompt).await?;
    Ok(GenerateJob {
        model: services.models.stage_model(plan, &stage.spec.pool, generate.model.as_deref(), ModelTask::Generate)?,
        request: GenerateRequest {
            messages: messages(system, prompt),
            max_tokens: generate.max_tokens as usize,
            sampling: sampling(&generate.sampling),
            stop: generate.stop.clone(),
            schema: generate.output.as_ref().map(|output| Value::Object(output.schema.0.clone())),
        },
        stream: context.stream.clone(),
    })
}

pub(super) async fn prepare_extract(
    services: &Services,
    plan: &Plan,
    stage: &PlannedStage,
    extract: &Extract,
    context: &Context,
) -> Result<GenerateJob, Failure> {
    let system = match &extract.system {
        Some(template) => context.render(services, "extract.system", template).await?,
        None => system_prompt(Role::Extraction).to_owned(),
    };
    let prompt = match &extract.prompt {
        Some(template) => context.render(services, "extract.prompt", template).await?,
        None => context.text.text.to_string(),
    };
    Ok(GenerateJob {
        model: services.models.stage_model(plan, &stage.spec.pool, extract.model.as_deref(), ModelTask::Generate)?,
        request: GenerateRequest {
            messages: messages(system, prompt),
            max_tokens: extract.max_tokens as usize,
            sampling: sampling(&extract.sampling),
            stop: Vec::new(),
            schema: Some(Value::Object(extract.schema.0.clone())),
        },
        stream: context.stream.clone(),
    })
}

fn messages(system: String, prompt: String) -> Vec<ChatMessage> {
    vec![ChatMessage { role: ChatRole::System, content: system }, ChatMessage { role: ChatRole::User, content: prompt }]
}

#[expect(clippy::cast_possible_truncation, reason = "probabilities and temperatures lose nothing that matters")]
fn sampling(sampling: &Sampling) -> engine::generation::Sampling {
    engine::generation::Sampling {
        temperature: sampling.temperature as f32,
        top_p: sampling.top_p.map(|value| value as f32),
        top_k: sampling.top_k.map(|value| value as usize),
        repetition_penalty: sampling.repetition_penalty.map(|value| value as f32),
        seed: u64::from(sampling.seed),
    }
}

#[async_trait]
impl Job for GenerateJob {
    fn key(&self, services: &Services) -> Option<Vec<String>> {
        // Parameters and schema are in the stage's specification; the seed too, so even sampled answers repeat.
        let mut key = vec![services.engine.digest(&self.model).unwrap_or_default().to_owned()];
        key.extend(self.request.messages.iter().map(|message| message.content.clone()));
        Some(key)
    }

    async fn run(&self, services: &Arc<Services>) -> Result<Output, Failure> {
        let tokens = self.stream.as_ref().map(|subject| stream(services, subject.clone()));
        let generated = services.engine.generate(&self.model, self.request.clone(), Class::Normal, None, tokens).await;
        let generated = generated.map_err(|error| engine_failure(&error, &self.model))?;
        let value = if self.request.schema.is_some() {
            serde_json::from_str(&generated.text).map_err(|error| {
                let message = format!("the answer is not whole JSON ({error}); raise maxTokens");
                Failure::permanent("InvalidOutput", message).with_model(&self.model)
            })?
        } else {
            json!({"text": generated.text.trim(), "finish": if generated.finish == Finish::Stop { "stop" } else { "length" }})
        };
        Ok(Output {
            value,
            references: Vec::new(),
            prompt_tokens: generated.prompt_tokens as u64,
            completion_tokens: generated.completion_tokens as u64,
            model: Some(self.model.clone()),
        })
    }
}

/// Numbers the pieces and passes them on to whoever watches; losing one loses no document.
fn stream(services: &Services, subject: String) -> mpsc::UnboundedSender<String> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<String>();
    let events = Arc::clone(&services.ports.events);
    tokio::spawn(async move {
        let mut sequence = 0_u64;
        while let Some(text) = receiver.recv().await {
            let body = json!({"sequence": sequence, "text": text}).to_string();
            if let Err(error) = events.publish(&subject, Bytes::from(body)).await {
                tracing::debug!(%error, "a piece of text was not passed on");
            }
            sequence += 1;
        }
    });
    sender
}
