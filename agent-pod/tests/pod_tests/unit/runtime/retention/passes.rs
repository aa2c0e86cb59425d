//! Passes over the stores: what goes at its time, and what is never removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_pod::runtime::{
    driver::Scope,
    plans::Plans,
    retention::{Keeper, Rule},
};
use bytes::Bytes;
use crds::{Retention, Span};
use flow::{DeadLetter, End, Outcome, Plan, Submission, keys::DOCUMENTS};
use queue::{Ports, Priority};
use tokio::sync::RwLock;

const HOUR: u64 = 3_600_000;

fn plan(generation: u64) -> Plan {
    let file = format!(
        "apiVersion: docket.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: p}}\nspec: {{stageTimeout: {generation}m, stages: [{{name: a, pool: q, parse: {{}}}}]}}\n"
    );
    let resources = crds::file::parse("p.yaml", &file).expect("a pipeline");
    let pools = BTreeMap::from([("q".to_owned(), serde_json::from_str("{}").expect("a pool"))]);
    flow::compile("p", generation, &resources.pipelines[0].resource.spec, &pools).expect("a plan")
}

fn rules(records: u64, payloads: u64, dead_letters: Option<u64>) -> Vec<Rule> {
    let span = |millis| Span(Duration::from_millis(millis));
    let retention =
        Retention { records: Some(span(records)), payloads: span(payloads), dead_letters: dead_letters.map(span) };
    vec![Rule { scope: Scope::Pipeline("p".to_owned()), retention }]
}

/// Stores a document that ended at a time.
async fn document(ports: &Ports, plan: &Plan, name: &str, outcome: Outcome, at: u64) -> String {
    let payload = ports.payloads.put(Bytes::from(format!("bytes of {name}"))).await.expect("put");
    let submission = Submission {
        document: name.to_owned(),
        tenant: "t".to_owned(),
        source: name.to_owned(),
        payload: payload.clone(),
        metadata: None,
        priority: crds::Priority::Normal,
        deadline: Some(u64::MAX),
        bytes: None,
    };
    let mut record = flow::submit(plan, submission, 0).record;
    let cause = flow::Cause::default();
    let dead_letter = (outcome == Outcome::DeadLettered).then_some(DeadLetter { stage: None, attempts: 0, cause });
    record.end = Some(End { outcome, at, dead_letter });
    ports.records.create(&format!("{DOCUMENTS}p/{name}"), Bytes::from(record.encode())).await.expect("create");
    payload
}

fn keeper(ports: &Ports, settle: u64) -> Keeper {
    Keeper::new(ports.clone(), Duration::from_millis(settle), Arc::default())
}

