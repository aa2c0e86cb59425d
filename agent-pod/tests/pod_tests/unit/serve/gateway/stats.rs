//! What clients are told of pools and of when their documents will have ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use agent_pod::{
    results::Sinks,
    runtime::{drivers::Drivers, metrics::Metrics, now, stop::Stop},
    serve::{
        config::file::{Limits, Passes},
        gateway::{
            api::{Accepted, Api, Head},
            credits::Credits,
            erasing,
            intake::{Intake, Room},
            refusal::Refusal,
            stats::{Loads, pool_stats},
            tally::Tallies,
            tokens::{Caller, Tokens},
        },
        status::Live,
    },
};
use bytes::Bytes;
use flow::{CacheCounts, PodStatus, ServiceTime};
use futures::stream;
use queue::Depth;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// A gateway's requests on a pipeline of one stage, which nobody works.
async fn api(limits: Limits) -> Api {
    let spec = json!({"stages": [{"name": "a", "pool": "readers", "transform": {"template": "a"}}]});
    let pools = BTreeMap::from([("readers".to_owned(), serde_json::from_value(json!({})).expect("a pool"))]);
    let plan = flow::compile("p", 1, &serde_json::from_value(spec).expect("a pipeline"), &pools).expect("a plan");
    let ports = queue::memory::open();
    let drivers = Drivers::of_store(ports.clone(), Arc::new(Metrics::default()));
    let plan = drivers.plans().put(plan).await.expect("stored");
    let eraser = erasing::eraser(&drivers, &ports, Vec::new());
    Api {
        drivers,
        plans: BTreeMap::from([("p".to_owned(), plan)]),
        closed: BTreeSet::new(),
        credits: Credits::new(limits.in_flight),
        tokens: Arc::new(Tokens::open(None, None, &Arc::default()).expect("no file")),
        watchers: Arc::new(Semaphore::new(1)),
        intake: Intake::new(&limits),
        eraser,
        passes: Passes::default(),
        sinks: Arc::new(Sinks::new(Arc::clone(&ports.payloads), Path::new("unused"), Arc::default())),
        redis: None,
        live: Live::new(Arc::clone(&ports.statuses)),
        loads: Loads::default(),
        tallies: Tallies::default(),
        ports,
        limits,
        stop: Stop::default(),
        works_alone: false,
    }
}

async fn submit(api: &Api, id: &str) -> Result<Accepted, Refusal> {
    let head = Head { pipeline: "p".to_owned(), id: Some(id.to_owned()), ..Head::default() };
    api.submit(&Caller::default(), head, (stream::iter([Ok(Bytes::from("text"))]), Room::default())).await
}

#[tokio::test]
async fn clients_are_told_what_follows_from_measured_times() {
    let api = api(Limits { in_flight: 2, ..Limits::default() }).await;
    assert_eq!(submit(&api, "one").await.map(|accepted| accepted.expected_finish), Ok(None), "nothing is measured");
    let time =
        ServiceTime { pipeline: "p".to_owned(), stage: "a".to_owned(), count: 9, mean: 60.0, ..ServiceTime::default() };
    let worker = PodStatus {
        pool: "readers".to_owned(),
        slots: 1,
        ready: true,
        service_times: vec![time],
        ..PodStatus::default()
    };
    let of_another = PodStatus { pool: "writers".to_owned(), slots: 99, ..worker.clone() };
    api.loads.set("readers", &Depth { pending: [0, 0, 1, 0], ..Depth::default() }, &[worker, of_another]);
    // A minute for the one that waits, a minute of its own.
    let before = now();
    let expected = submit(&api, "two").await.expect("accepted").expected_finish.expect("a time");
    let expected: jiff::Timestamp = expected.parse().expect("RFC 3339");
    let millis = u64::try_from(expected.as_millisecond()).expect("after 1970") - before;
    assert!((120_000..180_000).contains(&millis), "{millis}");
    let (driver, record) = api.record(&Caller::default(), "p", "two").await.expect("it is there");
    assert!(api.result(&driver, &record).await.expect("a result")["expectedFinish"].is_string());
    // Two documents in two minutes: one of them should end within one.
    let Err(Refusal::Busy { retry_after, .. }) = submit(&api, "three").await else { panic!("two are in flight") };
    assert_eq!(retry_after, Duration::from_secs(60));
}

#[test]
fn a_pool_is_the_sum_of_its_workers() {
    let time = |count: u32, mean: f64, p95: f64| ServiceTime {
        pipeline: "p".to_owned(),
        stage: "a".to_owned(),
        count,
        mean,
        p50: mean,
        p95,
        ..ServiceTime::default()
    };
    let counts = |hits, misses| CacheCounts { level: "memory".to_owned(), hits, misses, errors: 0 };
    let worker = |time: ServiceTime, counts: CacheCounts, cordoned: bool| PodStatus {
        slots: 4,
        ready: true,
        cordoned,
        resting: cordoned,
        service_times: vec![time],
        cache: vec![counts],
        ..PodStatus::default()
    };
    let workers = [worker(time(1, 1.0, 2.0), counts(3, 1), false), worker(time(3, 5.0, 1.0), counts(0, 0), true)];
    let depth = Depth { pending: [1, 0, 2, 0], in_work: 5, ..Depth::default() };
    let stats = pool_stats("readers", &depth, &workers);
    assert_eq!(stats["resting"], 1);
    assert_eq!(stats["waiting"], json!({"critical": 1, "high": 0, "normal": 2, "low": 0}));
    assert_eq!((&stats["slots"], &stats["inWork"], &stats["oldestSeconds"]), (&json!(4), &json!(5), &Value::Null));
    let expected = json!({"pipeline": "p", "stage": "a", "count": 4, "mean": 4.0, "p50": 5.0, "p95": 2.0});
    assert_eq!(stats["serviceTimes"], json!([expected]));
    assert_eq!(stats["cache"]["memory"], json!({"hits": 3, "misses": 1, "errors": 0, "hitRate": 0.75}));
    assert_eq!(stats["workers"].as_array().map(Vec::len), Some(2));
}
