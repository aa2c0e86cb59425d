//! What an agent's pod is made of in a cluster: its device, its room, its place and its neighbours.
//!
//! Chosen fields and no whole pod template: what a pod may do follows from being an agent, not from who wrote the pool.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Affinity;

/// What models run on, and which nodes have it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.kind == 'Gpu' || !has(self.resource)")
    .message("a resource is asked for by pools whose kind is Gpu").field_path(".resource"))]
#[x_kube(validation = Rule::new("self.kind == 'Gpu' || !has(self.claims) || size(self.claims) == 0")
    .message("devices are claimed by pools whose kind is Gpu").field_path(".claims"))]
#[x_kube(validation = Rule::new("self.kind == 'Gpu' || !has(self.fallback)")
    .message("a fallback is for pools whose kind is Gpu").field_path(".fallback"))]
pub struct Device {
    /// The kind of device; a GPU that is not there is an error, never silently the CPU.
    #[serde(default)]
    pub kind: DeviceKind,
    // An optional enum's description in the schema is the enum's own.
    /// What agents run on while no node can give one of them the device. Default: nothing, they wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<DeviceFallback>,
    /// Share of the device's memory (of the agent's memory limit, on the CPU) that weights, keys and values may take: no more
    /// answers are written at once than fit, and weights that do not fit are an error. Default: all of it, uncounted.
    #[schemars(range(min = 0.05, max = 1.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_fraction: Option<f64>,
    /// The nodes' resource of which each agent gets one: a whole GPU, or a slice such as `nvidia.com/mig-1g.10gb`.
    /// Default: nvidia.com/gpu for pools whose kind is Gpu and that claim nothing.
    #[schemars(
        length(min = 3, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Devices that each agent claims by dynamic resource allocation (Kubernetes 1.34 and later).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub claims: Vec<DeviceClaim>,
    /// Labels of the nodes that have the device, which a node must have; agents that fell back do without.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of the nodes that have the device, which do not keep agents away; they do keep away those that fell back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
}

/// The resource of a whole GPU, where a pool does not name another.
const WHOLE_GPU: &str = "nvidia.com/gpu";

impl Device {
    /// The nodes' resource of which each agent gets one; `None` for pools on CPUs and those that claim their devices.
    pub fn of_each_agent(&self) -> Option<&str> {
        let usual = (self.kind == DeviceKind::Gpu && self.claims.is_empty()).then_some(WHOLE_GPU);
        self.resource.as_deref().or(usual)
    }
}

/// A map of a few labels.
fn labels(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object", "maxProperties": 16, "additionalProperties": {"type": "string", "maxLength": 63}
    })
}

/// The kind of device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeviceKind {
    /// The CPU cores that the agent is limited to.
    #[default]
    Cpu,
    /// One CUDA device; needs a build with the feature `cuda`.
    Gpu,
}

/// What agents run on while no node can give one of them the device. Default: nothing, they wait for it.
///
/// Agents fall back when none of them has the device and one has waited 30 s for nothing else. They then ask for no device,
/// and `nodeSelector` and `tolerations`, which say where the device is, do not hold. The device is tried again, by one agent
/// more, when `device` changes and every 30 minutes; agents on the CPU stay until it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeviceFallback {
    /// The CPU cores that the agent is limited to.
    Cpu,
}

/// A claim on a device: each agent gets one of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceClaim {
    /// Name of the claim among the agent's.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Name of a ResourceClaimTemplate of the namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub template: String,
}

/// A taint of nodes that does not keep agents away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// Key of the taint.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// Value of the taint. Default: any.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Effect of the taint. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// What a taint does to pods that do not tolerate it. Default: any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// Keeps new pods away.
    NoSchedule,
    /// Keeps new pods away while there is another place.
    PreferNoSchedule,
    /// Keeps new pods away and sends running ones off.
    NoExecute,
}

/// What else the agents' pods have.
///
/// The keys of the Secret `NAME-agents`, where the pool is called NAME and the Secret exists, are variables of the
/// agents' environment: keys of providers belong there.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.priorityClassName) || !self.priorityClassName.startsWith('system-')")
    .message("classes that begin with system- are for the cluster itself; name another").field_path(".priorityClassName"))]
pub struct PodTemplate {
    /// Variables of the agents' environment, beside those of the Secret NAME-agents; values are taken as they are written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
    /// CPU and memory of an agent. An agent computes with as many threads as its CPU limit allows.
    #[serde(default)]
    pub resources: Resources,
    /// Claims that are mounted into each agent; the one called `state` replaces the folder that ends with the pod. A claim
    /// has the label `docket.dev/agents: allowed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub volumes: Vec<Volume>,
    /// Where agents are placed, on their device and where they fell back from it.
    #[serde(default, skip_serializing_if = "Affinity::is_empty")]
    pub affinity: Affinity,
    /// Name of a PriorityClass of the cluster. Default: the cluster's.
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
}

/// A variable of the environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// CPU and memory of an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What a node must have free. Default: 250m of CPU and 512Mi of memory.
    #[serde(default)]
    pub requests: Amounts,
    /// What it may take at most. Default: all of the node's CPU and 4Gi of memory.
    #[serde(default)]
    pub limits: Amounts,
}

/// An amount of CPU and one of memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Amounts {
    /// Cores, such as 2 or 500m.
    #[schemars(length(min = 1, max = 16), regex(pattern = r"^([0-9]{1,9}m|[0-9]{1,6}(\.[0-9]{1,3})?)$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Bytes, such as 2Gi or 500M.
    #[schemars(length(min = 1, max = 16), regex(pattern = r"^[0-9]{1,12}(\.[0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti)?$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

/// A claim that is mounted into each agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Name of the volume; `state` is the agents' state folder.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Name of the PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub claim: String,
    /// Where it is mounted, apart from folders of the system. Default: /var/lib/docket for `state`, which can be nowhere else,
    /// and /volumes/NAME for others.
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^/[A-Za-z0-9_./-]+$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
}

/// Who may reach the agents, and whom they may reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Whether agents are closed to all but gateways of their namespace, and reach only DNS, the broker, and, where one of
    /// their models is somebody else's, addresses outside the cluster.
    #[serde(default = "yes")]
    pub enabled: bool,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self { enabled: yes() }
    }
}

fn yes() -> bool {
    true
}

/// How many agents a drain of nodes may take away at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudget {
    /// Agents that may be away at once because nodes are drained; 0 keeps drains waiting.
    #[serde(default = "one")]
    #[schemars(range(max = 10_000))]
    pub max_unavailable: u32,
}

impl Default for DisruptionBudget {
    fn default() -> Self {
        Self { max_unavailable: one() }
    }
}

fn one() -> u32 {
    1
}
