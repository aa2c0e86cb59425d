//! `AgentPool`: workers of one kind, with the models that they hold.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    AgentPoolStatus, Device, DisruptionBudget, NetworkPolicy, OpenAiSource, PodTemplate, Price, Scaling, Span,
};

/// Agents of one kind: the models they hold, the device they need and how much they do at once.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(group = "docket.dev", version = "v1alpha1", kind = "AgentPool", namespaced)]
#[kube(shortname = "agp", category = "docket", plural = "agentpools")]
#[kube(doc = "Agents of one kind: the models they hold, the device they need and how much they do at once.")]
#[kube(derive = "PartialEq", status = "AgentPoolStatus")]
#[kube(scale(
    spec_replicas_path = ".spec.replicas",
    status_replicas_path = ".status.replicas",
    label_selector_path = ".status.selector"
))]
#[kube(
    printcolumn = r#"{"name": "Ready", "type": "integer", "jsonPath": ".status.readyReplicas", "description": "Agents that take work"}"#,
    printcolumn = r#"{"name": "Desired", "type": "integer", "jsonPath": ".status.desiredReplicas", "description": "Agents that are wanted"}"#,
    printcolumn = r#"{"name": "Waiting", "type": "integer", "jsonPath": ".status.waiting", "description": "Tasks that wait"}"#,
    printcolumn = r#"{"name": "P95", "type": "string", "jsonPath": ".status.serviceP95", "description": "95 of 100 tasks take no longer"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason", "description": "Why it is ready or not"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AgentPoolSpec {
    /// Sets defaults for the fields below; any field that is written overrides its default.
    #[serde(default)]
    pub profile: Profile,
    /// The models that every agent of the pool holds.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub models: Vec<Model>,
    /// What the models run on.
    #[serde(default)]
    pub device: Device,
    /// Documents in work at once in one agent. Default: 8 (HighThroughput 16, LowMemory 2).
    #[schemars(range(min = 1, max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How requests to a model are put together.
    #[serde(default)]
    pub batching: Batching,
    /// Agents that run in a cluster, where `scaling` does not decide it; `kubectl scale` writes it. `docket run` does the work of
    /// all pools in one process.
    #[serde(default = "one")]
    #[schemars(range(max = 100_000))]
    pub replicas: u32,
    /// How the number of agents follows the work. Default: it does not, `replicas` applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// What else the agents' pods have.
    #[serde(default)]
    pub template: PodTemplate,
    /// Who may reach the agents, and whom they may reach.
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// How many agents a drain of nodes may take away at once.
    #[serde(default)]
    pub disruption_budget: DisruptionBudget,
}

impl AgentPoolSpec {
    /// The same pool as far as a process that works its documents needs it: its work, and what that is done on. A process that has
    /// no GPU must know whether to go on.
    pub fn as_planned(&self) -> Self {
        let Device { kind, fallback, memory_fraction, .. } = self.device;
        Self { device: Device { kind, fallback, memory_fraction, ..Device::default() }, ..self.as_worked() }
    }

    /// The same pool as far as work depends on it: what a pod costs and where it runs does not change what a document
    /// becomes, so it must not make another plan.
    pub fn as_worked(&self) -> Self {
        Self {
            device: Device { kind: self.device.kind, ..Device::default() },
            replicas: one(),
            scaling: None,
            template: PodTemplate::default(),
            network_policy: NetworkPolicy::default(),
            disruption_budget: DisruptionBudget::default(),
            ..self.clone()
        }
    }
}

fn one() -> u32 {
    1
}

/// A named set of defaults for a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Profile {
    /// Eight documents at once, batches of up to 32.
    #[default]
    Balanced,
    /// Sixteen documents at once, batches of up to 64.
    HighThroughput,
    /// Two documents at once, batches of up to 8.
    LowMemory,
}

/// One model of a pool.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.source.openai) || (!has(self.dtype) && !has(self.contextTokens))")
    .message("dtype and contextTokens are for models that the agent holds itself"))]
#[x_kube(validation = Rule::new("!has(self.source.openai) || has(self.source.openai.dimensions) == (self.task == 'Embed')")
    .message("openai.dimensions is set exactly when the task is Embed"))]
pub struct Model {
    /// Name by which stages refer to the model; unique in the pool.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// What the model does.
    pub task: ModelTask,
    /// Where its files come from.
    pub source: ModelSource,
    // An optional enum's description in the schema is the enum's own.
    /// Number format of the weights in memory. Default: F32 for embedding models, Q8_0 for generating ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
    /// Longest prompt plus answer in tokens. Default: what the model was trained for, at most 4096.
    #[schemars(range(min = 16, max = 131_072))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u32>,
    /// What its tokens cost; reported for each document, and counted against its budget. Default: nothing.
    #[serde(rename = "pricePer1kTokens", default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ModelTask {
    /// Turns text into a vector.
    Embed,
    /// Continues text.
    Generate,
}

/// Number format of the weights in memory. Default: F32 for embedding models, Q8_0 for generating ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(non_camel_case_types, reason = "the names are the field's own")]
pub enum Dtype {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point; embedding models on a GPU.
    F16,
    /// bfloat16; embedding models on a GPU.
    BF16,
    /// 8-bit blocks of 32 weights with one scale; generating models.
    Q8_0,
    /// The formats that the file holds, unchanged; generating models.
    AsStored,
}

/// Where a model's files come from: exactly one field is set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.catalog) ? 1 : 0) + (has(self.file) ? 1 : 0) + (has(self.http) ? 1 : 0) + \
     (has(self.openai) ? 1 : 0) == 1")
    .message("set exactly one of catalog, file, http, openai"))]
pub struct ModelSource {
    /// Name of an entry of the model catalogue (`docket model list`).
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9]"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
    /// Folder or file on the agent's own disk.
    #[schemars(length(min = 1, max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A file fetched by HTTP and checked against its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,
    /// A model of others, reached over the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openai: Option<OpenAiSource>,
}

/// A model file at a URL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpSource {
    /// The address, http or https.
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^https?://"))]
    pub url: String,
    /// SHA-256 of the file, 64 hexadecimal digits.
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// How requests to a model are put together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Batching {
    /// Requests in one step of the engine; 1 turns batching off. Default: 32 (HighThroughput 64, LowMemory 8).
    #[schemars(range(min = 1, max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch: Option<u32>,
    /// Longest that a request to an embedding model waits for those that shared the step before. Default: 0ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Span>,
    /// Most tokens in one step. Default: learned from measured step times.
    #[schemars(range(min = 16, max = 1_048_576))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_budget: Option<u32>,
}
