//! What becomes of alarms whose time has come.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agent_pod::runtime::{
    driver::{Error, Scope, timer_id},
    drivers::Drivers,
    stop::Stop,
    timers,
};
use bytes::Bytes;
use crds::Priority;
use flow::{DocumentRecord, Plan, Submission, Timer};

fn plan() -> Plan {
    let file = "apiVersion: docket.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\n\
                spec: {stages: [{name: a, pool: q, parse: {}}]}\n";
    let resources = crds::file::parse("p.yaml", file).expect("a pipeline");
    let pools = BTreeMap::from([("q".to_owned(), serde_json::from_str("{}").expect("a pool"))]);
    flow::compile("p", 1, &resources.pipelines[0].resource.spec, &pools).expect("a plan")
}

/// Keeps a record whose deadline is over, and has it rung.
async fn overdue(ports: &queue::Ports, plan: &str, document: &str, at: u64) {
    let submission = Submission {
        document: document.to_owned(),
        tenant: "t".to_owned(),
        source: "d.txt".to_owned(),
        payload: "00".to_owned(),
        metadata: None,
        priority: Priority::Normal,
        deadline: Some(at),
        bytes: None,
    };
    let record = flow::submit(&self::plan(), submission, 1).record;
    let record = DocumentRecord { plan: plan.to_owned(), ..record };
    let key = format!("documents/p/{document}");
    ports.records.create(&key, Bytes::from(record.encode())).await.expect("written");
    let (document, pipeline, alarm) = (document.to_owned(), "p".to_owned(), flow::Alarm::Deadline { epoch: 0 });
    let timer = Timer { document, pipeline, at, alarm };
    let id = timer_id(&Scope::Pipeline("p".to_owned()), &timer);
    let alarm = queue::Alarm { id, at, body: Bytes::from(timer.encode()) };
    ports.timers.set(vec![alarm]).await.expect("set");
}

#[tokio::test]
async fn an_alarm_that_cannot_be_delivered_keeps_none_behind_it() {
    let ports = queue::memory::open();
    let drivers = Drivers::of_store(ports.clone(), Arc::default());
    let plan = drivers.plans().put(plan()).await.expect("stored");
    overdue(&ports, "not stored", "older", 10).await;
    overdue(&ports, &plan.digest, "younger", 20).await;
    let ended = timers::run(&drivers, &ports.timers, &Stop::default()).await;
    assert!(matches!(ended, Err(Error::Plan(_))), "who runs them is told: {ended:?}");
    let ended = async |document: &str| drivers.of("p").get(document).await.expect("a record").end.is_some();
    assert!(ended("younger").await);
    assert!(!ended("older").await);
    // Only what was delivered is done: the other comes again.
    let left = ports.timers.due(u64::MAX, 10, Duration::ZERO).await.expect("read");
    assert_eq!(left.iter().map(|alarm| alarm.at).collect::<Vec<_>>(), [10]);
}
