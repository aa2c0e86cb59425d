//! How the number of a pool's agents follows its work.
//!
//! What is written here says what is wanted, not how it is reached: the operator's autoscaler decides that.

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// How the number of agents follows the work, in a cluster. `replicas` counts no more, but where `mode` is External or Advise.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas")
    .message("minReplicas must not be above maxReplicas").field_path(".minReplicas"))]
pub struct Scaling {
    /// Never fewer agents; 0 lets the pool sleep.
    #[serde(default)]
    #[schemars(range(max = 100_000))]
    pub min_replicas: u32,
    /// Never more agents.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_replicas: u32,
    /// What users are to see.
    #[serde(default)]
    pub target: ScalingTarget,
    /// Scales by these thresholds alone, with nothing learned. Default: by the work that waits and how long it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueThresholds>,
    /// How much the number of agents may go to and fro.
    #[serde(default)]
    pub stabilization: Stabilization,
    /// Time without work after which the last agents go, at most a day. Default: learned from the gaps between bursts of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown_to_zero: Option<Span>,
    /// Whether agents start for work that is still with an earlier stage, so that they are ready when it comes.
    #[serde(default = "yes")]
    pub pre_warm: bool,
    /// Bounds that hold at certain times of the week, in place of `minReplicas` and `maxReplicas`; they may not overlap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub schedule: Vec<ScheduledBounds>,
    /// Who owns the number of agents.
    #[serde(default)]
    pub mode: ScalingMode,
}

/// What users are to see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingTarget {
    /// Longest time from a task's arrival to its start, above 0 and at most a day.
    #[serde(default = "wait")]
    pub wait: Span,
    /// Share of tasks that start within `wait`.
    #[serde(default = "attainment")]
    #[schemars(range(min = 0.5, max = 0.99999))]
    pub attainment: f64,
    /// Time from a task's arrival to its end that 95 of 100 tasks do not exceed, at most a day. Default: the wait alone counts.
    #[serde(rename = "latencyP95", default, skip_serializing_if = "Option::is_none")]
    pub latency_p95: Option<Span>,
    /// Share of the agents' slots in use that is not to be exceeded. Default: as much as the wait allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.05, max = 1.0))]
    pub utilization: Option<f64>,
}

impl Default for ScalingTarget {
    fn default() -> Self {
        Self { wait: wait(), attainment: attainment(), latency_p95: None, utilization: None }
    }
}

fn wait() -> Span {
    Span(Duration::from_secs(5))
}

fn attainment() -> f64 {
    0.99
}

/// Plain thresholds: agents are added where one of the upper ones is reached, and taken away where all lower ones hold.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.downAt < self.upAt")
    .message("downAt must be below upAt: equal ones would add and take away at once").field_path(".downAt"))]
pub struct QueueThresholds {
    /// Waiting tasks from which on agents are added.
    #[serde(default = "up_at")]
    #[schemars(range(max = 1_000_000_000))]
    pub up_at: u32,
    /// Waiting tasks up to which agents are taken away.
    #[serde(default = "down_at")]
    #[schemars(range(max = 1_000_000_000))]
    pub down_at: u32,
    /// How long the oldest task has waited.
    #[serde(default)]
    pub wait: WaitThresholds,
    /// Share of their CPU limit that agents use.
    #[serde(default)]
    pub cpu: CpuThresholds,
    /// Agents that are added or taken away at once.
    #[serde(default)]
    pub steps: ScalingSteps,
}

fn up_at() -> u32 {
    100
}

fn down_at() -> u32 {
    10
}

/// How long the oldest task has waited, at most a day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitThresholds {
    /// From which on agents are added.
    #[serde(default = "wait")]
    pub up: Span,
    /// Up to which agents are taken away; below `up`.
    #[serde(default = "wait_down")]
    pub down: Span,
}

impl Default for WaitThresholds {
    fn default() -> Self {
        Self { up: wait(), down: wait_down() }
    }
}

fn wait_down() -> Span {
    Span(Duration::from_millis(500))
}

/// Share of their CPU limit that agents use, 0 to 1; without a limit it is not known and does not count.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.down < self.up")
    .message("down must be below up: equal ones would add and take away at once").field_path(".down"))]
pub struct CpuThresholds {
    /// From which on agents are added.
    #[serde(default = "cpu_up")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub up: f64,
    /// Up to which agents are taken away.
    #[serde(default = "cpu_down")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub down: f64,
}

impl Default for CpuThresholds {
    fn default() -> Self {
        Self { up: cpu_up(), down: cpu_down() }
    }
}

fn cpu_up() -> f64 {
    0.8
}

fn cpu_down() -> f64 {
    0.3
}

/// Agents that are added or taken away at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingSteps {
    /// Added.
    #[serde(default = "step_up")]
    #[schemars(range(min = 1, max = 100_000))]
    pub up: u32,
    /// Taken away.
    #[serde(default = "step_down")]
    #[schemars(range(min = 1, max = 100_000))]
    pub down: u32,
}

impl Default for ScalingSteps {
    fn default() -> Self {
        Self { up: step_up(), down: step_down() }
    }
}

fn step_up() -> u32 {
    2
}

fn step_down() -> u32 {
    1
}

/// How much the number of agents may go to and fro.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stabilization {
    /// How long more agents must have been wanted before they are added, at most an hour.
    #[serde(default = "none")]
    pub up: Span,
    /// How long fewer agents must have been wanted before any are taken away, at most an hour; what is learned may be longer.
    #[serde(default = "none")]
    pub down: Span,
    /// Share of what the agents cost, in their seconds, that may be spent on changing direction less often than is cheapest:
    /// beyond two an hour, agents that were added stay for as long as the share pays for it.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub cost_share: f64,
}

impl Default for Stabilization {
    fn default() -> Self {
        Self { up: none(), down: none(), cost_share: 0.0 }
    }
}

fn none() -> Span {
    Span(Duration::ZERO)
}

/// Bounds at certain times of the week.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas")
    .message("minReplicas must not be above maxReplicas").field_path(".minReplicas"))]
#[x_kube(validation = Rule::new("self.from != self.to")
    .message("from and to are the same; a whole day is from 00:00 to 24:00").field_path(".to"))]
pub struct ScheduledBounds {
    /// Days on which they begin.
    #[schemars(length(min = 1, max = 7))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub days: Vec<Weekday>,
    /// Hour and minute at which they begin, such as 07:30.
    #[schemars(length(min = 5, max = 5), regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub from: String,
    /// Hour and minute at which they end, such as 18:00 or 24:00; before `from`, it is that of the day after.
    #[schemars(length(min = 5, max = 5), regex(pattern = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"))]
    pub to: String,
    /// The zone of these times.
    #[serde(default)]
    pub time_zone: TimeZone,
    /// In place of the pool's.
    #[schemars(range(max = 100_000))]
    pub min_replicas: u32,
    /// In place of the pool's.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_replicas: u32,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "a day needs no explanation")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// A time zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TimeZone {
    /// Universal time, which knows no summer.
    #[default]
    UTC,
}

/// Who owns the number of agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScalingMode {
    /// The operator's autoscaler.
    #[default]
    Apply,
    /// `replicas`; what the autoscaler would do is told in the status alone.
    Advise,
    /// An HPA, KEDA or a person, who writes `replicas` through the scale subresource.
    External,
}

fn yes() -> bool {
    true
}
