//! Plans and submissions for tests.

use std::collections::BTreeMap;

use crds::{AgentPoolSpec, PipelineSpec, Priority};
use flow::{Plan, Submission, compile};
use serde_json::{Value, json};

/// Two pools: `readers` embeds, `writers` generates.
pub(crate) fn pools() -> BTreeMap<String, AgentPoolSpec> {
    let pools = json!({
        "readers": {"models": [{"name": "minilm", "task": "Embed", "source": {"catalog": "minilm"}}]},
        "writers": {"models": [{"name": "small", "task": "Generate", "source": {"catalog": "smollm2"}}]},
    });
    serde_json::from_value(pools).expect("the pools are well-formed")
}

/// A specification as a person would write it.
pub(crate) fn spec(written: Value) -> PipelineSpec {
    serde_json::from_value(written).expect("the specification is well-formed")
}

/// Compiles what must be right.
pub(crate) fn plan(written: Value) -> Plan {
    compile("contracts", 1, &spec(written), &pools()).expect("the pipeline compiles")
}

/// A stage of a pool `readers` that transforms, with further fields.
pub(crate) fn stage(name: &str, after: &[&str], further: Value) -> Value {
    let mut stage = json!({"name": name, "pool": "readers", "transform": {"template": "x"}});
    if !after.is_empty() {
        stage["after"] = json!(after);
    }
    for (field, value) in further.as_object().into_iter().flatten() {
        stage[field] = value.clone();
    }
    stage
}

/// A document that has just come in.
pub(crate) fn submission() -> Submission {
    Submission {
        document: "lease/7.txt".to_owned(),
        tenant: "legal".to_owned(),
        source: "docs/lease/7.txt".to_owned(),
        payload: "ab".repeat(32),
        metadata: None,
        priority: Priority::Normal,
        deadline: None,
        bytes: None,
    }
}
