//! How far a change of a field came: into objects that Kubernetes acts on, or into files that a process works by.
//!
//! A file alone is no effect: agents and gateways read theirs when they start (`agent-pod/src/serve/config`), so a
//! changed ConfigMap counts once pods are made by its digest, and those that run are.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use crds::{AgentPool, Pipeline, PipelineSpec};
use kube::{
    Client,
    api::{DynamicObject, ListParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::state::State;
use crate::Kind;

/// The digest of the files that pods are made by.
const DIGEST: &str = "docket.dev/config";
/// Of agents and gateways alike: their ConfigMap, their Deployment and their pods have the same.
const OURS: [&str; 2] = ["app.kubernetes.io/component", "app.kubernetes.io/instance"];

/// Adds by which files pods are made (`Made/…`), and by which those work that run (`Running/…`).
pub async fn note_files(client: &Client, namespace: &str, state: &mut State) -> Result<()> {
    let list = async |kind: Kind| {
        let listed = kind.within(client, namespace).list(&ListParams::default()).await;
        anyhow::Ok(listed.with_context(|| format!("list {kind:?}"))?.items)
    };
    for deployment in list(Kind::Deployment).await? {
        let digest = deployment.data["spec"]["template"]["metadata"]["annotations"][DIGEST].clone();
        state.insert(format!("Made/{}", owner(&json!(deployment.metadata.labels))), digest);
        state.insert(format!("Running/{}", owner(&json!(deployment.metadata.labels))), json!([]));
    }
    for pod in list(Kind::Pod).await?.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let running = state.entry(format!("Running/{}", owner(&json!(pod.metadata.labels)))).or_insert(json!([]));
        let digests: BTreeSet<&str> = running.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        *running = json!(digests.into_iter().chain(digest_of(pod)).collect::<BTreeSet<&str>>());
    }
    Ok(())
}

fn digest_of(pod: &DynamicObject) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(DIGEST).map(String::as_str)
}

/// Whose an object is, by its labels.
fn owner(labels: &Value) -> String {
    OURS.map(|label| labels[label].as_str().unwrap_or_default()).join(" ")
}

/// What a change has reached, by kind; none while it has reached nothing that acts on it. What the operator says of it is no
/// effect.
pub fn effect(base: &State, now: &State) -> Option<String> {
    let names: BTreeSet<&String> = base.keys().chain(now.keys()).collect();
    let differs = |name: &&&String| without_status(base.get(**name)) != without_status(now.get(**name));
    let differing: Vec<&str> = names.iter().filter(differs).map(|name| name.as_str()).collect();
    let of =
        |kind: &str| differing.iter().filter(|name| name.split('/').next() == Some(kind)).copied().collect::<Vec<_>>();
    let files = of("ConfigMap");
    if !files.is_empty() {
        return files.iter().all(|file| is_taken(file, base, now)).then(|| "files, and pods by them".to_owned());
    }
    ["Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount", "Secret", "Stream"]
        .into_iter()
        .find(|kind| !of(kind).is_empty())
        .map(str::to_owned)
}

/// Whether pods are made by what a ConfigMap says now, and those that run are.
fn is_taken(file: &str, base: &State, now: &State) -> bool {
    let owner_in = |state: &State| state.get(file).map(|map| owner(&map["metadata"]["labels"]));
    let Some(owner) = owner_in(now).or_else(|| owner_in(base)) else { return false };
    let (made, running) = (format!("Made/{owner}"), format!("Running/{owner}"));
    if !now.contains_key(file) {
        // Whoever read it is to be gone too.
        return !now.contains_key(&made);
    }
    let Some(digest) = now.get(&made).filter(|digest| digest.is_string()) else { return false };
    let others = now.get(&running).and_then(Value::as_array).into_iter().flatten().any(|running| running != digest);
    base.get(&made) != Some(digest) && !others
}

fn without_status(object: Option<&Value>) -> Option<Value> {
    let mut object = object?.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    Some(object)
}

/// Whether the files that a change has reached mean it, to the types that the program reads them by.
pub fn misread(kind: Kind, name: &str, base: &State, now: &State, changed: &Value) -> Result<()> {
    match kind {
        Kind::Pipeline => {
            let (file, map) = (format!("pipeline-{name}.yaml"), "ConfigMap/docket-gateway");
            let Some(read) = read::<Pipeline>(now, map, &file)? else { bail!("no gateway has {file}") };
            let named = text(now, map, "gateway.yaml").unwrap_or_default();
            ensure!(named.contains(&file), "{file} is there, and no gateway is told to read it");
            let meant: PipelineSpec = serde_json::from_value(changed.clone()).context("read the change")?;
            ensure!(read.spec == meant.as_worked(), "{file} means something else than what was written");
        }
        _ => {
            let map = format!("ConfigMap/{name}-agents");
            if text(base, &map, "pool.yaml") != text(now, &map, "pool.yaml") {
                let (before, after) =
                    (read::<AgentPool>(base, &map, "pool.yaml")?, read::<AgentPool>(now, &map, "pool.yaml")?);
                let spec = |pool: Option<AgentPool>| pool.map(|pool| pool.spec);
                ensure!(spec(before) != spec(after), "the agents' file has another text and means the same");
            }
        }
    }
    Ok(())
}

fn text<'a>(state: &'a State, map: &str, file: &str) -> Option<&'a str> {
    state.get(map)?["data"][file].as_str()
}

fn read<T: DeserializeOwned>(state: &State, map: &str, file: &str) -> Result<Option<T>> {
    let read = text(state, map, file).map(serde_json::from_str).transpose();
    read.with_context(|| format!("read {file} as the program does"))
}
