//! What belongs to a pipeline or a pool at the broker, and its removal.

use std::{collections::BTreeSet, error::Error as _, time::Duration};

use crate::nats::Version;
use queue::{
    Alarm, Error, Message, Priority,
    jetstream::{self, JetStream, Settings},
};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(40);

fn settings(server: &crate::nats::Server, prefix: &str) -> Settings {
    let timeout = Duration::from_secs(20);
    let scoped = vec!["documents/", "feedback/"];
    Settings { bucket_prefix: prefix.to_owned(), scoped, timeout, ..Settings::new(&server.url) }
}

async fn open(settings: Settings) -> JetStream {
    jetstream::open(settings).await.expect("open the broker's ports")
}

async fn ask(server: &crate::nats::Server, name: &str, body: serde_json::Value) -> serde_json::Value {
    let client = async_nats::connect(&server.url).await.expect("connect");
    let answer = client.request(format!("$JS.API.{name}"), body.to_string().into()).await.expect("an answer");
    serde_json::from_slice(&answer.payload).expect("json")
}

/// The streams whose names begin so.
async fn streams(server: &crate::nats::Server, begin: &str) -> BTreeSet<String> {
    let names = ask(server, "STREAM.NAMES", json!({})).await;
    let names = names["streams"].as_array().expect("names").iter();
    names.filter_map(|name| name.as_str()).filter(|name| name.starts_with(begin)).map(str::to_owned).collect()
}

fn message(id: &str) -> Message {
    let (id, pool) = (id.to_owned(), "readers".to_owned());
    Message { id, pool, priority: Priority::Normal, body: "work".into() }
}

on_each_version! {
    each_name_has_a_bucket_from_its_first_record_until_it_is_removed
    records_of_an_installation_whose_name_begins_like_ours_are_not_ours
    a_bucket_that_is_weaker_than_asked_for_is_refused
    a_pool_is_removed_with_its_tasks_and_made_again_by_who_uses_it
    all_of_a_prefix_is_removed_and_nothing_of_those_that_begin_like_it
}

async fn each_name_has_a_bucket_from_its_first_record_until_it_is_removed(version: Version) {
    let Some(server) = crate::nats::shared(version) else { return };
    let (one, two) = (open(settings(server, "buckets")).await, open(settings(server, "buckets")).await);
    let records = &one.ports.records;
    let begin = "KV_buckets-records";
    let names = |names: &[&str]| names.iter().map(|name| format!("{begin}{name}")).collect::<BTreeSet<_>>();
    records.create("plans/a", "plan".into()).await.expect("create");
    records.get("documents/contracts/1").await.expect("get");
    assert_eq!(streams(server, begin).await, names(&[""]), "reading makes none");
    records.create("documents/contracts/1", "one".into()).await.expect("create");
    let revision = records.create("feedback/contracts/kind/1", "said".into()).await.expect("create");
    two.ports.records.create("documents/mail.in/1", "one".into()).await.expect("create");
    assert_eq!(streams(server, begin).await, names(&["", "-contracts", "-mail=2Ein"]));
    assert_eq!(two.ports.records.scan("documents/", None, 10).await.expect("scan").len(), 2);

    one.remove_scope("contracts").await.expect("remove");
    two.remove_scope("contracts").await.expect("removing nothing");
    assert_eq!(streams(server, begin).await, names(&["", "-mail=2Ein"]));
    assert_eq!(two.ports.records.get("documents/contracts/1").await.expect("get"), None);
    let changed = two.ports.records.update("feedback/contracts/kind/1", revision, "again".into()).await;
    assert!(matches!(changed, Err(Error::Conflict { .. })), "{changed:?}");
    assert_eq!(streams(server, begin).await, names(&["", "-mail=2Ein"]), "a late change makes none");
    assert_eq!(records.scan("", None, 10).await.expect("scan").len(), 2);
    // Both have seen the bucket before it went.
    records.create("documents/contracts/1", "new".into()).await.expect("create");
    two.remove_scope("contracts").await.expect("remove");
    records.create("documents/contracts/1", "newer".into()).await.expect("create");
    assert_eq!(two.ports.records.get("documents/contracts/1").await.expect("get").expect("a record").bytes, "newer");
}

async fn records_of_an_installation_whose_name_begins_like_ours_are_not_ours(version: Version) {
    let Some(server) = crate::nats::shared(version) else { return };
    let ours = open(settings(server, "office")).await.ports.records;
    let theirs = open(settings(server, "office-records-contracts")).await.ports.records;
    theirs.create("documents/contracts/theirs", "x".into()).await.expect("create");
    theirs.create("plans/theirs", "x".into()).await.expect("create");
    ours.create("documents/contracts/ours", "x".into()).await.expect("create");
    let keys = ours.scan("", None, 10).await.expect("scan").into_iter().map(|(key, _)| key);
    assert_eq!(keys.collect::<Vec<_>>(), ["documents/contracts/ours"]);
}

