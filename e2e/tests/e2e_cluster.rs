//! The cluster itself, before Docket is in it: what the other stories stand on.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::{Cluster, Expectation, Kind, PATIENCE, crash, field, present, ready_replicas, with_namespace_only};
use kube::api::DynamicObject;
use serde_json::{Value, json};

/// The only image that every cluster has; it does nothing.
const IMAGE: &str = "registry.local/pause:3.10";
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_restricted_pod_runs_with_a_disk_and_an_address() -> Result<()> {
    with_namespace_only(async |cluster| {
        let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        cluster.apply(&object("v1", "PersistentVolumeClaim", "room", claim)).await?;
        cluster.apply(&object("apps/v1", "Deployment", "idle", deployment(&json!({"cpu": "10m"})))).await?;
        let service = json!({"selector": {"app": "idle"}, "ports": [{"port": 80}]});
        cluster.apply(&object("v1", "Service", "idle", service)).await?;
        cluster.wait(Kind::Deployment, "idle", ready_replicas(1)).await?;
        cluster.wait(Kind::PersistentVolumeClaim, "room", field("/status/phase", json!("Bound"))).await?;
        leads_to_a_pod(cluster).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_pod_that_is_crashed_is_started_again() -> Result<()> {
    with_namespace_only(async |cluster| {
        cluster.apply(&object("v1", "Pod", "idle", pod(&json!({}), json!([])))).await?;
        let pod = cluster.wait(Kind::Pod, "idle", started(0)).await?;
        crash(&cluster.all(Kind::Pod), &pod).await?;
        cluster.wait(Kind::Pod, "idle", started(1)).await.map(drop)
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn pod_security_is_enforced() -> Result<()> {
    with_namespace_only(async |cluster| {
        let spec = json!({"containers": [{"name": "idle", "image": IMAGE}]});
        let said = cluster.refusal(&object("v1", "Pod", "careless", spec)).await?;
        ensure!(said.contains("allowPrivilegeEscalation"), "the refusal is:\n{said}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_pod_waits_for_a_resource_that_no_node_has() -> Result<()> {
    with_namespace_only(async |cluster| {
        cluster.apply(&object("v1", "Pod", "greedy", pod(&json!({"example.com/unheard-of": "1"}), json!([])))).await?;
        let waits = Expectation::new("to be unschedulable", |pod| {
            let conditions = pod.and_then(|pod| pod.data["status"]["conditions"].as_array());
            conditions.into_iter().flatten().any(|condition| {
                condition["reason"] == "Unschedulable"
                    && condition["message"].as_str().is_some_and(|said| said.contains("example.com/unheard-of"))
            })
        });
        cluster.wait(Kind::Pod, "greedy", waits.and(present())).await.map(drop)
    })
    .await
}

/// Waits until the only Service of the namespace leads to the only pod. What says so is made after both of them, under a name that is
/// not known before.
async fn leads_to_a_pod(cluster: &Cluster) -> Result<()> {
    let ready = "jsonpath={.items[*].endpoints[*].conditions.ready}";
    let begun = Instant::now();
    loop {
        let said = cluster.kubectl(&["get", "endpointslices", "--output", ready], "").await?;
        if said.trim() == "true" {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "of the Service's endpoints, ready are \"{said}\"");
        tokio::time::sleep(PAUSE).await;
    }
}

fn object(version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn deployment(limits: &Value) -> Value {
    let labels = json!({"app": "idle"});
    let volumes = json!([{"name": "room", "persistentVolumeClaim": {"claimName": "room"}}]);
    json!({"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod(limits, volumes)}})
}

/// What restricted Pod Security asks for.
fn pod(limits: &Value, volumes: Value) -> Value {
    let own =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true});
    json!({
        "automountServiceAccountToken": false,
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "idle", "image": IMAGE, "securityContext": own, "resources": {"limits": limits}}],
        "volumes": volumes,
    })
}

fn started(restarts: u64) -> Expectation {
    let running = move |pod: &DynamicObject| {
        let status = &pod.data["status"]["containerStatuses"][0];
        status["restartCount"].as_u64().is_some_and(|count| count >= restarts) && status["ready"] == true
    };
    Expectation::new(&format!("to run after {restarts} restarts"), move |pod| pod.is_some_and(running))
}
