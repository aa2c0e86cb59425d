//! `Pipeline`: the graph of stages that every document passes through.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Budget, CircuitBreaker, Fallback, PipelineStatus, Results, Span, Stage, StageTimeout};

/// A graph of stages that every document passes through.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(group = "docket.dev", version = "v1alpha1", kind = "Pipeline", namespaced)]
#[kube(shortname = "dpl", category = "docket", plural = "pipelines")]
#[kube(doc = "A graph of stages that every document passes through.")]
#[kube(derive = "PartialEq", status = "PipelineStatus")]
#[kube(
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status", "description": "Whether documents are taken and worked"}"#,
    printcolumn = r#"{"name": "Stages", "type": "integer", "jsonPath": ".status.stages", "description": "Stages of the plan"}"#,
    printcolumn = r#"{"name": "Open", "type": "integer", "jsonPath": ".status.open", "description": "Documents that have not ended"}"#,
    printcolumn = r#"{"name": "Done/min", "type": "integer", "jsonPath": ".status.donePerMinute", "description": "Documents that ended in the last minute"}"#,
    printcolumn = r#"{"name": "P95", "type": "string", "jsonPath": ".status.latencyP95", "description": "95 of 100 documents take no longer"}"#,
    printcolumn = r#"{"name": "Dead", "type": "integer", "jsonPath": ".status.deadLetters", "description": "Dead letters that are kept"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct PipelineSpec {
    /// Collections of searchable text that stages retrieve from or add to.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub knowledge: Vec<Knowledge>,
    /// Small models over embeddings that learn from labelled documents.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub heads: Vec<Head>,
    /// The stages; `after` makes them a graph without cycles.
    #[schemars(length(min = 1, max = 256))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub stages: Vec<Stage>,
    /// Sends a document round again while a stage scores it too low.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// How failed attempts are repeated.
    #[serde(default)]
    pub retry: Retry,
    /// Longest time for one attempt of a stage that sets none itself; `Adaptive`: three times what almost all attempts of the
    /// stage have taken lately. Default: 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_timeout: Option<StageTimeout>,
    /// Longest time from a document's submission to its end; after it the document is dead-lettered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
    /// What is done instead when a generate or extract stage fails for good or its circuit is open, tried in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub fallback: Vec<Fallback>,
    /// When a model that fails again and again is left alone. Default: 5 failures and 60s for models of others, never for
    /// those that agents hold themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// What the work on one document may take; a document that exceeds it is dead-lettered. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Keeps stage results and gives them again for the same input and specification.
    #[serde(default)]
    pub cache: Cache,
    /// Where results are written before a document ends. Default: nowhere; they can be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Results>,
    /// Whether the branches of a document are worked side by side. `false` works one stage of a document at a time.
    #[serde(default = "yes")]
    pub parallel: bool,
    /// Whether tokens are sent to watchers as they are generated.
    #[serde(default = "yes")]
    pub streaming: bool,
    /// Priority of a document that is submitted without one.
    #[serde(default)]
    pub priority_default: Priority,
    /// How long documents that have ended are kept. Default: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Accepts documents and hands no work out.
    #[serde(default)]
    pub suspend: bool,
    /// What becomes of documents that are open when the pipeline is deleted from a cluster.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

impl PipelineSpec {
    /// The same pipeline as far as documents depend on it: what is done when it is deleted makes no other plan.
    pub fn as_worked(&self) -> Self {
        Self { deletion_policy: DeletionPolicy::default(), ..self.clone() }
    }
}

/// What becomes of documents that are open when their pipeline is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are worked to their end; until then the pipeline stays.
    #[default]
    Drain,
    /// They are given up, and their records removed at once.
    Cancel,
}

fn yes() -> bool {
    true
}

/// Urgency of a document. Higher ones are served first by weight; none starves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Priority {
    /// Before all others.
    Critical,
    /// Before normal work.
    High,
    /// The usual.
    #[default]
    Normal,
    /// When there is room.
    Low,
}

/// A collection of text chunks with their vectors.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.uri.contains('://')").message("a knowledge base is kept in a folder, or at `default`; no address can be used").field_path(".uri"))]
pub struct Knowledge {
    /// Name by which stages refer to it; unique in the pipeline.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Where it is kept: `default` (the state folder) or a folder.
    #[serde(default = "default_uri")]
    #[schemars(length(min = 1, max = 1024))]
    pub uri: String,
    /// Model that makes its vectors; a pool of the pipeline holds it.
    #[schemars(length(min = 1, max = 63))]
    pub embedder: String,
    /// How text is cut.
    #[serde(default)]
    pub chunking: Chunking,
}

fn default_uri() -> String {
    "default".to_owned()
}

/// How text is cut into chunks.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.overlap * 2 <= self.tokens").message("overlap is at most half of tokens").field_path(".overlap"))]
pub struct Chunking {
    /// Most tokens in a chunk, counted by the embedder's tokenizer.
    #[serde(default = "chunk_tokens")]
    #[schemars(range(min = 16, max = 8192))]
    pub tokens: u32,
    /// Tokens that a chunk shares with the one before.
    #[serde(default)]
    #[schemars(range(max = 4096))]
    pub overlap: u32,
}

impl Default for Chunking {
    fn default() -> Self {
        Self { tokens: chunk_tokens(), overlap: 0 }
    }
}

fn chunk_tokens() -> u32 {
    128
}

/// A small model over embeddings, trained from labelled documents.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Name by which stages refer to it; unique in the pipeline.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// What it learns.
    pub kind: HeadKind,
    /// Model whose vectors it reads.
    #[schemars(length(min = 1, max = 63))]
    pub embedder: String,
}

