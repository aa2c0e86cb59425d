//! What the operator reports: observations, never wishes. Nothing in here is read back as a setting.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ScalingMode;

/// How a pool stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentPoolStatus {
    /// Generation of the pool that the rest speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Label selector of its pods, for the scale subresource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Pods that are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    /// Pods that there are.
    pub replicas: i32,
    /// Pods that take work.
    pub ready_replicas: i32,
    /// Tasks that wait; left out while the broker does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<i64>,
    /// Tasks in work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_work: Option<i64>,
    /// Half of the newest tasks took no longer.
    #[serde(rename = "serviceP50", skip_serializing_if = "Option::is_none")]
    pub service_p50: Option<String>,
    /// 95 of 100 of the newest tasks took no longer.
    #[serde(rename = "serviceP95", skip_serializing_if = "Option::is_none")]
    pub service_p95: Option<String>,
    /// Tokens that its models read and wrote in the last minute; left out for pools without models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<i64>,
    /// What its models cost in the last minute, in the currency of their prices; left out for pools without models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_per_minute: Option<String>,
    /// Models that agents have loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<LoadedModel>,
    /// What applies after the profile's defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveSettings>,
    /// That agents do without the pool's device; left out while they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackStatus>,
    /// What the autoscaler decided; left out while the pool has no `scaling`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
    /// Ready, Progressing, Schedulable, ModelsLoaded, ScalingActive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// That agents of a pool run on the CPU because no node could give one of them the device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FallbackStatus {
    /// Since when, RFC 3339.
    pub since: String,
    /// What was missing, in the scheduler's words.
    pub missing: String,
    /// When the device is tried again, RFC 3339; while it is being tried, until when.
    pub next: String,
    /// Whether the device is being tried.
    pub trying: bool,
    /// Digest of the `device` that was missing: another one is tried at once.
    pub device: String,
}

/// What the autoscaler decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingStatus {
    /// Who owns the number of agents: Apply, Advise or External.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ScalingMode>,
    /// Value of `replicas` when the autoscaler took the number over. While it stays what it is, an owner that follows goes on
    /// with the agents that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas_set_aside: Option<i32>,
    /// Agents that the autoscaler wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<i32>,
    /// Agents that are to take work; the others rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulling: Option<i32>,
    /// The last ten decisions that changed something, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<ScalingDecision>,
}

/// One decision of the autoscaler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingDecision {
    /// When, RFC 3339.
    pub at: String,
    /// Agents before.
    pub from: i32,
    /// Agents after.
    pub to: i32,
    /// Why, in one word or two: Up, Down, ToZero, Steady, Asleep or Held, with what decided.
    pub reason: String,
    /// What kept it from being what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamp: Option<String>,
    /// The same as a sentence.
    pub message: String,
}

/// A model that agents have loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadedModel {
    /// Its name in the pool.
    pub name: String,
    /// Digest of its files.
    pub digest: String,
    /// Agents that hold it.
    pub agents: i32,
}

/// What applies after the profile's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveSettings {
    /// Documents in work at once in one agent.
    pub concurrency: u32,
    /// Requests in one step of the engine.
    pub max_batch: u32,
    /// Longest that a request to an embedding model waits for others.
    pub max_wait: String,
    /// Most tokens in one step; left out where it is learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_budget: Option<u32>,
}

/// How a pipeline stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineStatus {
    /// Generation of the pipeline that the rest speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Stages of the plan.
    pub stages: i32,
    /// Digest of the plan that new documents start with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Address of the gateway inside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Documents that were accepted and have not ended; left out while the gateways do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<i64>,
    /// Documents that ended in the last minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_per_minute: Option<i64>,
    /// Half of the newest documents took no longer from submission to end.
    #[serde(rename = "latencyP50", skip_serializing_if = "Option::is_none")]
    pub latency_p50: Option<String>,
    /// 95 of 100 of the newest documents took no longer from submission to end.
    #[serde(rename = "latencyP95", skip_serializing_if = "Option::is_none")]
    pub latency_p95: Option<String>,
    /// Dead letters that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<i64>,
    /// Accepted, PoolsReady, StreamsReady, Ready, Degraded, Kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
