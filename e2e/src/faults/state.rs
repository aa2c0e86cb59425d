//! What a namespace holds at the end of a trial, without what differs between two that went the same way.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
};
use serde_json::{Map, Value, json};

use super::Broker;
use crate::Kind;

/// Kinds that are looked at. Of pods only what they are made of and whether they are ready, since they have no lasting names.
const KINDS: [Kind; 9] = [
    Kind::AgentPool,
    Kind::Pipeline,
    Kind::Deployment,
    Kind::Service,
    Kind::ConfigMap,
    Kind::ServiceAccount,
    Kind::Secret,
    Kind::NetworkPolicy,
    Kind::PodDisruptionBudget,
];
/// Made by Kubernetes in every namespace.
const OF_KUBERNETES: [&str; 2] = ["kube-root-ca.crt", "default"];
/// Given out anew for each object, or about when something happened.
const VOLATILE: [&str; 12] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "generation",
    "lastTransitionTime",
    "lastUpdateTime",
    "clusterIP",
    "clusterIPs",
    "deployment.kubernetes.io/revision",
    // Digests of texts that hold the namespace's name; the texts themselves are compared.
    "docket.dev/applied",
    "docket.dev/config",
];

/// Everything, by kind and name.
pub type State = BTreeMap<String, Value>;

/// Reads a namespace and its part of the broker.
pub async fn read(client: &Client, broker: &Broker, namespace: &str) -> Result<State> {
    let mut state = State::new();
    for kind in KINDS {
        for object in list(client, kind, namespace).await? {
            let name = object.metadata.name.clone().unwrap_or_default();
            if !OF_KUBERNETES.contains(&name.as_str()) {
                state.insert(format!("{kind:?}/{name}"), seen(kind, &object, namespace)?);
            }
        }
    }
    for pod in list(client, Kind::Pod, namespace).await? {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let instance = labels.get("app.kubernetes.io/instance").cloned().unwrap_or_default();
        let phase = match pod.metadata.deletion_timestamp {
            Some(_) => "Terminating".to_owned(),
            None => pod.data["status"]["phase"].as_str().unwrap_or_default().to_owned(),
        };
        let count = state.entry(format!("Pods/{instance}/{phase}")).or_insert(json!(0));
        *count = json!(count.as_u64().unwrap_or_default() + 1);
    }
    for (name, messages) in broker.streams(namespace).await? {
        // Whoever never saw an object that came and went has removed nothing for it, and had nothing to say before.
        let messages = messages.saturating_sub(broker.holds_leaders_word(&name).await?.into());
        state.insert(format!("Stream/{}", name.replace(namespace, "NAMESPACE")), json!(messages));
    }
    Ok(state)
}

async fn list(client: &Client, kind: Kind, namespace: &str) -> Result<Vec<DynamicObject>> {
    let api: Api<DynamicObject> = kind.within(client, namespace);
    Ok(api.list(&ListParams::default()).await.with_context(|| format!("list {kind:?}"))?.items)
}

fn seen(kind: Kind, object: &DynamicObject, namespace: &str) -> Result<Value> {
    let mut value = serde_json::to_value(object).context("read an object")?;
    let generation = value["metadata"]["generation"].clone();
    if kind == Kind::Secret {
        mask_random(&mut value);
    }
    // Its conditions speak of ReplicaSets, which have random names.
    if kind == Kind::Deployment && value["status"].is_object() {
        value["status"]["conditions"] = Value::Null;
    }
    Ok(masked(value, &generation, namespace))
}

/// A token is different each time; that there is one is not.
fn mask_random(secret: &mut Value) {
    for (_, data) in secret["data"].as_object_mut().into_iter().flatten() {
        *data = json!(if data.as_str().is_some_and(|data| data.len() > 40) { "long" } else { "short" });
    }
}

pub fn masked(value: Value, generation: &Value, namespace: &str) -> Value {
    match value {
        Value::Object(fields) => {
            // A list without entries may be written or not.
            let is_nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            let kept =
                fields.into_iter().filter(|(field, value)| !VOLATILE.contains(&field.as_str()) && !is_nothing(value));
            let kept = kept.map(|(field, value)| match field.as_str() {
                "observedGeneration" => (field, json!(if value == *generation { "current" } else { "old" })),
                _ => (field, masked(value, generation, namespace)),
            });
            let mut kept: Vec<(String, Value)> = kept.collect();
            kept.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(Map::from_iter(kept))
        }
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| masked(item, generation, namespace)).collect())
        }
        Value::String(text) => Value::String(text.replace(namespace, "NAMESPACE")),
        other => other,
    }
}

/// Where two states differ, a line each: what is expected, what is there.
pub fn difference(expected: &State, found: &State) -> Vec<String> {
    let mut lines = Vec::new();
    let names: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for name in names {
        match (expected.get(name), found.get(name)) {
            (Some(_), None) => lines.push(format!("{name} is not there")),
            (None, Some(_)) => lines.push(format!("{name} is there and should not be")),
            (Some(expected), Some(found)) => differ(name, expected, found, &mut lines),
            (None, None) => {}
        }
    }
    lines
}

fn differ(path: &str, expected: &Value, found: &Value, lines: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let fields: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
            for field in fields {
                let of = |object: &Map<String, Value>| object.get(field).cloned().unwrap_or_default();
                differ(&format!("{path}.{field}"), &of(expected), &of(found), lines);
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                differ(&format!("{path}[{index}]"), expected, found, lines);
            }
        }
        (expected, found) if expected == found => {}
        (expected, found) => lines.push(format!("{path}: expected {expected}, found {found}")),
    }
}