async fn a_bucket_that_is_weaker_than_asked_for_is_refused(version: Version) {
    let Some(server) = crate::nats::shared(version) else { return };
    let records = open(settings(server, "weaker")).await.ports.records;
    let stream = "KV_weaker-records-contracts";
    let body = json!({
        "name": stream, "subjects": ["$KV.weaker-records-contracts.>"], "storage": "memory", "num_replicas": 1,
        "max_msgs_per_subject": 1,
    });
    let made = ask(server, &format!("STREAM.CREATE.{stream}"), body).await;
    assert!(made["error"].is_null(), "{made}");
    let refused = records.create("documents/contracts/1", "one".into()).await.expect_err("it is weaker");
    let source = refused.source().map(ToString::to_string).unwrap_or_default();
    assert!(source.contains(stream) && source.contains("storage"), "{source}");
}

async fn a_pool_is_removed_with_its_tasks_and_made_again_by_who_uses_it(version: Version) {
    let Some(server) = crate::nats::shared(version) else { return };
    let (one, two) = (open(settings(server, "pools")).await, open(settings(server, "pools")).await);
    one.remove_pool("readers").await.expect("removing nothing");
    two.ports.queue.publish(vec![message("a"), message("b")]).await.expect("publish");
    assert_eq!(two.ports.queue.pull("readers", 1, PATIENCE).await.expect("pull").len(), 1);
    one.remove_pool("readers").await.expect("remove");
    one.remove_pool("readers").await.expect("removing nothing");
    assert!(streams(server, "pools-tasks-").await.is_empty());
    assert_eq!(one.ports.queue.depth("readers").await.expect("depth").total(), 0);
    // The other process does not know yet.
    two.ports.queue.publish(vec![message("c")]).await.expect("publish");
    let found = two.ports.queue.pull("readers", 8, PATIENCE).await.expect("pull");
    assert_eq!(found.iter().map(|delivery| delivery.message.id.as_str()).collect::<Vec<_>>(), ["c"]);
}

/// Uses everything that there is of a prefix.
async fn fill(broker: &JetStream) {
    let ports = &broker.ports;
    ports.payloads.put("a document".into()).await.expect("put");
    ports
        .timers
        .set(vec![Alarm { id: "1".to_owned(), at: 4_000_000_000_000, body: "ring".into() }])
        .await
        .expect("set");
    ports.statuses.publish("readers/1", "ready".into()).await.expect("publish");
    ports.queue.publish(vec![message("a")]).await.expect("publish");
    broker.make_pool("_results").await.expect("a pool");
    for key in ["plans/1", "documents/contracts/1", "feedback/letters/kind/1"] {
        ports.records.create(key, "record".into()).await.expect("create");
    }
}

async fn all_of_a_prefix_is_removed_and_nothing_of_those_that_begin_like_it(version: Version) {
    let Some(server) = crate::nats::shared(version) else { return };
    let all = async || {
        let mut all = streams(server, "gone").await;
        all.extend(streams(server, "KV_gone").await);
        all
    };
    let mut others = Vec::new();
    for prefix in ["gone-b", "gone-tasks", "gone-records", "gone-records-contracts", "gone-records-letters-records"] {
        let other = open(settings(server, prefix)).await;
        fill(&other).await;
        others.push(other);
    }
    let theirs = all().await;
    let ours = open(settings(server, "gone")).await;
    fill(&ours).await;
    assert_eq!(all().await.difference(&theirs).count(), 8, "payloads, timers, status, two pools, three buckets");
    ours.remove_all().await.expect("remove");
    assert_eq!(all().await, theirs);
    for other in &others {
        assert_eq!(other.ports.records.scan("documents/", None, 10).await.expect("scan").len(), 1);
        assert!(other.ports.records.get("plans/1").await.expect("get").is_some());
        assert_eq!(other.ports.queue.depth("readers").await.expect("depth").total(), 1);
    }

    let anew = open(settings(server, "gone")).await;
    assert_eq!(anew.ports.payloads.list(None, 10).await.expect("list"), Vec::<String>::new());
    assert_eq!(anew.ports.records.scan("documents/", None, 10).await.expect("scan").len(), 0);
    assert_eq!(anew.ports.records.get("plans/1").await.expect("get"), None);
    anew.remove_all().await.expect("what was hardly used");
    assert_eq!(all().await, theirs);
}
