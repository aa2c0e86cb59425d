//! Digests of specifications: BLAKE3 over JSON with sorted keys.

use std::collections::BTreeMap;

use crds::{AgentPoolSpec, Model, PipelineSpec};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Plan, models};
use crate::Digest;

/// Key below which the order of keys is kept: a model writes the fields of an output schema in the order of the schema,
/// so two orders are two specifications.
const ORDERED: &str = "schema";

pub(super) fn of_plan(name: &str, spec: &PipelineSpec, pools: &BTreeMap<String, AgentPoolSpec>) -> Digest {
    digest(json!({"name": name, "spec": value(spec), "pools": value(pools)}))
}

pub(super) fn of_stage(plan: &Plan, stage: &str, level: u32) -> Digest {
    let Some(stage) = plan.stage(stage).map(|planned| &planned.spec) else {
        return digest(Value::Null);
    };
    digest(json!({
        "parse": value(&stage.parse),
        "embed": value(&stage.embed),
        "retrieve": value(&stage.retrieve),
        "generate": value(&stage.generate),
        "extract": value(&stage.extract),
        "classify": value(&stage.classify),
        "score": value(&stage.score),
        "cite": value(&stage.cite),
        "transform": value(&stage.transform),
        "approve": value(&stage.approve),
        "head": value(models::head_name(stage).and_then(|(name, _)| models::head(&plan.spec, name))),
        "knowledge": value(models::knowledge_name(stage).and_then(|(name, _)| models::knowledge(&plan.spec, name))),
        "model": value(plan.model_at(&stage.name, level).map(what_answers)),
    }))
}

/// A model without what changes nothing in its answers: what it costs, how it is reached and how long it may take.
fn what_answers(model: &Model) -> Value {
    let mut answers = value(Model { price: None, ..model.clone() });
    if let Some(openai) = &model.source.openai {
        answers["source"]["openai"] =
            json!({"baseUrl": openai.base_url, "model": openai.model, "dimensions": openai.dimensions});
    }
    answers
}

fn value(part: impl Serialize) -> Value {
    serde_json::to_value(part).expect("specifications are read from JSON or YAML, so JSON can hold them")
}

fn digest(value: Value) -> Digest {
    blake3::hash(canonical(value).to_string().as_bytes()).to_hex().to_string()
}

fn canonical(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|(left, _), (right, _)| left.cmp(right));
            let sorted = fields.into_iter().map(|(key, value)| {
                let value = if key == ORDERED { value } else { canonical(value) };
                (key, value)
            });
            Value::Object(sorted.collect::<Map<String, Value>>())
        }
        scalar => scalar,
    }
}