/// What a head learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HeadKind {
    /// One label of those seen in training, with probabilities.
    Classifier,
    /// How unlike the training documents a document is, from 0 to 1; needs no labels.
    Anomaly,
    /// A number from 0 to 1 learned from scores that people gave.
    Quality,
}

impl HeadKind {
    /// Whether a `classify` stage can use it; otherwise a `score` stage can.
    pub fn classifies(self) -> bool {
        self == Self::Classifier
    }
}

/// Sends a document round again while a stage scores it too low.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quality {
    /// Stage whose score counts; it has `score`.
    #[schemars(length(min = 1, max = 63))]
    pub stage: String,
    /// Lowest score that passes, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
    /// How many times the document may go round again; after that it goes on and ends as partial.
    #[serde(default = "max_rounds")]
    #[schemars(range(min = 0, max = 16))]
    pub max_rounds: u32,
    /// Stage at which a new round starts; the scoring stage comes after it.
    #[schemars(length(min = 1, max = 63))]
    pub restart_at: String,
}

fn max_rounds() -> u32 {
    2
}

/// How failed attempts are repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Attempts of a stage in all, the first included.
    #[serde(default = "max_attempts")]
    #[schemars(range(min = 1, max = 20))]
    pub max_attempts: u32,
    /// The wait between them.
    #[serde(default)]
    pub backoff: Backoff,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_attempts: max_attempts(), backoff: Backoff::default() }
    }
}

fn max_attempts() -> u32 {
    3
}

/// Exponentially growing wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// Wait before the second attempt.
    #[serde(default = "backoff_initial")]
    pub initial: Span,
    /// Each further wait is this many times longer.
    #[serde(default = "backoff_factor")]
    #[schemars(range(min = 1.0, max = 10.0))]
    pub factor: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: backoff_initial(), factor: backoff_factor() }
    }
}

fn backoff_initial() -> Span {
    Span(std::time::Duration::from_secs(1))
}

fn backoff_factor() -> f64 {
    1.5
}

/// How long documents that have ended are kept. What is not written here is kept until somebody erases it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// From the end of a document to the removal of its record, and with it of its results. A submission of the same id or
    /// key is then a new document. Default: it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<Span>,
    /// How long bytes that no record refers to are kept.
    #[serde(default = "payloads_kept")]
    pub payloads: Span,
    /// The same as `records` for documents that were dead-lettered. Default: they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<Span>,
}

fn payloads_kept() -> Span {
    Span(std::time::Duration::from_secs(7 * 86_400))
}

/// The cache of stage results.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// Answers from the cache when specification, model and inputs are the same to the byte.
    #[serde(default)]
    pub exact: ExactCache,
    /// Keeps what `embed` stages make of a text.
    #[serde(default)]
    pub embeddings: EmbeddingsCache,
    /// Answers `generate` and `extract` stages also from prompts that are nearly the same. Off where it is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticCache>,
    /// Where results are kept, asked in the order Memory, Redis, Disk; empty turns the cache off.
    #[serde(default = "cache_levels")]
    #[schemars(length(max = 3))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub levels: Vec<CacheLevel>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            exact: ExactCache::default(),
            embeddings: EmbeddingsCache::default(),
            semantic: None,
            levels: cache_levels(),
        }
    }
}

fn cache_levels() -> Vec<CacheLevel> {
    vec![CacheLevel::Memory, CacheLevel::Disk]
}

/// Exact reuse of stage results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExactCache {
    /// How long a result may be used again.
    #[serde(default = "cache_ttl")]
    pub ttl: Span,
}

impl Default for ExactCache {
    fn default() -> Self {
        Self { ttl: cache_ttl() }
    }
}

fn cache_ttl() -> Span {
    Span(std::time::Duration::from_secs(3_600))
}

/// Reuse of vectors that `embed` stages make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmbeddingsCache {
    /// How long vectors may be used again. They follow from text and model alone, so they can be kept for long.
    #[serde(default = "embeddings_ttl")]
    pub ttl: Span,
}

impl Default for EmbeddingsCache {
    fn default() -> Self {
        Self { ttl: embeddings_ttl() }
    }
}

fn embeddings_ttl() -> Span {
    Span(std::time::Duration::from_secs(7 * 86_400))
}

/// Reuse of answers to prompts that are nearly the same: within one tenant, one version of the pipeline, one stage, one model
/// and one scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SemanticCache {
    /// Lowest cosine of two prompts' vectors at which one answers the other. Templates do not count: what they say
    /// must be equal, and what was filled in is compared.
    #[serde(default = "semantic_similarity")]
    #[schemars(range(min = 0.5, max = 1.0))]
    pub similarity: f64,
    /// Fields of the documents' metadata: documents that differ in one never answer each other, and one that lacks one is
    /// neither answered nor kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub scope: Vec<String>,
    /// How long an answer may be used for other prompts.
    #[serde(default = "cache_ttl")]
    pub ttl: Span,
    /// Most answers that are kept for a stage and scope; the oldest go first.
    #[serde(default = "semantic_entries")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_entries: u32,
    /// Share of the answers that is worked all the same, to measure how often the kept one would have been wrong.
    #[serde(default = "semantic_shadow")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub shadow: f64,
    /// Embedding model that compares prompts; the stages' pools hold it. Default: the pool's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub embedder: Option<String>,
}

fn semantic_similarity() -> f64 {
    0.95
}

fn semantic_entries() -> u32 {
    1_000
}

fn semantic_shadow() -> f64 {
    0.01
}

/// A place where results are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CacheLevel {
    /// In the process, least recently used go first.
    Memory,
    /// On the Redis server that processes share, if they are given one; while it does not answer, the level is left out.
    Redis,
    /// In the state folder; survives a restart.
    Disk,
}
