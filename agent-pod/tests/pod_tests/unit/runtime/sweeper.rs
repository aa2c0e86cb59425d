//! What the sweep does about documents that do not move.

use std::{collections::BTreeMap, sync::Arc};

use agent_pod::runtime::{
    driver::Driver,
    state::Run,
    sweeper::{QUIET_MILLIS, sweep},
};
use bytes::Bytes;
use crds::Priority;
use flow::Submission;

/// A run with one document whose record was written and whose writer died.
async fn abandoned() -> (queue::Ports, Arc<Driver>) {
    let ports = queue::memory::open();
    let run = Run { id: "run".to_owned(), pipeline: "p".to_owned(), started_at: 0 };
    let (driver, _ended) = Driver::new(run, ports.clone());
    let file = "apiVersion: docket.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec: {stages: [{name: a, pool: q, parse: {}}]}\n";
    let resources = crds::file::parse("p.yaml", file).expect("a pipeline");
    let pools = BTreeMap::from([("q".to_owned(), serde_json::from_str("{}").expect("a pool"))]);
    let plan = flow::compile("p", 1, &resources.pipelines[0].resource.spec, &pools).expect("a plan");
    let plan = driver.plans.put(plan).await.expect("stored");
    let submission = Submission {
        document: "d".to_owned(),
        tenant: "t".to_owned(),
        source: "d.txt".to_owned(),
        payload: "00".to_owned(),
        metadata: None,
        priority: Priority::Normal,
        deadline: None,
        bytes: None,
    };
    let record = flow::submit(&plan, submission, 1_000).record;
    ports.records.create("documents/run/d", Bytes::from(record.encode())).await.expect("written");
    (ports, driver)
}

#[tokio::test]
async fn a_record_that_cannot_be_read_stands_in_nobodys_way() {
    let (ports, driver) = abandoned().await;
    for key in ["documents/run/a", "documents/run/b", "documents/run/z"] {
        ports.records.create(key, Bytes::from_static(&[0x08, 99])).await.expect("written");
    }
    assert_eq!(sweep(&driver, 1_000 + QUIET_MILLIS, |_| {}).await.expect("swept"), 1);
    // A page of nothing but such records is not the end.
    assert_eq!(driver.scan(None, 1).await.expect("read")[0].submission.document, "d");
    assert!(driver.scan(Some("d"), 1).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_task_that_was_never_published_is_published_when_its_document_is_quiet() {
    let (ports, driver) = abandoned().await;
    assert_eq!(sweep(&driver, 1_000 + QUIET_MILLIS - 1, |_| {}).await.expect("swept"), 0);
    assert_eq!(ports.queue.depth("run/q").await.expect("depth").total(), 0);
    assert_eq!(sweep(&driver, 1_000 + QUIET_MILLIS, |_| {}).await.expect("swept"), 1);
    assert_eq!(sweep(&driver, 1_000 + QUIET_MILLIS, |_| {}).await.expect("swept"), 1);
    assert_eq!(ports.queue.depth("run/q").await.expect("depth").total(), 1, "twice is once");
}
