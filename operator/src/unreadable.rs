//! Objects that this version of Docket cannot read: they say what a newer one knows, or what a rule has forbidden
//! since. Their authors are told, and they can be deleted.
//!
//! Flow: such an object is read as plain JSON. While it stays, only its condition `Ready` is written; what else is in
//! its status may be a newer version's, and stays as it is. When it leaves, it is stood in for by one that says just
//! what a deletion has to know.

use std::fmt::Debug;

use crds::{AgentPool, DeletionPolicy, Pipeline};
use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Resource, api::DynamicObject, core::DeserializeGuard};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    apply::{self, Error, within},
    condition::{self, Observed},
    context::Context,
};

/// Kinds whose objects can be deleted whatever they say.
pub trait Deletable:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug
{
    /// A specification that can be read, with that of another one in it which a deletion has to know.
    fn for_deletion(spec: &Value) -> Value;
}

impl Deletable for AgentPool {
    // What a pool has is known by its name.
    fn for_deletion(_: &Value) -> Value {
        json!({})
    }
}

impl Deletable for Pipeline {
    fn for_deletion(spec: &Value) -> Value {
        // Where it is not known, documents are worked to their end: those that are given up are lost.
        let policy: DeletionPolicy = serde_json::from_value(spec["deletionPolicy"].clone()).unwrap_or_default();
        let fallback = |written: &Value| -> Vec<Value> {
            let all = written["fallback"].as_array().into_iter().flatten();
            all.filter_map(|fallback| Some(json!({"pool": fallback["pool"].as_str()?}))).collect()
        };
        let stage = |stage: &Value| {
            let (name, pool) = (stage["name"].as_str()?, stage["pool"].as_str()?);
            Some(json!({"name": name, "pool": pool, "fallback": fallback(stage)}))
        };
        let stages: Vec<Value> = spec["stages"].as_array().into_iter().flatten().filter_map(stage).collect();
        json!({"stages": stages, "fallback": fallback(spec), "deletionPolicy": policy})
    }
}

/// The object as it is now, whatever it says; none where it is gone, or another one has its name.
pub async fn live<K: Deletable>(ctx: &Context, seen: &ObjectMeta) -> Result<Option<DynamicObject>, Error> {
    let name = seen.name.clone().unwrap_or_default();
    let namespace = seen.namespace.clone().unwrap_or_default();
    let api = apply::untyped::<K>(ctx, &namespace);
    let live = within("get", format!("{} {namespace}/{name}", K::kind(&())), api.get_opt(&name)).await?;
    Ok(live.filter(|live| live.metadata.uid == seen.uid))
}

/// What an object says, or why it cannot be read.
pub fn read<K: Deletable>(object: &DynamicObject) -> Result<K, String> {
    let guarded: DeserializeGuard<K> = serde_json::from_value(value(object)).expect("its metadata was read before");
    guarded.0.map_err(|invalid| invalid.error)
}

/// An object that leaves, as it is now; one that cannot be read is stood in for.
pub async fn leaving<K: Deletable>(ctx: &Context, seen: &ObjectMeta) -> Result<Option<K>, Error> {
    let live = live::<K>(ctx, seen).await?;
    Ok(live.map(|object| read(&object).unwrap_or_else(|_| stand_in(&object))))
}

/// An object with what a deletion has to know of another one: its metadata, its status as far as it can be read, and
/// little else.
pub fn stand_in<K: Deletable>(object: &DynamicObject) -> K {
    let mut known = value(object);
    known["spec"] = K::for_deletion(&known["spec"]);
    if let Ok(known) = serde_json::from_value(known.clone()) {
        return known;
    }
    // Since when agents are waited for is in a condition.
    let conditions = conditions(&known["status"]["conditions"]);
    known["status"] = json!({"conditions": conditions});
    serde_json::from_value(known).expect("its metadata was read before, and all else is written here")
}

/// Says on an object that it is not ready because it cannot be read.
pub async fn say<K: Deletable>(ctx: &Context, object: &DynamicObject, ready: Observed) -> Result<(), Error> {
    let generation = object.metadata.generation;
    match with_condition(&object.data["status"]["conditions"], ready, generation, Timestamp::now()) {
        Some(conditions) => apply::conditions::<K>(ctx, &object.metadata, &conditions).await,
        None => Ok(()),
    }
}

/// Conditions with one that is as it is now; none where they say so already. The others stay as they are written, also
/// what is not known here of them.
pub fn with_condition(
    before: &Value,
    observed: Observed,
    generation: Option<i64>,
    now: Timestamp,
) -> Option<Vec<Value>> {
    let (known, kind) = (conditions(before), observed.kind);
    let mut all = before.as_array().cloned().unwrap_or_default();
    let changed = condition::merge(&known, vec![observed], generation, now);
    if changed.iter().all(|condition| known.contains(condition)) {
        return None;
    }
    for changed in changed {
        let changed = serde_json::to_value(changed).expect("a condition is plain data");
        match all.iter_mut().find(|condition| condition["type"] == kind) {
            Some(condition) => *condition = changed,
            None => all.push(changed),
        }
    }
    Some(all)
}

/// Those that can be read.
fn conditions(written: &Value) -> Vec<Condition> {
    let written = written.as_array().into_iter().flatten();
    written.filter_map(|condition| serde_json::from_value(condition.clone()).ok()).collect()
}

fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object is plain data")
}
