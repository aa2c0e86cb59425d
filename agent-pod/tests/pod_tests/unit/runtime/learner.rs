//! When heads look at feedback, and what they learn of it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use agent_pod::runtime::{
    drivers::Drivers,
    feedback::{Example, forget, keep},
    learner::{Learner, Seen},
    models,
    services::Services,
    stop::Stop,
};
use bytes::Bytes;
use engine::reach::Reach;
use flow::{LearnedHead, Plan};
use queue::Ports;

use super::ports::{CountedRecords, OnceAway};
use crate::support;

const PIPELINE: &str = "
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec:
  models: [{name: minilm, task: Embed, source: {catalog: minilm}}]
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: p}
spec:
  heads: [{name: kind, kind: Classifier, embedder: minilm}]
  stages: [{name: sort, pool: readers, classify: {head: kind}}]
";

fn plan() -> Plan {
    let resources = crds::file::parse("p.yaml", PIPELINE).expect("a valid file");
    let pools: BTreeMap<_, _> =
        resources.pools.iter().map(|pool| (pool.name().to_owned(), pool.resource.spec.clone())).collect();
    flow::compile("p", 1, &resources.pipelines[0].resource.spec, &pools).expect("a plan")
}

/// Who learns, with the models of these plans.
async fn learner(folder: &Path, ports: Ports, plans: &[Arc<Plan>], models: Option<&Path>) -> Learner {
    let (engine, names) = models::start(plans, models, &Reach::anybody()).await.expect("an engine");
    let drivers = Drivers::of_store(ports.clone(), Arc::default());
    let services = Arc::new(Services::open_at(folder, ports, engine, names).expect("services"));
    Learner { drivers, services, pools: vec!["readers".to_owned()] }
}

fn example(document: &str, label: &str, payload: &str, plan: &str) -> Example {
    Example {
        document: document.to_owned(),
        tenant: "t".to_owned(),
        source: "a.txt".to_owned(),
        payload: payload.to_owned(),
        head: "kind".to_owned(),
        label: Some(label.to_owned()),
        score: None,
        by: "ann".to_owned(),
        at: 1,
        plan: plan.to_owned(),
    }
}

#[tokio::test]
async fn examples_are_read_again_only_when_one_came_or_went() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ports = queue::memory::open();
    let records = CountedRecords::new(&ports.records, "feedback/", 0..=0);
    ports.records = Arc::<CountedRecords>::clone(&records);
    let learner = learner(folder.path(), ports.clone(), &[], None).await;
    let said = |label: &str| example("a", label, "a payload", "a plan");
    let mut seen = Seen::default();
    keep(ports.records.as_ref(), "p", &said("lease")).await.expect("kept");
    learner.look(&mut seen).await;
    let mut scans = records.scans();
    assert!(scans > 0);
    for _ in 0..2 {
        learner.look(&mut seen).await;
    }
    keep(ports.records.as_ref(), "p", &said("lease")).await.expect("known");
    learner.look(&mut seen).await;
    assert_eq!(records.scans(), scans, "the same again is no news");
    keep(ports.records.as_ref(), "p", &said("invoice")).await.expect("kept");
    learner.look(&mut seen).await;
    assert!(records.scans() > scans);
    forget(ports.records.as_ref(), |_, _| true).await.expect("removed");
    scans = records.scans();
    learner.look(&mut seen).await;
    assert!(records.scans() > scans);
}

#[tokio::test]
async fn a_process_without_a_model_that_makes_vectors_looks_at_no_feedback() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ports = queue::memory::open();
    let records = CountedRecords::new(&ports.records, "feedback", 0..=0);
    ports.records = Arc::<CountedRecords>::clone(&records);
    let learner = learner(folder.path(), ports, &[], None).await;
    let stop = Stop::default();
    let mut learning = std::pin::pin!(learner.run(stop.clone()));
    // It waits for nothing but the end.
    assert!(futures::poll!(learning.as_mut()).is_pending());
    stop.cordon();
    learning.await;
    assert_eq!((records.gets(), records.scans()), (0, 0));
}

#[tokio::test]
async fn a_head_waits_for_a_payload_that_is_away_and_learns_from_it() {
    let Some(models) = support::models(&["minilm"]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut ports = queue::memory::open();
    ports.payloads = OnceAway::new(&ports.payloads);
    let plan = Arc::new(plan());
    let learner = learner(folder.path(), ports.clone(), &[Arc::clone(&plan)], Some(&models)).await;
    learner.drivers.plans().put(Plan::clone(&plan)).await.expect("stored");
    let taught = [
        ("i1", "invoice", "Invoice number 17: please pay 200 euros within 30 days."),
        ("i2", "invoice", "The amount due is 90 dollars, payable to our bank account."),
        ("l1", "lease", "The landlord lets the flat to the tenant for two years."),
        ("l2", "lease", "The tenant may end the lease of the premises with notice."),
    ];
    for (document, label, text) in taught {
        let payload = ports.payloads.put(Bytes::from(text)).await.expect("put");
        let said = example(document, label, &payload, &plan.digest);
        keep(ports.records.as_ref(), "p", &said).await.expect("kept");
    }
    // One that is gone for good is left out.
    let gone = example("gone", "lease", &"0".repeat(64), &plan.digest);
    keep(ports.records.as_ref(), "p", &gone).await.expect("kept");
    let mut seen = Seen::default();
    learner.look(&mut seen).await;
    assert!(learner.services.heads.lessons().is_empty(), "it would be another head than elsewhere");
    learner.look(&mut seen).await;
    let learned = LearnedHead { pipeline: "p".to_owned(), head: "kind".to_owned(), examples: 4 };
    assert_eq!(learner.services.heads.lessons(), [learned]);
}
