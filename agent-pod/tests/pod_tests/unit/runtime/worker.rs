//! What a worker does when the store fails it.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use agent_pod::runtime::{
    driver::{Driver, News},
    drivers::Drivers,
    models,
    rest::Rest,
    services::Services,
    state::Run,
    stop::Stop,
    worker::{OnFailure, Work, Worker},
};
use bytes::Bytes;
use crds::{AgentPoolSpec, Priority};
use engine::reach::Reach;
use flow::{Outcome, Plan, StageStatus, Submission};
use queue::{Ports, Queue, Records};
use tokio::sync::mpsc;

use super::ports::{CountedRecords, QueueWithout};

/// A plan of one stage, or of two whose second is of another pool.
fn plan(stages: &str) -> Plan {
    let file = format!(
        "apiVersion: docket.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: p}}\nspec: {{stages: [{stages}]}}\n"
    );
    let resources = crds::file::parse("p.yaml", &file).expect("a pipeline");
    let pool: AgentPoolSpec = serde_json::from_str("{}").expect("a pool");
    let pools = BTreeMap::from(["readers", "writers"].map(|name| (name.to_owned(), pool.clone())));
    flow::compile("p", 1, &resources.pipelines[0].resource.spec, &pools).expect("a plan")
}

const ONE: &str = "{name: read, pool: readers, transform: {template: x}}";
const SECOND: &str = "{name: write, pool: writers, after: [read], transform: {template: x}}";

/// A worker of the readers, with a document to work.
async fn begun(folder: &Path, ports: Ports, stages: &str) -> (Worker, Arc<Driver>, mpsc::UnboundedReceiver<News>) {
    let run = Run { id: "run".to_owned(), pipeline: "p".to_owned(), started_at: 0 };
    let (driver, news) = Driver::new(run, ports.clone());
    let plan = driver.plans.put(plan(stages)).await.expect("stored");
    let (engine, names) = models::start(&[Arc::clone(&plan)], None, &Reach::anybody()).await.expect("an engine");
    let services = Arc::new(Services::open_at(folder, ports.clone(), engine, names).expect("services"));
    let submission = Submission {
        document: "d".to_owned(),
        tenant: "t".to_owned(),
        source: "d.txt".to_owned(),
        payload: ports.payloads.put(Bytes::from("some text")).await.expect("a payload"),
        metadata: None,
        priority: Priority::Normal,
        deadline: None,
        bytes: None,
    };
    driver.submit(&plan, submission, None).await.expect("taken");
    let worker = Worker {
        name: "worker".to_owned(),
        pool: "readers".to_owned(),
        concurrency: 2,
        drivers: Drivers::of_run(&driver),
        work: Work::Stages(services),
        alone: Arc::default(),
        on_failure: OnFailure::GoOn,
        standing: Arc::default(),
        rest: Rest::default(),
    };
    (worker, driver, news)
}

#[tokio::test]
async fn finished_work_waits_for_the_store_and_is_not_done_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ports = queue::memory::open();
    // The first read begins the work; what follows is for its end.
    let records = CountedRecords::new(&ports.records, "documents/", 2..=3);
    let tasks = QueueWithout::new(&ports.queue, "none");
    ports.records = Arc::<CountedRecords>::clone(&records) as Arc<dyn Records>;
    ports.queue = Arc::<QueueWithout>::clone(&tasks) as Arc<dyn Queue>;
    let (worker, _, mut news) = begun(folder.path(), ports, ONE).await;
    let stop = Stop::default();
    let working = tokio::spawn(worker.run(stop.clone()));
    let Some(News::Ended(record)) = news.recv().await else { panic!("it asks nobody") };
    assert_eq!(record.end.expect("an end").outcome, Outcome::Succeeded);
    assert_eq!(records.gets(), 4, "the writing alone was tried again");
    assert!(tasks.released().is_empty(), "so nobody else has worked it");
    stop.cordon();
    working.await.expect("no panic").expect("it goes on");
}

#[tokio::test]
async fn a_task_that_fails_again_and_again_leaves_the_slots_to_others_for_longer_and_longer() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ports = queue::memory::open();
    let tasks = QueueWithout::new(&ports.queue, "run/writers");
    ports.queue = Arc::<QueueWithout>::clone(&tasks) as Arc<dyn Queue>;
    let (worker, driver, _news) = begun(folder.path(), ports, &format!("{ONE}, {SECOND}")).await;
    let stop = Stop::default();
    let working = tokio::spawn(worker.run(stop.clone()));
    tasks.releases(9).await;
    let waits = tasks.released();
    assert_eq!(waits[..9], [1, 2, 4, 8, 16, 32, 64, 64, 64].map(Duration::from_secs));
    let record = driver.get("d").await.expect("a record");
    assert!(matches!(record.stages["read"].status, StageStatus::Done(_)), "its own work is done");
    stop.cordon();
    working.await.expect("no panic").expect("it goes on");
}
