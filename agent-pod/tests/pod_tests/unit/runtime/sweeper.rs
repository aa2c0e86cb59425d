//! What the sweep does about documents that do not move.

use std::{collections::BTreeMap, sync::Arc};

use agent_pod::runtime::{
    driver::{Driver, Error, Unreached},
    plans::Plans,
    state::Run,
    sweeper::{QUIET_MILLIS, Swept, hold_or_go_on, sweep},
};
use bytes::Bytes;
use crds::Priority;
use flow::{DocumentRecord, Plan, Submission};

use super::ports::QueueWithout;

fn plan(pipeline: &str, pool: &str) -> Plan {
    let file = format!(
        "apiVersion: docket.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: {pipeline}}}\n\
         spec: {{stages: [{{name: a, pool: {pool}, parse: {{}}}}]}}\n"
    );
    let resources = crds::file::parse("p.yaml", &file).expect("a pipeline");
    let pools = BTreeMap::from([(pool.to_owned(), serde_json::from_str("{}").expect("a pool"))]);
    flow::compile(pipeline, 1, &resources.pipelines[0].resource.spec, &pools).expect("a plan")
}

/// A record of a document that was submitted and whose writer died.
fn record(plan: &Plan, document: &str) -> DocumentRecord {
    let submission = Submission {
        document: document.to_owned(),
        tenant: "t".to_owned(),
        source: "d.txt".to_owned(),
        payload: "00".to_owned(),
        metadata: None,
        priority: Priority::Normal,
        deadline: None,
        bytes: None,
    };
    flow::submit(plan, submission, 1_000).record
}

async fn keep(ports: &queue::Ports, scope: &str, record: &DocumentRecord) {
    let key = format!("documents/{scope}/{}", record.submission.document);
    ports.records.create(&key, Bytes::from(record.encode())).await.expect("written");
}

async fn swept(driver: &Driver, now: u64) -> Swept {
    sweep(driver, now, &mut Unreached::default(), |_| {}).await.expect("swept")
}

async fn waiting(ports: &queue::Ports, pool: &str) -> u64 {
    ports.queue.depth(pool).await.expect("depth").total()
}

/// A run with one document whose record was written and whose writer died.
async fn abandoned() -> (queue::Ports, Arc<Driver>) {
    let ports = queue::memory::open();
    let run = Run { id: "run".to_owned(), pipeline: "p".to_owned(), started_at: 0 };
    let (driver, _ended) = Driver::new(run, ports.clone());
    let plan = driver.plans.put(plan("p", "q")).await.expect("stored");
    keep(&ports, "run", &record(&plan, "d")).await;
    (ports, driver)
}

#[tokio::test]
async fn a_record_that_cannot_be_read_stands_in_nobodys_way() {
    let (ports, driver) = abandoned().await;
    for key in ["documents/run/a", "documents/run/b", "documents/run/z"] {
        ports.records.create(key, Bytes::from_static(&[0x08, 99])).await.expect("written");
    }
    assert_eq!(swept(&driver, 1_000 + QUIET_MILLIS).await.quiet, 1);
    // A page of nothing but such records is not the end.
    assert_eq!(driver.scan(None, 1).await.expect("read")[0].submission.document, "d");
    assert!(driver.scan(Some("d"), 1).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_task_that_was_never_published_is_published_when_its_document_is_quiet() {
    let (ports, driver) = abandoned().await;
    assert_eq!(swept(&driver, 1_000 + QUIET_MILLIS - 1).await.quiet, 0);
    assert_eq!(waiting(&ports, "run/q").await, 0);
    assert_eq!(swept(&driver, 1_000 + QUIET_MILLIS).await.quiet, 1);
    assert_eq!(swept(&driver, 1_000 + QUIET_MILLIS).await.quiet, 1);
    assert_eq!(waiting(&ports, "run/q").await, 1, "twice is once");
}

#[tokio::test]
async fn a_document_that_cannot_go_on_keeps_no_other_from_it() {
    let (ports, driver) = abandoned().await;
    for document in ["a", "b"] {
        let lost = DocumentRecord { plan: "not stored".to_owned(), ..record(&plan("p", "q"), document) };
        keep(&ports, "run", &lost).await;
    }
    let mut seen = Vec::new();
    let each = |record: &DocumentRecord| seen.push(record.submission.document.clone());
    let swept = sweep(&driver, 1_000 + QUIET_MILLIS, &mut Unreached::default(), each).await.expect("swept");
    assert_eq!((swept.quiet, swept.failed), (3, 2));
    assert!(matches!(swept.failure, Some(Error::Plan(_))), "{:?}", swept.failure);
    assert_eq!(seen, ["a", "b", "d"]);
    assert_eq!(waiting(&ports, "run/q").await, 1);
}

#[tokio::test]
async fn a_pool_that_takes_no_tasks_is_tried_once_in_a_sweep_of_all_pipelines() {
    let mut ports = queue::memory::open();
    let queue = QueueWithout::new(&ports.queue, "gone");
    ports.queue = Arc::<QueueWithout>::clone(&queue);
    let plans = Arc::new(Plans::new(Arc::clone(&ports.records)));
    let driver = |pipeline| Driver::of_pipeline(pipeline, ports.clone(), Arc::clone(&plans), Arc::default());
    for pipeline in ["one", "two"] {
        let earlier = plans.put(plan(pipeline, "gone")).await.expect("stored");
        let now = plans.put(plan(pipeline, "there")).await.expect("stored");
        for (plan, documents) in [(&earlier, ["a", "b", "c"]), (&now, ["x", "y", "z"])] {
            for document in documents {
                keep(&ports, pipeline, &record(plan, document)).await;
            }
        }
    }
    let mut unreached = Unreached::default();
    for pipeline in ["one", "two"] {
        let driver = driver(pipeline);
        let swept = sweep(&driver, 1_000 + QUIET_MILLIS, &mut unreached, |_| {}).await.expect("swept");
        assert_eq!((swept.quiet, swept.failed), (6, 3));
    }
    assert_eq!(queue.refused(), 1);
    assert_eq!(waiting(&ports, "there").await, 6);
    // The next sweep tries again.
    queue.come_back();
    assert_eq!(swept(&driver("one"), 1_000 + QUIET_MILLIS).await.failed, 0);
    assert_eq!(waiting(&ports, "gone").await, 3);
}

#[tokio::test]
async fn documents_are_held_and_let_go_on_although_one_before_them_cannot_be() {
    let (ports, driver) = abandoned().await;
    let lost = DocumentRecord { plan: "not stored".to_owned(), ..record(&plan("p", "q"), "a") };
    keep(&ports, "run", &lost).await;
    let documents = ["a", "d", "erased since"].map(str::to_owned);
    for suspend in [true, false] {
        let failed = hold_or_go_on(&driver, suspend, &documents, &mut Unreached::default()).await;
        assert_eq!(failed, 1);
        assert_eq!(driver.get("d").await.expect("a record").suspended, suspend);
    }
}
