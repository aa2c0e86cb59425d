//! Results in a table and in a database: a row a document, whatever becomes of gateways and of the database.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Gateway, Kind, PATIENCE, Postgres, condition, condition_saying, crash, field, with_namespace};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    documents::{all_ended_once, documents},
    kills::{running, runs_again},
};

/// The small pipeline.
const LETTERS: &str = include_str!("../../manifests/letters.yaml");
/// A database in the internet.
const DATABASE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 5432);
const GATEWAYS: &str = "app.kubernetes.io/component=gateway";
/// Whose documents are that name no tenant.
const TENANT: &str = "local";
/// Between two looks at who is there.
const PAUSE: Duration = Duration::from_millis(500);
/// Documents before something happens, and as many afterwards.
const NUMBER: usize = 10;

#[tokio::test]
#[ignore = "needs cluster"]
async fn results_in_a_table_outlive_their_gateway() -> Result<()> {
    with_namespace(async |cluster| {
        apply(cluster, &json!({"table": {}})).await?;
        cluster.wait(Kind::Pipeline, "letters", condition_saying("Kept", "False", "ResultsNotKept")).await?;
        cluster.apply(&claim()).await?;
        // The operator looks for a claim when a pipeline changes.
        edit(cluster, json!({"anomalyThreshold": 0.8})).await?;
        cluster.wait(Kind::Pipeline, "letters", condition("Kept", "True")).await?;
        let gateway = serves(cluster).await?;
        cluster.wait(Kind::Deployment, "docket-gateway", field("/spec/strategy/type", json!("Recreate"))).await?;
        let mut all = documents("early", NUMBER);
        gateway.submit_all("letters", &all).await?;
        all_ended_once(&gateway, &all).await?;

        let first = only_gateway(cluster, &BTreeSet::new()).await?;
        edit(cluster, json!({"anomalyThreshold": 0.9})).await?;
        let gateway = serves(cluster).await?;
        only_gateway(cluster, &first).await?;
        let late = documents("late", NUMBER);
        gateway.submit_all("letters", &late).await?;
        all.extend(late);
        all_ended_once(&gateway, &all).await?;
        rows_are_erased(&gateway, all.len()).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn results_reach_a_database() -> Result<()> {
    let Some(mut database) = Postgres::start(DATABASE).await? else { return Ok(()) };
    with_namespace(async |cluster| {
        let given = json!({"password": database.password()});
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "docket-gateway-env"}, "stringData": given,
        });
        cluster.apply(&secret).await?;
        let postgres = json!({"url": database.url(), "passwordFile": "/run/secrets/docket/password"});
        apply(cluster, &json!({"postgres": postgres})).await?;
        let gateway = serves(cluster).await?;
        let mut all = documents("early", NUMBER);
        gateway.submit_all("letters", &all).await?;
        all_ended_once(&gateway, &all).await?;
        has_rows_of(&database, &all).await?;

        database.stop();
        let late = documents("late", NUMBER);
        gateway.submit_all("letters", &late).await?;
        for id in late.keys() {
            gateway.fails_at("letters", id, "results", "ResultsUnavailable").await?;
        }
        // The one that held them is gone, and the next one finds no database either.
        let pod = running(cluster, GATEWAYS).await?;
        let pods = cluster.all(Kind::Pod);
        runs_again(&pods, &crash(&pods, &pod).await?).await?;
        database.start_again().await?;
        all.extend(late);
        all_ended_once(&gateway, &all).await?;
        has_rows_of(&database, &all).await
    })
    .await
}

/// Applies the small pipeline with its results written somewhere: none of its gateways has a plan without that.
async fn apply(cluster: &Cluster, results: &Value) -> Result<()> {
    let written = LETTERS.replace("  stages:\n", &format!("  results: {results}\n  stages:\n"));
    cluster.kubectl(&["apply", "--server-side", "--filename", "-"], &written).await.map(drop)
}

/// Changes how the pipeline's results are written, which replaces its gateway.
async fn edit(cluster: &Cluster, results: Value) -> Result<()> {
    cluster.patch(Kind::Pipeline, "letters", json!({"spec": {"results": results}})).await.map(drop)
}

/// The gateway, when it serves the pipeline as it is written.
async fn serves(cluster: &Cluster) -> Result<Gateway> {
    cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
    // An open connection may still lead to the gateway that is going.
    cluster.gateway().await
}

/// A folder for the gateway.
fn claim() -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "docket-gateway-state", "labels": {"docket.dev/gateway": "allowed"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    })
}

/// The pods of the gateway that are not on their way out.
async fn gateways(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let stays = |pod: &DynamicObject| pod.metadata.deletion_timestamp.is_none();
    let pods = cluster.labelled(Kind::Pod, GATEWAYS).await?;
    Ok(pods.into_iter().filter(stays).filter_map(|pod| pod.metadata.uid).collect())
}

/// Waits until there is one, and not the one that there was.
async fn only_gateway(cluster: &Cluster, before: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let begun = Instant::now();
    loop {
        let present = gateways(cluster).await?;
        if present.len() == 1 && present != *before {
            return Ok(present);
        }
        ensure!(begun.elapsed() < PATIENCE, "gateways were {before:?}, then {present:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Has the gateway erase all documents, for it counts the rows that it finds in its table.
async fn rows_are_erased(gateway: &Gateway, number: usize) -> Result<()> {
    let report = gateway.erase_tenant(TENANT).await?;
    let mut places = report["places"].as_array().into_iter().flatten();
    let rows = places.find(|place| place["place"] == "results");
    let rows = rows.with_context(|| format!("the gateway knows no results: {report:#}"))?;
    ensure!(rows["removed"] == number && rows["left"] == json!([]), "of {number} documents there were rows: {rows:#}");
    Ok(())
}

/// The database has a row of each document and of no other, and has noted the end of each once.
async fn has_rows_of(database: &Postgres, documents: &BTreeMap<String, String>) -> Result<()> {
    let said = database.query("SELECT document, outcome, rtrim(output->>'text', E'\\n') FROM docket_results").await?;
    let mut rows: Vec<&str> = said.lines().collect();
    rows.sort_unstable();
    let expected: Vec<String> = documents.iter().map(|(id, text)| format!("{id}|succeeded|{text}")).collect();
    ensure!(rows == expected, "the rows are {rows:#?}");
    let ends = "SELECT count(*), count(DISTINCT document) FROM docket_audit_log WHERE event = 'ended'";
    let ends = database.query(ends).await?;
    ensure!(ends == format!("{0}|{0}", documents.len()), "ends in the log, and documents that they are of: {ends}");
    Ok(())
}