async fn names(ports: &Ports) -> Vec<String> {
    let page = ports.records.scan(DOCUMENTS, None, 100).await.expect("scan");
    page.into_iter().map(|(key, _)| key.rsplit('/').next().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn documents_go_when_their_time_is_over_and_dead_letters_when_theirs_is() {
    let ports = queue::memory::open();
    let plan = Plans::new(Arc::clone(&ports.records)).put(plan(1)).await.expect("stored");
    document(&ports, &plan, "old", Outcome::Succeeded, HOUR).await;
    document(&ports, &plan, "young", Outcome::Cancelled, 2 * HOUR).await;
    document(&ports, &plan, "dead", Outcome::DeadLettered, HOUR).await;
    let served = BTreeSet::new();
    let mut keeper = keeper(&ports, HOUR);
    // Without a word about dead letters they stay.
    keeper.pass(&rules(HOUR, HOUR, None), &served, 2 * HOUR - 1).await.expect("a pass");
    assert_eq!(names(&ports).await, ["dead", "old", "young"]);
    let removed = keeper.pass(&rules(HOUR, HOUR, None), &served, 2 * HOUR).await.expect("a pass");
    assert_eq!((removed.records, removed.dead_letters), (1, 0));
    assert_eq!(names(&ports).await, ["dead", "young"]);
    let removed = keeper.pass(&rules(HOUR, HOUR, Some(2 * HOUR)), &served, 3 * HOUR).await.expect("a pass");
    assert_eq!((removed.records, removed.dead_letters), (1, 1));
    assert!(names(&ports).await.is_empty());
}

#[tokio::test]
async fn what_a_document_left_at_queue_and_timers_goes_with_it() {
    let ports = queue::memory::open();
    let plan = Plans::new(Arc::clone(&ports.records)).put(plan(1)).await.expect("stored");
    document(&ports, &plan, "d", Outcome::Cancelled, 0).await;
    let driver = agent_pod::runtime::driver::Driver::of_pipeline(
        "p",
        ports.clone(),
        Arc::new(Plans::new(Arc::clone(&ports.records))),
        Arc::default(),
    );
    let mut record = driver.get("d").await.expect("a record");
    record.end = None;
    driver.publish_outstanding(&record).await.expect("published");
    assert_eq!(ports.queue.depth("q").await.expect("depth").total(), 1);
    keeper(&ports, 0).pass(&rules(0, HOUR, None), &BTreeSet::new(), HOUR).await.expect("a pass");
    assert_eq!(ports.queue.depth("q").await.expect("depth").total(), 0);
    // Its deadline would ring at the end of time.
    assert!(ports.timers.due(u64::MAX, 10, Duration::ZERO).await.expect("due").is_empty());
    let again = ports.queue.discard("q", Priority::Normal, "p/d").await.expect("discard");
    assert_eq!(again, queue::Discarded::Absent);
}

#[tokio::test]
async fn a_payload_goes_when_no_record_has_named_it_for_its_time() {
    let ports = queue::memory::open();
    let plan = Plans::new(Arc::clone(&ports.records)).put(plan(1)).await.expect("stored");
    let named = document(&ports, &plan, "d", Outcome::Succeeded, 0).await;
    let lost = ports.payloads.put("of nobody".into()).await.expect("put");
    let (mut keeper, rules) = (keeper(&ports, HOUR), rules(100 * HOUR, 5 * HOUR, None));
    let served = BTreeSet::new();
    for now in [HOUR, 6 * HOUR - 1] {
        assert_eq!(keeper.pass(&rules, &served, now).await.expect("a pass").payloads, 0);
    }
    assert!(ports.payloads.get(&lost).await.is_ok());
    assert_eq!(keeper.pass(&rules, &served, 6 * HOUR).await.expect("a pass").payloads, 1);
    assert_eq!(ports.payloads.list(None, 10).await.expect("list"), std::slice::from_ref(&named));
    // Its record goes, and then, as long after, it too.
    let removed = keeper.pass(&rules, &served, 100 * HOUR).await.expect("a pass");
    assert_eq!((removed.records, removed.payloads), (1, 0));
    assert_eq!(keeper.pass(&rules, &served, 105 * HOUR).await.expect("a pass").payloads, 1);
    assert!(ports.payloads.list(None, 10).await.expect("list").is_empty());
}

#[tokio::test]
async fn a_payload_that_is_put_again_or_named_meanwhile_stays() {
    let ports = queue::memory::open();
    let plan = Plans::new(Arc::clone(&ports.records)).put(plan(1)).await.expect("stored");
    let (mut keeper, rules) = (keeper(&ports, HOUR), rules(100 * HOUR, HOUR, None));
    let served = BTreeSet::new();
    let digest = ports.payloads.put("bytes of d".into()).await.expect("put");
    keeper.pass(&rules, &served, HOUR).await.expect("a pass");
    assert_eq!(ports.payloads.put("bytes of d".into()).await.expect("put again"), digest);
    // Its writer has not come to its record yet.
    assert_eq!(keeper.pass(&rules, &served, 2 * HOUR).await.expect("a pass").payloads, 0);
    assert_eq!(document(&ports, &plan, "d", Outcome::Succeeded, 2 * HOUR).await, digest);
    for now in 3..10 {
        assert_eq!(keeper.pass(&rules, &served, now * HOUR).await.expect("a pass").payloads, 0);
    }
    assert!(ports.payloads.get(&digest).await.is_ok());
}

#[tokio::test]
async fn plans_that_no_document_and_no_gateway_names_go() {
    let ports = queue::memory::open();
    let plans = Plans::new(Arc::clone(&ports.records));
    let mut stored = Vec::new();
    for generation in 1..=3 {
        stored.push(plans.put(plan(generation)).await.expect("stored"));
    }
    document(&ports, &stored[1], "d", Outcome::Succeeded, 0).await;
    let served = BTreeSet::from([stored[2].digest.clone()]);
    let (mut keeper, rules) = (keeper(&ports, HOUR), rules(100 * HOUR, HOUR, None));
    keeper.pass(&rules, &served, HOUR).await.expect("a pass");
    assert_eq!(keeper.pass(&rules, &served, 2 * HOUR).await.expect("a pass").plans, 1);
    let fresh = Plans::new(Arc::clone(&ports.records));
    assert!(fresh.get(&stored[0].digest).await.is_err());
    assert!(fresh.get(&stored[1].digest).await.is_ok() && fresh.get(&stored[2].digest).await.is_ok());
    // Who serves it again stores it again.
    plans.hold(&stored[0]).await.expect("held");
    assert!(fresh.get(&stored[0].digest).await.is_ok());
}

#[tokio::test]
async fn nothing_is_swept_while_a_record_cannot_be_read() {
    let ports = queue::memory::open();
    ports.records.create("documents/p/newer", "of another version".into()).await.expect("create");
    let lost = ports.payloads.put("of nobody".into()).await.expect("put");
    let mut keeper = keeper(&ports, 0);
    let failed = keeper.pass(&rules(0, 0, None), &BTreeSet::new(), HOUR).await.expect_err("it says so");
    assert!(failed.to_string().contains("documents/p/newer"), "{failed}");
    assert!(ports.payloads.get(&lost).await.is_ok());
}

/// Writers store payloads that others store too, name them in records and remove the records; meanwhile a sweeper removes
/// what nobody names, as early as it may. Time passes only while no writer is between payload and record, which is what the
/// guarantee assumes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_payload_is_there_whatever_sweeps_at_the_same_time() {
    const SETTLE: u64 = 10;
    let ports = queue::memory::open();
    let plan = Plans::new(Arc::clone(&ports.records)).put(plan(1)).await.expect("stored");
    let (between, time) = (Arc::new(RwLock::new(())), Arc::new(AtomicU64::new(1)));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4_u64 {
        let (ports, plan, between) = (ports.clone(), Arc::clone(&plan), Arc::clone(&between));
        writers.spawn(async move {
            for n in 0..300 {
                // The bytes follow from the name's end: few different ones.
                let name = format!("{}", (n * 7 + writer) % 5);
                let key = format!("{DOCUMENTS}p/{writer}-{n}");
                let digest = {
                    let _between = between.read().await;
                    let digest = ports.payloads.put(Bytes::from(format!("bytes {name}"))).await.expect("put");
                    tokio::task::yield_now().await;
                    let submission = Submission {
                        document: format!("{writer}-{n}"),
                        tenant: "t".to_owned(),
                        source: String::new(),
                        payload: digest.clone(),
                        metadata: None,
                        priority: crds::Priority::Normal,
                        deadline: None,
                        bytes: None,
                    };
                    let record = flow::submit(&plan, submission, 0).record;
                    ports.records.create(&key, Bytes::from(record.encode())).await.expect("create");
                    digest
                };
                for _ in 0..3 {
                    ports.payloads.get(&digest).await.expect("a payload that a record names");
                    tokio::task::yield_now().await;
                }
                ports.records.delete(&key).await.expect("delete");
            }
        });
    }
    let sweeping = tokio::spawn({
        let (ports, between, time) = (ports.clone(), Arc::clone(&between), Arc::clone(&time));
        async move {
            let (mut keeper, rules, served) = (keeper(&ports, SETTLE), rules(HOUR, 0, None), BTreeSet::new());
            let mut removed = 0;
            loop {
                {
                    let _nobody = between.write().await;
                    time.fetch_add(SETTLE, Ordering::SeqCst);
                }
                let now = time.load(Ordering::SeqCst);
                removed += keeper.pass(&rules, &served, now).await.expect("a pass").payloads;
                if now > 1_000_000 {
                    return removed;
                }
                tokio::task::yield_now().await;
                if Arc::strong_count(&between) == 1 {
                    return removed;
                }
            }
        }
    });
    while let Some(writer) = writers.join_next().await {
        writer.expect("no payload was missing");
    }
    drop(between);
    assert!(sweeping.await.expect("no panic") > 0, "the sweeper removed something: otherwise this test shows nothing");
}
