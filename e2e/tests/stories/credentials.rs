//! What the credentials that pods have at the broker are good for: their own work, and nothing of other pools and namespaces.

use anyhow::{Result, ensure};
use e2e::{Broker, Kind, condition, is_one_user, with_namespace, with_namespace_only};
use serde_json::{Value, json};

use crate::documents::{all_ended_once, documents, letters};

/// What the broker says of a stream that the account does not have.
const UNKNOWN_STREAM: u64 = 10_059;

#[tokio::test]
#[ignore = "needs cluster"]
async fn credentials_that_nobody_gives_any_more_stay_in_no_namespace() -> Result<()> {
    with_namespace(async |cluster| {
        cluster.leave_copy().await?;
        letters(cluster).await?;
        cluster.copy_is_gone().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn credentials_of_pods_reach_neither_other_pools_nor_other_namespaces() -> Result<()> {
    if is_one_user() {
        eprintln!("skipped: all are one user of this broker, who may do everything");
        return Ok(());
    }
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        let readers = json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": "readers"}, "spec": {"replicas": 0}});
        cluster.apply(&readers).await?;
        cluster.wait(Kind::AgentPool, "readers", condition("Ready", "True")).await?;
        with_namespace_only(async |elsewhere| {
            let their_gateway = letters(elsewhere).await?;
            let theirs = elsewhere.broker("clerks-agents").await?;
            has_its_own_work(&theirs, "clerks").await?;
            let ours = cluster.broker("clerks-agents").await?;
            has_its_own_work(&ours, "clerks").await?;
            has_its_own_work(&cluster.broker("readers-agents").await?, "readers").await?;
            agents_are_kept_out(&ours, &theirs).await?;
            a_gateway_is_kept_out(&cluster.broker("docket-gateway").await?, &theirs).await?;
            // Nothing of what was tried has kept a document from its way.
            for (gateway, prefix) in [(&gateway, "ours"), (&their_gateway, "theirs")] {
                let documents = documents(prefix, 5);
                gateway.submit_all("letters", &documents).await?;
                all_ended_once(gateway, &documents).await?;
            }
            Ok(())
        })
        .await
    })
    .await
}

async fn has_its_own_work(agents: &Broker, pool: &str) -> Result<()> {
    let stream = agents.tasks(pool);
    let info = agents.ask(&format!("$JS.API.STREAM.INFO.{stream}")).await?;
    ensure!(info["config"]["name"] == stream.as_str(), "the agents of {pool} are told {info:#}");
    let info = agents.ask(&format!("$JS.API.CONSUMER.INFO.{stream}.normal")).await?;
    ensure!(info["name"] == "normal", "the agents of {pool} are told {info:#}");
    Ok(())
}

async fn agents_are_kept_out(agents: &Broker, elsewhere: &Broker) -> Result<()> {
    let (own, prefix, their_prefix) = (agents.tasks("clerks"), &agents.prefix, &elsewhere.prefix);
    let mut refused = administration(agents);
    for stream in [agents.tasks("readers"), agents.tasks("_results"), elsewhere.tasks("clerks")] {
        refused.extend(work(&stream));
    }
    refused
        .extend([&own, &format!("KV_{prefix}-records-letters")].map(|stream| format!("$JS.API.STREAM.PURGE.{stream}")));
    refused.extend(["status.readers.pod", "status._gateways.pod"].map(|what| format!("{prefix}.{what}")));
    refused.extend(["tasks.clerks.normal.1", "events.1"].map(|what| format!("{their_prefix}.{what}")));
    all_refused(agents, &refused, &["tasks.>", "status.>"], elsewhere).await?;
    let asked = agents.ask(&format!("$JS.API.STREAM.INFO.{}", elsewhere.tasks("clerks"))).await?;
    is_unknown(&asked)
}

async fn a_gateway_is_kept_out(gateway: &Broker, elsewhere: &Broker) -> Result<()> {
    let mut refused = administration(gateway);
    refused.extend(work(&gateway.tasks("clerks")));
    refused.push(format!("{}.status.clerks.pod", gateway.prefix));
    all_refused(gateway, &refused, &["tasks.>"], elsewhere).await?;
    // It may purge every stream that it reaches.
    for call in ["INFO", "PURGE"] {
        is_unknown(&gateway.ask(&format!("$JS.API.STREAM.{call}.{}", elsewhere.tasks("clerks"))).await?)?;
    }
    Ok(())
}

/// Taking and settling a pool's tasks; servers name an acknowledgement in one of two ways.
fn work(stream: &str) -> [String; 3] {
    [
        format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.normal"),
        format!("$JS.ACK.{stream}.normal.1.1.1.1700000000000000000.0"),
        format!("$JS.ACK._.account.{stream}.normal.1.1.1.1700000000000000000.0"),
    ]
}

/// What the operator, or the servers' owner, may do alone.
fn administration(broker: &Broker) -> Vec<String> {
    let tasks = broker.tasks("clerks");
    let of_tasks = ["STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "CONSUMER.CREATE"];
    let of_tasks = of_tasks.iter().map(|call| format!("$JS.API.{call}.{tasks}"));
    let records = format!("$JS.API.STREAM.DELETE.KV_{}-records-letters", broker.prefix);
    let consumer = format!("$JS.API.CONSUMER.DELETE.{tasks}.normal");
    let servers = ["PING", "CLAIMS.UPDATE", "ACCOUNT.PING"].map(|what| format!("$SYS.REQ.{what}"));
    of_tasks.chain([records, consumer]).chain(servers).collect()
}

/// Nothing of this may be published or heard, and what is for others may not be heard either.
async fn all_refused(broker: &Broker, published: &[String], heard: &[&str], elsewhere: &Broker) -> Result<()> {
    for subject in published {
        ensure!(broker.refuses_from(subject).await?, "{:?} may publish to {subject}", broker.inbox);
    }
    let own = heard.iter().map(|what| format!("{}.{what}", broker.prefix));
    let others = [">", "$SYS.>", "_INBOX.>", "_INBOX_operator.>"].map(str::to_owned);
    for subject in own.chain(others).chain([format!("{}.>", elsewhere.prefix)]) {
        ensure!(broker.refuses_to(&subject).await?, "{:?} may hear {subject}", broker.inbox);
    }
    Ok(())
}

fn is_unknown(answer: &Value) -> Result<()> {
    ensure!(answer["error"]["err_code"] == UNKNOWN_STREAM, "another namespace's stream is answered for: {answer:#}");
    Ok(())
}
