//! From one version to the next and back, with documents on their way.
//!
//! The version before is made here, because none was released: the charts as they are, packed under an earlier version, with
//! the operator's image under the name that the earlier charts give it. Agents keep their image, so that nothing asks for
//! their being restarted.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, ensure};
use e2e::{
    DEFINITIONS, HOME, Installation, Kind, OPERATOR, RELEASE, connect, helm, helm_charts, helm_rollback, remove, run,
    with_namespace_only,
};
use kube::{
    Client,
    api::{DynamicObject, ListParams},
};

use crate::documents::{all_ended_once, documents, letters, submit_while};

/// The version before.
const BEFORE: &str = "0.0.9";
/// The operator's image, without its tag.
const IMAGE: &str = "registry.local/docket-operator";
/// Documents that are submitted during each change.
const NUMBER: usize = 300;

#[tokio::test]
#[ignore = "needs cluster"]
async fn an_upgrade_and_its_rollback_lose_no_document_and_restart_no_agent() -> Result<()> {
    let client = connect().await?;
    remove(&client, Installation::Helm).await?;
    let now = env!("CARGO_PKG_VERSION");
    tag(&format!("{IMAGE}:{now}"), &format!("{IMAGE}:{BEFORE}")).await?;
    let same_agents = format!("image.agents.tag={now}");
    let folder = std::env::temp_dir().join(format!("docket-charts-{}", std::process::id()));
    let charts = [packed(&folder, DEFINITIONS).await?, packed(&folder, RELEASE).await?];
    helm_charts(&client, [&charts[0], &charts[1]], &[&same_agents]).await?;
    operator_is(&client, BEFORE).await?;
    with_namespace_only(async |cluster| {
        let gateway = letters(cluster).await?;
        let before = processes(&client, &cluster.namespace).await?;
        let mut all = documents("up", NUMBER);
        submit_while(&gateway, &all, async || helm(&client, &[&same_agents]).await).await?;
        operator_is(&client, now).await?;
        let down = documents("down", NUMBER);
        submit_while(&gateway, &down, async || helm_rollback(&client).await).await?;
        operator_is(&client, BEFORE).await?;
        all.extend(down);
        all_ended_once(&gateway, &all).await?;
        // Whoever leads now looks at everything: what it finds is as it would make it.
        cluster.scale("clerks", 2).await?;
        cluster.wait(Kind::Deployment, "clerks-agents", e2e::ready_replicas(2)).await?;
        let after = processes(&client, &cluster.namespace).await?;
        ensure!(before.is_subset(&after), "there were {before:?}, of which some are gone; there are {after:?}");
        Ok(())
    })
    .await?;
    std::fs::remove_dir_all(&folder).context("remove the packed charts")?;
    remove(&client, Installation::Helm).await
}

/// Packs a chart under the version before; its file.
async fn packed(folder: &Path, chart: &str) -> Result<String> {
    let (folder, source) = (folder.display().to_string(), format!("charts/{chart}"));
    let pack = ["helm", "package", &source, "--version", BEFORE, "--app-version", BEFORE, "--destination", &folder];
    run(&pack, "").await?.or_fail("helm package")?;
    Ok(format!("{folder}/{chart}-{BEFORE}.tgz"))
}

async fn tag(image: &str, another: &str) -> Result<()> {
    run(&["e2e/cluster/tag.sh", image, another], "").await?.or_fail("name the image a second time").map(drop)
}

async fn operator_is(client: &Client, version: &str) -> Result<()> {
    let operator = Kind::Deployment.within(client, HOME).get(OPERATOR).await.context("read the operator")?;
    let image = &operator.data["spec"]["template"]["spec"]["containers"][0]["image"];
    ensure!(*image == format!("{IMAGE}:{version}"), "the operator's image is {image}");
    Ok(())
}

/// Agents and gateway of a namespace that do not leave, and the broker, by pod and number of restarts.
async fn processes(client: &Client, namespace: &str) -> Result<BTreeSet<String>> {
    let started = |pod: &DynamicObject| {
        let restarts = &pod.data["status"]["containerStatuses"][0]["restartCount"];
        format!("{} {} {restarts}", pod.metadata.name.as_deref().unwrap_or_default(), uid(pod))
    };
    let pods = Kind::Pod.within(client, namespace).list(&ListParams::default()).await.context("list the pods")?;
    let broker = Kind::Pod.within(client, HOME).get("docket-nats-0").await.context("find the broker")?;
    let stay = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(stay.chain([&broker]).map(started).collect())
}

fn uid(pod: &DynamicObject) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}
