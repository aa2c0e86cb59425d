//! Bad objects beside good ones: each is refused with the field's name or ends with a condition that says what to do, the
//! good ones do not notice, and a mended one heals.

use anyhow::{Result, ensure};
use e2e::{Cluster, Kind, condition, condition_saying, with_namespace};
use serde_json::{Value, json};

use crate::documents::{all_ended_once, documents, letters};

#[tokio::test]
#[ignore = "needs cluster"]
async fn the_api_server_refuses_what_cannot_be_and_names_the_field() -> Result<()> {
    with_namespace(async |cluster| {
        let parse = json!({"name": "parse", "pool": "clerks", "parse": {}});
        let cases = [
            (pool("x", json!({"concurrency": 0})), "spec.concurrency"),
            (pool("x", json!({"profile": "Fastest"})), "spec.profile"),
            (pool("x", json!({"replicas": -1})), "spec.replicas"),
            (pool("x", json!({"models": [{"name": "m", "task": "Embed", "source": {}}]})), "spec.models[0].source"),
            (pool("x", json!({"batching": {"maxWait": "soon"}})), "spec.batching.maxWait"),
            (pool("x", json!({"concurency": 3})), "concurency"),
            (pipeline("x", json!([])), "spec.stages"),
            (pipeline("x", json!([{"name": "Parse!", "pool": "clerks", "parse": {}}])), "spec.stages[0].name"),
            (
                pipeline("x", json!([{"name": "both", "pool": "clerks", "parse": {}, "embed": {"model": "m"}}])),
                "spec.stages[0]",
            ),
            (pipeline("x", json!([parse, parse])), "spec.stages[1]"),
            (changed(pipeline("x", json!([parse])), "deadline", json!("-5s")), "spec.deadline"),
            (changed(pipeline("x", json!([parse])), "retry", json!({"maxAttempts": 1000})), "spec.retry.maxAttempts"),
        ];
        for (object, field) in cases {
            let said = cluster.refusal(&object).await?;
            ensure!(said.contains(field), "the refusal of {object} does not name {field}:\n{said}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn what_only_the_whole_shows_ends_with_a_condition_and_heals() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        let parse =
            |name: &str, pool: &str, after: Value| json!({"name": name, "pool": pool, "after": after, "parse": {}});
        let good = json!([parse("parse", "clerks", json!([]))]);
        let cases = [
            (
                "cycle",
                json!([parse("a", "clerks", json!(["b"])), parse("b", "clerks", json!(["a"]))]),
                "wait for each other",
            ),
            ("dangling", json!([parse("a", "clerks", json!(["nobody"]))]), "nobody"),
            ("headless", json!([{"name": "a", "pool": "clerks", "classify": {"head": "none-such"}}]), "none-such"),
        ];
        for (name, stages, said) in &cases {
            cluster.apply(&pipeline(name, stages.clone())).await?;
            cluster.wait(Kind::Pipeline, name, condition_saying("Accepted", "False", said)).await?;
        }
        cluster.apply(&pipeline("poolless", json!([parse("a", "nowhere", json!([]))]))).await?;
        cluster.wait(Kind::Pipeline, "poolless", condition_saying("PoolsReady", "False", "nowhere")).await?;

        undisturbed(cluster, &gateway).await?;

        for name in ["cycle", "dangling", "headless", "poolless"] {
            cluster.patch(Kind::Pipeline, name, json!({"spec": {"stages": good}})).await?;
            cluster.wait(Kind::Pipeline, name, condition("Ready", "True")).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_model_that_does_not_exist_is_said_and_mended() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        let model = json!({"name": "m", "task": "Embed", "source": {"catalog": "no-such-model"}});
        let small = json!({"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}});
        cluster.apply(&pool("unfed", json!({"replicas": 1, "models": [model], "template": small}))).await?;
        cluster.wait(Kind::AgentPool, "unfed", condition("Ready", "False")).await?;
        cluster.wait(Kind::AgentPool, "unfed", condition_saying("ModelsLoaded", "False", "no-such-model")).await?;
        undisturbed(cluster, &gateway).await?;
        cluster.patch(Kind::AgentPool, "unfed", json!({"spec": {"models": []}})).await?;
        cluster.wait(Kind::AgentPool, "unfed", condition("Ready", "True")).await.map(drop)
    })
    .await
}

async fn undisturbed(cluster: &Cluster, gateway: &e2e::Gateway) -> Result<()> {
    cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
    cluster.wait(Kind::AgentPool, "clerks", condition("Ready", "True")).await?;
    let documents = documents("beside", 10);
    gateway.submit_all("letters", &documents).await?;
    all_ended_once(gateway, &documents).await
}

fn pool(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": name}, "spec": spec})
}

fn pipeline(name: &str, stages: Value) -> Value {
    json!({"apiVersion": "docket.dev/v1alpha1", "kind": "Pipeline", "metadata": {"name": name}, "spec": {"stages": stages}})
}

fn changed(mut object: Value, field: &str, value: Value) -> Value {
    object["spec"][field] = value;
    object
}
