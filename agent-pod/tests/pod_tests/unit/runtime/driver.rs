//! Submitting, where the store's writers get in each other's way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use agent_pod::runtime::{
    driver::{Driver, Error, Submitted},
    state::Run,
};
use async_trait::async_trait;
use bytes::Bytes;
use crds::Priority;
use flow::{Plan, Submission};
use queue::{Records, Versioned};

/// Records of which the first writes are refused although nothing is there: as by a broker where another's write is not
/// agreed on yet, and comes to nothing.
struct Refusing {
    records: Arc<dyn Records>,
    refusals: Mutex<usize>,
}

#[async_trait]
impl Records for Refusing {
    async fn get(&self, key: &str) -> queue::Result<Option<Versioned>> {
        self.records.get(key).await
    }

    async fn create(&self, key: &str, bytes: Bytes) -> queue::Result<u64> {
        if key.starts_with("documents/") {
            let mut refusals = self.refusals.lock().expect("no panic");
            if *refusals > 0 {
                *refusals -= 1;
                return Err(queue::Error::Conflict { key: key.to_owned() });
            }
        }
        self.records.create(key, bytes).await
    }

    async fn update(&self, key: &str, revision: u64, bytes: Bytes) -> queue::Result<u64> {
        self.records.update(key, revision, bytes).await
    }

    async fn delete(&self, key: &str) -> queue::Result<()> {
        self.records.delete(key).await
    }

    async fn remove(&self, key: &str, revision: u64) -> queue::Result<()> {
        self.records.remove(key, revision).await
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> queue::Result<Vec<(String, Versioned)>> {
        self.records.scan(prefix, after, limit).await
    }
}

fn plan() -> Plan {
    let file = "apiVersion: docket.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec: {stages: [{name: a, pool: q, parse: {}}]}\n";
    let resources = crds::file::parse("p.yaml", file).expect("a pipeline");
    let pools = BTreeMap::from([("q".to_owned(), serde_json::from_str("{}").expect("a pool"))]);
    flow::compile("p", 1, &resources.pipelines[0].resource.spec, &pools).expect("a plan")
}

fn submission() -> Submission {
    Submission {
        document: "d".to_owned(),
        tenant: "t".to_owned(),
        source: "d.txt".to_owned(),
        payload: "00".to_owned(),
        metadata: None,
        priority: Priority::Normal,
        deadline: None,
        bytes: None,
    }
}

async fn submit(refusals: usize) -> (Arc<Driver>, Result<Submitted, Error>) {
    let ports = queue::memory::open();
    let records = Refusing { records: Arc::clone(&ports.records), refusals: Mutex::new(refusals) };
    let ports = queue::Ports { records: Arc::new(records), ..ports };
    let run = Run { id: "run".to_owned(), pipeline: "p".to_owned(), started_at: 0 };
    let (driver, _ended) = Driver::new(run, ports);
    let plan = driver.plans.put(plan()).await.expect("stored");
    let submitted = driver.submit(&plan, submission(), None).await;
    (driver, submitted)
}

#[tokio::test]
async fn a_document_that_another_writer_stood_in_the_way_of_is_accepted() {
    let (driver, submitted) = submit(2).await;
    assert_eq!(submitted.expect("accepted"), Submitted::New);
    assert_eq!(driver.get("d").await.expect("there").submission.document, "d");
}

#[tokio::test]
async fn a_document_that_cannot_be_written_is_a_failure_of_the_store_and_not_unknown() {
    let (_driver, submitted) = submit(usize::MAX).await;
    assert!(matches!(submitted, Err(Error::Store { .. })), "{submitted:?}");
}
