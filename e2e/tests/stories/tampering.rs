//! Somebody deletes or changes what the operator made: it is restored, whatever it was.

use anyhow::{Result, ensure};
use e2e::{Cluster, Expectation, Kind, OWNED, essence, with_namespace};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::documents::{all_ended_once, documents, letters};

const MADE: &str = "app.kubernetes.io/managed-by=docket-operator";

#[tokio::test]
#[ignore = "needs cluster"]
async fn what_is_deleted_is_made_again() -> Result<()> {
    with_namespace(async |cluster| {
        letters(cluster).await?;
        for (kind, object) in made(cluster).await? {
            let name = object.metadata.name.clone().unwrap_or_default();
            cluster.delete(kind, &name).await?;
            cluster.wait(kind, &name, another_like(&object)).await?;
        }
        still_works(cluster, "deleted").await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn what_is_changed_is_changed_back() -> Result<()> {
    with_namespace(async |cluster| {
        letters(cluster).await?;
        for (kind, object) in made(cluster).await? {
            let name = object.metadata.name.clone().unwrap_or_default();
            for change in changes(kind, &object) {
                let changed = cluster.patch(kind, &name, change.clone()).await?;
                ensure!(essence(&changed) != essence(&object), "{kind:?} \"{name}\" is the same after {change}");
                cluster.wait(kind, &name, like(&object)).await?;
            }
        }
        still_works(cluster, "changed").await
    })
    .await
}

async fn still_works(cluster: &Cluster, prefix: &str) -> Result<()> {
    // At the address that it has now.
    let gateway = cluster.gateway().await?;
    let documents = documents(prefix, 10);
    gateway.submit_all("letters", &documents).await?;
    all_ended_once(&gateway, &documents).await
}

/// Everything that the operator made in the namespace, of the pool and of the gateway.
async fn made(cluster: &Cluster) -> Result<Vec<(Kind, DynamicObject)>> {
    let mut all = Vec::new();
    for kind in OWNED {
        let found = cluster.labelled(kind, MADE).await?;
        ensure!(found.len() >= 2, "of pool and gateway there should be a {kind:?} each, there are {}", found.len());
        all.extend(found.into_iter().map(|object| (kind, object)));
    }
    Ok(all)
}

fn like(object: &DynamicObject) -> Expectation {
    let wanted = essence(object);
    Expectation::new("to be as it was", move |found| found.is_some_and(|found| essence(found) == wanted))
}

fn another_like(object: &DynamicObject) -> Expectation {
    let uid = object.metadata.uid.clone();
    Expectation::new("to be another", move |found| found.is_some_and(|found| found.metadata.uid != uid))
        .and(like(object))
}

/// Changes that each kind can suffer, besides its labels.
fn changes(kind: Kind, object: &DynamicObject) -> Vec<Value> {
    let mut changes = vec![json!({"metadata": {"labels": {"app.kubernetes.io/name": "another"}}})];
    // A gateway belongs to no single object: it goes with the last one of its namespace.
    if object.metadata.owner_references.is_some() {
        changes.push(json!({"metadata": {"ownerReferences": []}}));
    }
    let own = match kind {
        Kind::Deployment => {
            let mut containers = object.data["spec"]["template"]["spec"]["containers"].clone();
            containers[0]["image"] = json!("registry.local/another:1");
            json!({"spec": {"template": {"spec": {"containers": containers}}}})
        }
        Kind::Service => json!({"spec": {"selector": {"app.kubernetes.io/name": "another"}}}),
        Kind::ConfigMap => {
            let files = object.data["data"].as_object().into_iter().flatten();
            let emptied: serde_json::Map<String, Value> =
                files.map(|(file, _)| (file.clone(), json!("none"))).collect();
            json!({"data": emptied})
        }
        Kind::ServiceAccount => json!({"automountServiceAccountToken": true}),
        Kind::NetworkPolicy => json!({"spec": {"ingress": [{}]}}),
        Kind::PodDisruptionBudget => {
            json!({"spec": {"selector": {"matchLabels": {"app.kubernetes.io/name": "another"}}}})
        }
        _ => return changes,
    };
    changes.push(own);
    changes
}
