//! Pools that want more devices than the nodes have.

use anyhow::{Result, ensure};
use e2e::{Cluster, Expectation, Kind, with_namespace};
use serde_json::json;

/// What the nodes have some of.
const DEVICE: &str = "docket.dev/e2e-device";

#[tokio::test]
#[ignore = "needs cluster"]
async fn pools_that_want_more_devices_than_there_are_share_them() -> Result<()> {
    with_namespace(async |cluster| {
        let told = shared(cluster).await;
        devices(cluster, 0).await?;
        told
    })
    .await
}

async fn shared(cluster: &Cluster) -> Result<()> {
    devices(cluster, 2).await?;
    cluster.apply_file("e2e/manifests/devices.yaml").await?;
    // At least one of them takes back what it has asked for in vain, and says so.
    let limited = || {
        Expectation::new("to be limited by the devices that there are", |pool| {
            let decisions = pool.and_then(|pool| pool.data["status"]["scaling"]["decisions"].as_array());
            decisions.and_then(|all| all.first()).is_some_and(|newest| newest["clamp"] == "Devices")
        })
    };
    let pool = tokio::select! {
        pool = cluster.wait(Kind::AgentPool, "readers", limited()) => pool?,
        pool = cluster.wait(Kind::AgentPool, "clerks", limited()) => pool?,
    };
    let desired = pool.data["status"]["scaling"]["desired"].as_u64();
    ensure!(desired.is_some_and(|desired| (1..3).contains(&desired)), "desired is {desired:?}");
    // With devices for all, all get what they want.
    devices(cluster, 6).await?;
    for deployment in ["readers-agents", "clerks-agents"] {
        let asks = Expectation::new("to ask for three agents", |deployment| {
            deployment.is_some_and(|deployment| deployment.data["spec"]["replicas"] == json!(3))
        });
        cluster.wait(Kind::Deployment, deployment, asks).await?;
    }
    for pool in ["readers", "clerks"] {
        for pod in cluster.labelled(Kind::Pod, &format!("docket.dev/pool={pool}")).await? {
            let placed = Expectation::new("to have a node", |pod| {
                pod.is_none_or(|pod| pod.data["spec"]["nodeName"].is_string())
            });
            e2e::wait(&cluster.all(Kind::Pod), &pod.metadata.name.unwrap_or_default(), &placed, e2e::PATIENCE).await?;
        }
    }
    Ok(())
}

/// Lets each node have so many devices; none takes them away.
async fn devices(cluster: &Cluster, number: u32) -> Result<()> {
    let capacity = if number == 0 { json!(null) } else { json!(number.to_string()) };
    let patch = json!({"status": {"capacity": {DEVICE: capacity}}}).to_string();
    for node in Kind::Node.everywhere(&cluster.client).list(&Default::default()).await?.items {
        let name = node.metadata.name.unwrap_or_default();
        let change = ["patch", "node", &name, "--subresource=status", "--type=merge", "--patch", &patch];
        cluster.kubectl(&change, "").await?;
    }
    Ok(())
}
