//! CP-15: somebody changes or deletes what the operator made.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, stream};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Case, World, manners::quiet};
use crate::{
    Kind, OWNED, essence,
    faults::{
        lab::until,
        report::{Findings, times},
        workload,
    },
};

pub const CASE: Case = Case {
    id: "CP-15",
    fault: "each object of a pool and of a gateway is deleted, changed, and robbed of its labels",
    scaled: "5 rounds of every object and every kind of damage instead of 500 random ones. Secrets are not watched, since that \
             takes the right to read all of them: one that is deleted comes back within five minutes",
    run: |world| run(world).boxed_local(),
};

/// Catalogue.
const RESTORED: Duration = Duration::from_secs(10);
/// Longest wait, for one that is not.
const LONGEST: Duration = Duration::from_secs(25);
const NAMES: [&str; 2] = ["clerks-agents", "docket-gateway"];

#[derive(Clone, Copy, Debug)]
enum Damage {
    Deleted,
    Changed,
    Unlabelled,
}

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let rounds = if world.short { 1 } else { 5 };
    let trials: Vec<Vec<(String, Option<Duration>)>> =
        stream::iter(0..rounds).map(async |_| round(world).await).buffer_unordered(world.at_once).try_collect().await?;
    let mut by_damage: BTreeMap<&str, (usize, Vec<Duration>)> = BTreeMap::new();
    for (what, took) in trials.iter().flatten() {
        let (count, restored) = by_damage.entry(what).or_default();
        *count += 1;
        restored.extend(took);
    }
    let failed = by_damage.iter().filter(|(_, (count, restored))| restored.len() < *count);
    let failed: Vec<String> =
        failed.map(|(what, (count, restored))| format!("{what}: {} of {count}", count - restored.len())).collect();
    findings.none("kinds of damage that were not undone", by_damage.len(), &failed);
    let all: Vec<Duration> = by_damage.values().flat_map(|(_, restored)| restored.clone()).collect();
    let longest = all.iter().max().copied().unwrap_or_default();
    findings.check("until it is restored", times(all), longest <= RESTORED);
    Ok(findings)
}

async fn round(world: &World<'_>) -> Result<Vec<(String, Option<Duration>)>> {
    let namespace = world.lab.namespace("tampered").await?;
    let operator = world.lab.start_alone(&namespace).await?;
    let client = &world.lab.client;
    for step in [workload::pool("clerks", 1), workload::pipeline("letters", &["read"])] {
        step.take(client, &namespace).await?;
        step.wait(client, &namespace).await?;
    }
    quiet(&operator).await?;
    let mut found = Vec::new();
    for (kind, name) in OWNED.iter().flat_map(|kind| NAMES.map(|name| (*kind, name))) {
        for damage in [Damage::Deleted, Damage::Changed, Damage::Unlabelled] {
            let took = damaged(world, &namespace, kind, name, damage).await?;
            found.push((format!("{kind:?} {name} {damage:?}"), took));
        }
    }
    drop(operator);
    world.lab.release(&namespace).await?;
    Ok(found)
}

/// How long it took until the object was as before; none where it never was.
async fn damaged(
    world: &World<'_>,
    namespace: &str,
    kind: Kind,
    name: &str,
    damage: Damage,
) -> Result<Option<Duration>> {
    let api = kind.within(&world.lab.client, namespace);
    let Some(before) = api.get_opt(name).await.with_context(|| format!("read {kind:?} {name}"))? else {
        return Ok(None);
    };
    let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    let change = match damage {
        Damage::Deleted => None,
        Damage::Changed => Some(change_of(kind, &before.data)),
        Damage::Unlabelled => Some(json!({"metadata": {"labels": {
            "app.kubernetes.io/managed-by": null, "docket.dev/pool": null}}})),
    };
    match change {
        None => api.delete(name, &DeleteParams::background()).await.map(drop),
        Some(change) => api.patch(name, &params, &Patch::Merge(&change)).await.map(drop),
    }
    .with_context(|| format!("damage {kind:?} {name}"))?;
    let whole = essence(&before);
    let restored = until("the object is restored", LONGEST, async || {
        let now = api.get_opt(name).await.context("look at an object")?;
        let now = now.filter(|now| now.metadata.deletion_timestamp.is_none());
        Ok(now.is_some_and(|now| {
            essence(&now) == whole && (!matches!(damage, Damage::Deleted) || now.metadata.uid != before.metadata.uid)
        }))
    });
    Ok(restored.await.ok())
}

/// A change that the API server takes, of something that the operator decides.
fn change_of(kind: Kind, data: &Value) -> Value {
    match kind {
        Kind::Deployment => json!({"spec": {"replicas": 5}}),
        Kind::Service => {
            let mut ports = data["spec"]["ports"].clone();
            ports[0]["port"] = json!(8099);
            json!({"spec": {"ports": ports}})
        }
        Kind::ConfigMap => {
            let files = data["data"].as_object().cloned().unwrap_or_default();
            json!({"data": files.keys().map(|file| (file.clone(), json!("tampered"))).collect::<serde_json::Map<_, _>>()})
        }
        Kind::ServiceAccount => json!({"automountServiceAccountToken": true}),
        Kind::NetworkPolicy => json!({"spec": {"ingress": [{}]}}),
        _ => json!({"spec": {"maxUnavailable": 7}}),
    }
}
