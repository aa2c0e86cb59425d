//! What a pipeline does when a model is down or too dear.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::Span;

/// What is done instead of a stage that failed for good: a constant, or the work by another model.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.constant) != (has(self.model) || has(self.pool))").message("set either constant, or model, pool or both"))]
pub struct Fallback {
    /// Another model, of the stage's pool or of `pool`; for generate and extract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub model: Option<String>,
    /// Another AgentPool that does the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub pool: Option<String>,
    /// This output, marked; the document ends as partial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constant: Option<Constant>,
}

/// Any JSON object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Constant(pub serde_json::Map<String, serde_json::Value>);

impl JsonSchema for Constant {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Constant".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}

impl Fallback {
    /// The mark of a constant.
    pub const CONSTANT: &str = "constant";

    /// How results are marked that were made so: `model:NAME`, `pool:NAME` or `constant`.
    pub fn label(&self) -> String {
        match (&self.pool, &self.model) {
            (Some(pool), _) => format!("pool:{pool}"),
            (None, Some(model)) => format!("model:{model}"),
            (None, None) => Self::CONSTANT.to_owned(),
        }
    }
}

/// When a model that fails again and again is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Failures in a row that open the circuit.
    #[serde(default = "circuit_failures")]
    #[schemars(range(min = 1, max = 1000))]
    pub failures: u32,
    /// How long it stays open; then one attempt tries whether the model works again.
    #[serde(default = "circuit_open")]
    pub open: Span,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { failures: circuit_failures(), open: circuit_open() }
    }
}

fn circuit_failures() -> u32 {
    5
}

fn circuit_open() -> Span {
    Span(std::time::Duration::from_secs(60))
}

/// What the work on one document may take; a document that exceeds it is dead-lettered.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.tokens) || has(self.cost)").message("set tokens, cost or both"))]
pub struct Budget {
    /// Tokens read and written, in all stages, rounds and attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub tokens: Option<u64>,
    /// Cost by the models' `pricePer1kTokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1_000_000_000.0))]
    pub cost: Option<f64>,
}
