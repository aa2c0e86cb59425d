//! Writing by a model: free text, or an answer that matches a JSON schema.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use crds::{Extract, Generate, ModelTask, OutputSchema, Role, Sampling};
use engine::generation::{self, ChatMessage, ChatRole, Finish, GenerateRequest};
use flow::Plan;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Failure, Job, context::Context, heads::engine_failure, roles::system_prompt};
use crate::runtime::{
    cache::Output,
    providers::Guard,
    services::{Generated, ModelError, Services},
};

pub(super) struct GenerateJob {
    model: String,
    request: GenerateRequest,
    stream: Option<String>,
    guard: Guard,
    /// Why the answer is not used, where it was cut short because no more tokens are left of the budget.
    cut: Option<Failure>,
}

pub(super) async fn prepare(
    services: &Services,
    plan: &Plan,
    generate: &Generate,
    context: &Context,
) -> Result<GenerateJob, Failure> {
    let system = match &generate.system {
        Some(template) => context.render(services, "generate.system", template).await?,
        None => system_prompt(generate.role).to_owned(),
    };
    let prompt = context.render(services, "generate.prompt", &generate.prompt).await?;
    let request = GenerateRequest {
        messages: messages(system, prompt),
        max_tokens: generate.max_tokens as usize,
        sampling: sampling(&generate.sampling),
        stop: generate.stop.clone(),
        schema: generate.output.as_ref().map(|output| Value::Object(output.schema.0.clone())),
    };
    GenerateJob::new(services, plan, context, generate.model.as_deref(), request)
}

pub(super) async fn prepare_extract(
    services: &Services,
    plan: &Plan,
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
    let request = GenerateRequest {
        messages: messages(system, prompt),
        max_tokens: extract.max_tokens as usize,
        sampling: sampling(&extract.sampling),
        stop: Vec::new(),
        schema: Some(Value::Object(extract.schema.0.clone())),
    };
    GenerateJob::new(services, plan, context, extract.model.as_deref(), request)
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

impl GenerateJob {
    fn new(
        services: &Services,
        plan: &Plan,
        context: &Context,
        model: Option<&str>,
        mut request: GenerateRequest,
    ) -> Result<Self, Failure> {
        let model = context.other_model.as_deref().or(model);
        let model = services.models.stage_model(plan, &context.pool, model, ModelTask::Generate)?;
        let left = context.budget.answer_tokens().map(|left| usize::try_from(left).unwrap_or(usize::MAX));
        let cut = left.filter(|left| *left < request.max_tokens).map(|left| {
            // A budget that is used up is found before the work starts.
            request.max_tokens = left.max(1);
            context.budget.exceeded(&format!("the {left} tokens that are left are not enough for the answer"))
        });
        Ok(Self { model, request, stream: context.stream.clone(), guard: context.guard.clone(), cut })
    }

    /// The value that an answer under a schema is.
    fn value(&self, services: &Services, schema: &Value, generated: &Generated) -> Result<Value, Failure> {
        let failed = |failure: Failure| {
            failure.with_model(&self.model).with_tokens(generated.prompt_tokens, generated.completion_tokens)
        };
        let external = services.models.provider(&self.model).is_some();
        let value: Value = serde_json::from_str(&generated.text).map_err(|error| {
            if external && generated.finish == Finish::Stop {
                let message = format!("the model ignored the output schema: its answer is not JSON ({error})");
                return failed(Failure::transient("InvalidOutput", message));
            }
            failed(Failure::permanent(
                "InvalidOutput",
                format!("the answer is not whole JSON ({error}); raise maxTokens"),
            ))
        })?;
        // What the engine decodes cannot leave the schema.
        if let (true, Value::Object(schema)) = (external, schema) {
            OutputSchema(schema.clone()).check(&value).map_err(|mismatch| {
                let message = format!("the model ignored the output schema: {mismatch}");
                failed(Failure::transient("InvalidOutput", message))
            })?;
        }
        Ok(value)
    }
}

#[async_trait]
impl Job for GenerateJob {
    fn key(&self, services: &Services) -> Option<Vec<String>> {
        // Parameters and schema are in the stage's specification; the seed too, so even sampled answers repeat.
        let mut key = vec![services.digest(&self.model)];
        key.extend(self.request.messages.iter().map(|message| message.content.clone()));
        if self.cut.is_some() && self.request.schema.is_some() {
            // Close to its last token an answer under a schema is led to its end.
            key.push(format!("within {} tokens", self.request.max_tokens));
        }
        Some(key)
    }

    async fn run(&self, services: &Arc<Services>) -> Result<Output, Failure> {
        let tokens = self.stream.as_ref().map(|subject| stream(services, subject.clone()));
        let generated = services.generate(&self.model, self.request.clone(), tokens, &self.guard).await;
        let generated = generated.map_err(|error| match (&self.cut, &error) {
            (Some(cut), ModelError::Engine(engine::Error::Generate(generation::Error::SchemaTooLong { .. }))) => {
                cut.clone().with_model(&self.model)
            }
            _ => engine_failure(&error, &self.model),
        })?;
        if let Some(cut) = self.cut.as_ref().filter(|_| generated.finish == Finish::Length) {
            let cut = cut.clone().with_model(&self.model);
            return Err(cut.with_tokens(generated.prompt_tokens, generated.completion_tokens));
        }
        let value = match &self.request.schema {
            Some(schema) => self.value(services, schema, &generated)?,
            None => {
                let finish = if generated.finish == Finish::Stop { "stop" } else { "length" };
                json!({"text": generated.text.trim(), "finish": finish})
            }
        };
        Ok(Output {
            value,
            references: Vec::new(),
            prompt_tokens: generated.prompt_tokens,
            completion_tokens: generated.completion_tokens,
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
