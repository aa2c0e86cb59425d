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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use flow::{Effect, Submission};

    use super::*;
    use crate::{
        runtime::{models, progress, state::State},
        stages::{Executed, execute},
    };

    const PIPELINE: &str = "
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: writers}
spec:
  models: [{name: small, task: Generate, source: {catalog: smollm2-135m-instruct}, contextTokens: 256}]
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: one}
spec:
  stages: [{name: draft, pool: writers, generate: {prompt: 'Name three animals.', maxTokens: 12}}]
";

    /// The answer of a stage and the pieces that a watcher of its tokens got; `None` where there is no model.
    #[allow(clippy::print_stderr, reason = "a test that skips says so")]
    async fn answer_and_pieces(pipeline: &str) -> Option<(String, Vec<Value>)> {
        let cache = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/docket/models"));
        let models = std::env::var_os("DOCKET_MODELS").map(PathBuf::from).or_else(cache)?;
        if !models.join("smollm2-135m-instruct").is_dir() {
            eprintln!("skipped: get the model with docket model pull smollm2-135m-instruct");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pipeline.yaml");
        std::fs::write(&file, pipeline).expect("a file");
        let resources = crds::file::read(&[file]).expect("a valid file");
        let pools: BTreeMap<_, _> =
            resources.pools.iter().map(|pool| (pool.name().to_owned(), pool.resource.spec.clone())).collect();
        let spec = &resources.pipelines[0].resource.spec;
        let plan = Arc::new(flow::compile("one", 1, spec, &pools).expect("a plan"));
        let state = State::open(folder.path()).expect("a state folder");
        let (engine, names) = models::start(&[Arc::clone(&plan)], Some(&models)).await.expect("an engine");
        let services = Arc::new(Services::open(&state, engine, names).expect("services"));
        let submission = Submission {
            document: "text".to_owned(),
            tenant: "local".to_owned(),
            source: "text".to_owned(),
            payload: services.ports.payloads.put(Bytes::from("some text")).await.expect("a payload"),
            metadata: None,
            priority: crds::Priority::Normal,
            deadline: None,
            bytes: None,
        };
        let first = flow::submit(&plan, submission, 1);
        let Some(Effect::Publish(task)) = first.effects.first() else { panic!("no task: {:?}", first.effects) };
        let mut watched =
            services.ports.events.watch(&progress::tokens_prefix("one", "text")).await.expect("a watcher");
        let done = match execute(&services, &plan, &first.record, task).await {
            Ok(Executed::Done(done)) => done,
            Ok(Executed::Skipped | Executed::Asks { .. }) => panic!("it has no condition"),
            Err(failure) => panic!("{failure:?}"),
        };
        let answer = services.json(&done.output).await.expect("an output");
        // Whoever still sends holds the ports: without them the watcher's end is reached.
        drop((services, state));
        let mut pieces = Vec::new();
        while let Some((_, body)) = watched.recv().await {
            pieces.push(serde_json::from_slice(&body).expect("JSON"));
        }
        Some((answer["text"].as_str().expect("a text").to_owned(), pieces))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tokens_reach_watchers_in_order_unless_streaming_is_off() {
        let Some((answer, pieces)) = answer_and_pieces(PIPELINE).await else { return };
        assert!(pieces.len() > 3, "{pieces:?}");
        let text: String = pieces.iter().map(|piece| piece["text"].as_str().expect("a text")).collect();
        assert_eq!(text.trim(), answer);
        let numbers: Vec<_> = pieces.iter().map(|piece| piece["sequence"].as_u64().expect("a number")).collect();
        assert!(numbers.iter().copied().eq(0..pieces.len() as u64), "{numbers:?}");
        let silent = PIPELINE.replace("spec:\n  stages", "spec:\n  streaming: false\n  stages");
        let (same, pieces) = answer_and_pieces(&silent).await.expect("a model");
        assert_eq!(same, answer);
        assert!(pieces.is_empty(), "{pieces:?}");
    }
}
