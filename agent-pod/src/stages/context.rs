//! What a stage sees of its document: the document itself and the outputs of the stages before it.

use std::{collections::BTreeSet, sync::Arc};

use crds::{ModelTask, Work};
use flow::{Allowance, DocumentRecord, Plan, PlannedStage, StageState, StageStatus, Task};
use minijinja::{Value as TemplateValue, value::Serde};
use serde_json::{Map, Value};

use super::Failure;
use crate::runtime::{progress, providers::Guard, services::Services, templates::Parts};

/// The view of one stage on its document.
pub(super) struct Context {
    pub document: String,
    pub source: String,
    pub tenant: String,
    /// Pool that does the work: the stage's own, or that of a fallback.
    pub pool: String,
    /// How often the stage has fallen back.
    pub level: u32,
    /// Model that a fallback names instead of the stage's own.
    pub other_model: Option<String>,
    /// How calls of the stage's model are guarded.
    pub guard: Guard,
    /// What the document may still take.
    pub budget: Budget,
    /// Digest of the submitted bytes.
    pub payload: String,
    /// Text of the document: what its parse stage made, else the bytes as UTF-8.
    pub text: Text,
    /// The stage's round.
    pub round: u32,
    /// Where token pieces go: the events subject, if the pipeline streams.
    pub stream: Option<String>,
    metadata: Value,
    template: TemplateValue,
    outputs: Map<String, Value>,
}

/// What a document may still take of its pipeline's budget.
pub(super) struct Budget {
    allowance: Allowance,
    price: Option<crds::Price>,
    /// Whether the work is of a kind that takes from the budget.
    counts: bool,
    /// What was taken before, in words.
    used: String,
}

impl Budget {
    fn of(plan: &Plan, record: &DocumentRecord, stage: &PlannedStage, level: u32) -> Self {
        let model = plan.model_at(&stage.name, level);
        let paid = |model: &crds::Model| model.task == ModelTask::Generate || model.source.openai.is_some();
        Self {
            allowance: record.allowance(plan),
            price: model.and_then(|model| model.price),
            counts: model.is_some_and(paid),
            used: record.budget_used(plan),
        }
    }

    /// Most tokens that an answer may have.
    pub fn answer_tokens(&self) -> Option<u64> {
        self.allowance.answer_tokens(self.price.as_ref()).filter(|_| self.counts)
    }

    /// Why an attempt does not start, or why its result cannot be used.
    pub fn exceeded(&self, why: &str) -> Failure {
        Failure::permanent(flow::reason::BUDGET_EXCEEDED, format!("{why}: the work before took {}", self.used))
    }
}

/// Text with the digest that names it.
#[derive(Clone)]
pub(super) struct Text {
    pub digest: String,
    pub text: Arc<str>,
}

impl Context {
    pub async fn load(
        services: &Arc<Services>,
        plan: &Plan,
        record: &DocumentRecord,
        stage: &PlannedStage,
        task: &Task,
    ) -> Result<Self, Failure> {
        let mut outputs = Map::new();
        let mut text_digest = None;
        for name in ancestors(plan, stage) {
            let Some(StageStatus::Done(completion)) = record.stages.get(&name).map(|state| &state.status) else {
                continue;
            };
            let output = services.json(&completion.output).await?;
            if let Some(Work::Parse(_)) = plan.stage(&name).and_then(|stage| stage.spec.work()) {
                text_digest = output.get("text").and_then(Value::as_str).map(str::to_owned);
            }
            outputs.insert(name, output);
        }
        let mut previous = Map::new();
        for (name, digest) in &record.previous {
            previous.insert(name.clone(), services.json(digest).await?);
        }
        let metadata = match &record.submission.metadata {
            Some(digest) => services.json(digest).await?,
            None => Value::Object(Map::new()),
        };
        let is_parse = matches!(stage.spec.work(), Some(Work::Parse(_)));
        let text = if is_parse {
            Text { digest: record.submission.payload.clone(), text: Arc::from("") }
        } else {
            let digest = text_digest.unwrap_or_else(|| record.submission.payload.clone());
            let bytes = services.ports.payloads.get(&digest).await?;
            Text { text: Arc::from(String::from_utf8_lossy(&bytes)), digest }
        };
        let level = record.stages.get(&stage.name).map_or(0, StageState::level);
        let model = plan.model_at(&stage.name, level).map_or_else(String::new, |model| model.name.clone());
        let breaker = plan.spec.circuit_breaker;
        let guard = if model.is_empty() { model } else { format!("{}/{model}", task.pool) };
        let document = minijinja::context! {
            id => record.submission.document.as_str(),
            source => record.submission.source.as_str(),
            text => TemplateValue::from(Arc::clone(&text.text)),
            metadata => TemplateValue::from(Serde(&metadata)),
        };
        let template = minijinja::context! {
            document,
            stages => TemplateValue::from(Serde(&outputs)),
            previous => TemplateValue::from(Serde(&previous)),
            round => task.round,
        };
        Ok(Self {
            document: record.submission.document.clone(),
            source: record.submission.source.clone(),
            tenant: record.submission.tenant.clone(),
            pool: task.pool.clone(),
            level,
            other_model: stage.fallback(level).and_then(|fallback| fallback.model.clone()),
            guard: Guard { breaker, model: guard },
            budget: Budget::of(plan, record, stage, level),
            payload: record.submission.payload.clone(),
            text,
            round: task.round,
            stream: plan
                .spec
                .streaming
                .then(|| progress::tokens_subject(&plan.name, &record.submission.document, &stage.name)),
            metadata,
            template,
            outputs,
        })
    }

    /// Renders a template; what is wrong in it is the pipeline's fault and cannot be retried.
    pub async fn render(&self, services: &Services, field: &str, template: &str) -> Result<String, Failure> {
        services
            .templates
            .render(template, &self.template)
            .await
            .map_err(|error| Failure::permanent("TemplateFailed", format!("{field}: {}", crate::error::chain(&error))))
    }

    /// Renders a template and tells apart what it says itself and what was filled in.
    pub async fn render_parts(&self, services: &Services, field: &str, template: &str) -> Result<Parts, Failure> {
        services
            .templates
            .render_parts(template, &self.template)
            .await
            .map_err(|error| Failure::permanent("TemplateFailed", format!("{field}: {}", crate::error::chain(&error))))
    }

    /// What was said about the document; an object.
    pub fn metadata(&self) -> &Value {
        &self.metadata
    }

    /// Whether the stage's `when` holds.
    pub async fn holds(&self, services: &Services, expression: &str) -> Result<bool, Failure> {
        services
            .templates
            .holds(expression, &self.template)
            .await
            .map_err(|error| Failure::permanent("TemplateFailed", format!("when: {}", crate::error::chain(&error))))
    }

    /// The output of an earlier stage.
    pub fn output(&self, stage: &str) -> Option<&Value> {
        self.outputs.get(stage)
    }
}

/// All stages that come before, in the plan's order: only they have certainly ended when this one starts.
fn ancestors(plan: &Plan, stage: &PlannedStage) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = stage.predecessors.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        if found.insert(name.to_owned())
            && let Some(before) = plan.stage(name)
        {
            open.extend(before.predecessors.iter().map(String::as_str));
        }
    }
    plan.stages().iter().map(|stage| stage.name.clone()).filter(|name| found.contains(name)).collect()
}
