//! Pipelines that change while documents are on their way.

use anyhow::{Result, ensure};
use e2e::{Kind, condition, condition_saying, with_namespace};
use serde_json::{Value, json};

use crate::documents::{all_ended_once, documents, letters};

const HELD: usize = 10;

#[tokio::test]
#[ignore = "needs cluster"]
async fn an_edit_leaves_documents_in_flight_on_their_plan() -> Result<()> {
    with_namespace(async |cluster| {
        cluster.apply_file("e2e/manifests/held.yaml").await?;
        cluster.wait(Kind::Pipeline, "held", condition("Ready", "True")).await?;
        let gateway = cluster.gateway().await?;
        let early = documents("early", HELD);
        gateway.submit_all("held", &early).await?;
        gateway.awaiting("held", HELD).await?;

        let before = cluster.labelled(Kind::Pod, "app.kubernetes.io/component=gateway").await?;
        cluster.patch(Kind::Pipeline, "held", json!({"spec": {"stages": second_edition()}})).await?;
        let edited = cluster.wait(Kind::Pipeline, "held", condition("Ready", "True")).await?;
        // One that was not told yet that it is to go takes documents by its plan.
        for pod in before {
            cluster.wait_gone(Kind::Pod, &pod.metadata.name.unwrap_or_default()).await?;
        }
        // An open connection may still lead to the gateway that is going.
        let gateway = cluster.gateway().await?;
        let late = documents("late", HELD);
        gateway.submit_all("held", &late).await?;
        let late_ends = gateway.ends_of("held", late.keys()).await?;
        for (id, ended) in &late_ends {
            ensure!(ended.outcome == "succeeded" && ended.output["edition"] == 2, "\"{id}\" ended as {ended:?}");
            ensure!(edited.data["status"]["plan"] == ended.plan.as_str(), "\"{id}\" was worked by plan {}", ended.plan);
        }

        for id in early.keys() {
            gateway.approve("held", id).await?;
        }
        for (id, ended) in gateway.ends_of("held", early.keys()).await? {
            ensure!(ended.outcome == "succeeded" && ended.output["edition"] == 1, "\"{id}\" ended as {ended:?}");
            ensure!(late_ends.values().all(|late| late.plan != ended.plan), "\"{id}\" was worked by the later plan");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_suspended_pipeline_takes_documents_and_works_them_when_it_is_resumed() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        cluster.patch(Kind::Pipeline, "letters", json!({"spec": {"suspend": true}})).await?;
        cluster.wait(Kind::Pipeline, "letters", condition("Accepted", "True")).await?;
        gateway.suspends("letters").await?;
        let documents = documents("patient", 10);
        gateway.submit_all("letters", &documents).await?;
        cluster.patch(Kind::Pipeline, "letters", json!({"spec": {"suspend": false}})).await?;
        all_ended_once(&gateway, &documents).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_deleted_pipeline_is_served_no_more_and_the_others_are() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        cluster.apply_file("e2e/manifests/held.yaml").await?;
        cluster.wait(Kind::Pipeline, "held", condition("Ready", "True")).await?;
        gateway.serves("held", true).await?;
        cluster.delete(Kind::Pipeline, "held").await?;
        cluster.wait_gone(Kind::Pipeline, "held").await?;
        gateway.serves("held", false).await?;
        let documents = documents("after", 10);
        gateway.submit_all("letters", &documents).await?;
        all_ended_once(&gateway, &documents).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_pool_that_changes_takes_no_pipeline_from_its_gateway() -> Result<()> {
    with_namespace(async |cluster| {
        letters(cluster).await?;
        // It has no agents, so that its documents wait.
        let models = |name: &str| json!([{"name": name, "task": "Embed", "source": {"catalog": "minilm"}}]);
        let pool = json!({"replicas": 0, "models": models("before")});
        cluster.apply(&object("AgentPool", "readers", &pool)).await?;
        let stages = json!([
            {"name": "parse", "pool": "clerks", "parse": {}},
            {"name": "vectors", "pool": "readers", "after": ["parse"], "embed": {"model": "before"}},
        ]);
        cluster.apply(&object("Pipeline", "vectors", &json!({"stages": stages}))).await?;
        cluster.wait(Kind::Pipeline, "vectors", condition("Accepted", "True")).await?;
        let gateway = cluster.gateway().await?;
        gateway.serves("vectors", true).await?;
        let mut taken = documents("early", HELD);
        gateway.submit_all("vectors", &taken).await?;

        cluster.patch(Kind::AgentPool, "readers", json!({"spec": {"models": models("after")}})).await?;
        cluster.wait(Kind::Pipeline, "vectors", condition_saying("Accepted", "False", "before")).await?;
        cluster.wait(Kind::Pipeline, "vectors", condition_saying("Degraded", "True", "as it last was")).await?;
        // Ready says that the gateway has its newest files, those of the other pipeline among them.
        cluster.patch(Kind::Pipeline, "letters", json!({"spec": {"stages": second_edition()}})).await?;
        cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
        let gateway = cluster.gateway().await?;
        // Agents hold the model by whatever name: further documents are taken, too.
        let late = documents("late", HELD);
        gateway.submit_all("vectors", &late).await?;
        taken.extend(late);
        let mut listed = gateway.list("vectors").await?;
        listed.sort();
        ensure!(listed.iter().eq(taken.keys()), "the gateway lists {listed:?}");

        cluster.patch(Kind::AgentPool, "readers", json!({"spec": {"models": models("before")}})).await?;
        cluster.wait(Kind::Pipeline, "vectors", condition("Degraded", "False")).await.map(drop)
    })
    .await
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "docket.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The stages of held.yaml without the person, and another entry.
fn second_edition() -> Value {
    let template = "{\"edition\": 2, \"id\": {{ document.id | tojson }}}";
    json!([
        {"name": "parse", "pool": "clerks", "parse": {}},
        {"name": "entry", "pool": "clerks", "after": ["parse"], "transform": {"format": "Json", "template": template}},
    ])
}
