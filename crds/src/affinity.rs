//! Where a pool's agents are placed, whatever they run on: by labels of nodes, and apart from each other.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where agents are placed, on their device and where they fell back from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    /// What must hold of a node's labels, all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub required: Vec<LabelRule>,
    /// Nodes that are taken before others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub preferred: Vec<PreferredNodes>,
    /// Keeps agents of the pool apart from each other. Default: they are spread as well as it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apart: Option<Apart>,
}

impl Affinity {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What must hold of one label of a node.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.operator == 'In' || self.operator == 'NotIn') == (has(self.values) && size(self.values) > 0)")
    .message("values belong to the operators In and NotIn, and only to them").field_path(".values"))]
pub struct LabelRule {
    /// Key of the label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How its value is compared.
    pub operator: LabelOperator,
    /// What it is compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label's value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// It is one of the values.
    In,
    /// It is none of the values, or the label is not there.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

/// Nodes that are taken before others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferredNodes {
    /// How much it counts beside other preferences, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: u32,
    /// What holds of such a node's labels, all of it.
    #[schemars(length(min = 1, max = 8))]
    pub labels: Vec<LabelRule>,
}

/// How agents of a pool are kept apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Apart {
    /// Label of nodes: two agents are not on nodes with the same value of it.
    #[schemars(length(min = 1, max = 317))]
    pub topology_key: String,
    /// Whether an agent waits where there is no such node; else it is placed where fewest are. A rollout then takes an agent
    /// away before its successor comes. Default: false.
    #[serde(default)]
    pub required: bool,
}
