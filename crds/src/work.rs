//! The kinds of work that a stage can do.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::Span;

/// Turns bytes into text, in a child process with limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parse {
    /// Largest document in bytes. Default: 64 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_099_511_627_776_u64))]
    pub max_bytes: Option<u64>,
    /// Largest text in bytes that a document may turn into. Default: 32 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_099_511_627_776_u64))]
    pub max_text_bytes: Option<u64>,
}

/// Cuts the text into chunks and turns them into vectors.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.model) != has(self.knowledge)").message("set exactly one of model, knowledge"))]
pub struct Embed {
    /// Embedding model of the pool; the vectors are the stage's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub model: Option<String>,
    /// Knowledge base that the chunks are added to, with its own model and chunking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub knowledge: Option<String>,
}

/// Finds chunks of a knowledge base.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retrieve {
    /// The knowledge base.
    #[schemars(length(min = 1, max = 63))]
    pub knowledge: String,
    /// Template of what is looked for.
    #[schemars(length(min = 1, max = 16384))]
    pub query: String,
    /// Most chunks that are returned.
    #[serde(default = "top_k")]
    #[schemars(range(min = 1, max = 1000))]
    pub top_k: u32,
    /// How candidates are found; several are fused by reciprocal rank. Default: Ann and FullText.
    #[serde(default = "retrieval_steps")]
    #[schemars(length(min = 1, max = 8))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub steps: Vec<RetrievalStep>,
}

fn top_k() -> u32 {
    10
}

/// The steps of a retrieval that names none.
pub fn retrieval_steps() -> Vec<RetrievalStep> {
    vec![RetrievalStep::Ann, RetrievalStep::FullText]
}

/// One way to find candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetrievalStep {
    /// Nearest vectors; scanned exactly while the table is small.
    Ann,
    /// Words, scored by BM25.
    FullText,
}

/// The role that a writing agent takes; it sets the system prompt where none is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Role {
    /// Collects what is known.
    Research,
    /// Drafts.
    #[default]
    Writing,
    /// Improves a draft.
    Editing,
    /// Checks facts against sources.
    Verification,
    /// Judges quality.
    Review,
    /// Checks against rules.
    Validation,
    /// Finds sources.
    Citation,
    /// Pulls out fields.
    Extraction,
    /// Records what was decided and why.
    Audit,
}

/// Lets a model write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Generate {
    /// The agent's role.
    #[serde(default)]
    pub role: Role,
    /// Model of the pool. Default: the pool's first generating model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub model: Option<String>,
    /// Template of the system prompt, instead of the role's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub system: Option<String>,
    /// Template of the prompt.
    #[schemars(length(min = 1, max = 65536))]
    pub prompt: String,
    /// Most tokens that are written.
    #[serde(default = "max_tokens")]
    #[schemars(range(min = 1, max = 32768))]
    pub max_tokens: u32,
    /// How the next token is chosen.
    #[serde(default)]
    pub sampling: Sampling,
    /// Texts that end the answer; they are not part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    pub stop: Vec<String>,
    /// Forces the answer into a form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
}

fn max_tokens() -> u32 {
    256
}

/// How the next token is chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sampling {
    /// 0 takes the likeliest token; higher is more varied.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 5.0))]
    pub temperature: f64,
    /// Only the likeliest tokens that together have this probability. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f64>,
    /// Only so many of the likeliest tokens. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub top_k: Option<u32>,
    /// Divides the score of tokens that already occurred; 1 leaves them. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 5.0))]
    pub repetition_penalty: Option<f64>,
    /// Start of the random numbers: the same seed gives the same answer.
    #[serde(default)]
    #[schemars(range(max = 4_294_967_295_u32))]
    pub seed: u32,
}

/// Forces an answer into a form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// JSON schema that the answer matches; decoding cannot leave it.
    pub schema: OutputSchema,
}

/// Any JSON schema.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutputSchema(pub serde_json::Map<String, serde_json::Value>);

impl JsonSchema for OutputSchema {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OutputSchema".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}

/// Lets a model fill a JSON schema.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Extract {
    /// Model of the pool. Default: the pool's first generating model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub model: Option<String>,
    /// Template of the system prompt. Default: that of the role Extraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub system: Option<String>,
    /// Template of the prompt. Default: the document's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub prompt: Option<String>,
    /// JSON schema of the answer.
    pub schema: OutputSchema,
    /// Most tokens that are written.
    #[serde(default = "max_tokens")]
    #[schemars(range(min = 1, max = 32768))]
    pub max_tokens: u32,
    /// How the next token is chosen.
    #[serde(default)]
    pub sampling: Sampling,
}

/// Labels the document by a trained head.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Classify {
    /// Head of kind Classifier.
    #[schemars(length(min = 1, max = 63))]
    pub head: String,
}

/// Scores the document, from 0 to 1.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.head) != has(self.path)").message("set exactly one of head, path"))]
pub struct Score {
    /// Head of kind Anomaly or Quality that makes the score; this is then the stage's work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub head: Option<String>,
    /// Where the score stands in this stage's output, for example `score` or `checks.total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub path: Option<String>,
}

/// Finds the places in the source that support a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cite {
    /// Template of the text whose sentences want support.
    #[schemars(length(min = 1, max = 16384))]
    pub text: String,
    /// Embedding model of the pool that compares sentences. Default: the pool's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub model: Option<String>,
    /// Retrieve stages whose chunks may be cited beside the document itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub sources: Vec<String>,
    /// Lowest cosine similarity of a place that supports a sentence.
    #[serde(default = "min_similarity")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_similarity: f64,
}

fn min_similarity() -> f64 {
    0.5
}

/// Waits for a person's answer; no slot of a pool is held meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approve {
    /// Template of what the person is asked or told; lists of pending approvals show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub reason: Option<String>,
    /// Longest wait for an answer. Default: no limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What happens then.
    #[serde(default)]
    pub on_timeout: OnApprovalTimeout,
}

/// What happens when nobody has answered in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnApprovalTimeout {
    /// As if it were rejected: an optional stage is left out, otherwise the document is dead-lettered.
    #[default]
    Reject,
    /// As if it were approved, by nobody.
    Approve,
    /// The document is dead-lettered.
    DeadLetter,
}

/// Makes a new value from earlier ones by a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transform {
    /// The template (minijinja).
    #[schemars(length(min = 1, max = 65536))]
    pub template: String,
    /// How its result is read.
    #[serde(default)]
    pub format: TransformFormat,
}

/// How the result of a template is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TransformFormat {
    /// As text.
    #[default]
    Text,
    /// As one JSON value; anything else fails the stage.
    Json,
}
