//! When a document will have ended.

use std::{collections::BTreeMap, time::Duration};

use agent_pod::serve::gateway::estimate::{PoolLoad, Times, remaining, retry_after};
use flow::{Plan, PodStatus, ServiceTime};
use serde_json::{Value, json};

fn plan(more: &Value) -> Plan {
    let stage = |name: &str, pool: &str, after: &[&str]| json!({"name": name, "pool": pool, "after": after, "transform": {"template": "a"}});
    let mut spec = json!({"stages": [
        stage("parse", "readers", &[]),
        stage("draft", "writers", &["parse"]),
        stage("size", "readers", &["parse"]),
        stage("both", "readers", &["draft", "size"]),
    ]});
    for (name, value) in more.as_object().unwrap_or_else(|| panic!("fields")) {
        spec[name] = value.clone();
    }
    let pool = || serde_json::from_value(json!({})).expect("a pool");
    let pools = BTreeMap::from([("readers".to_owned(), pool()), ("writers".to_owned(), pool())]);
    flow::compile("p", 1, &serde_json::from_value(spec).expect("a pipeline"), &pools).expect("a plan")
}

fn worker(slots: u32, times: &[(&str, u32, f64)]) -> PodStatus {
    let time = |(stage, count, mean): &(&str, u32, f64)| ServiceTime {
        pipeline: "p".to_owned(),
        stage: (*stage).to_owned(),
        count: *count,
        mean: *mean,
        ..ServiceTime::default()
    };
    PodStatus { ready: true, slots, service_times: times.iter().map(time).collect(), ..PodStatus::default() }
}

fn pools(waiting: u64) -> BTreeMap<String, PoolLoad> {
    let readers = worker(4, &[("parse", 10, 0.5), ("size", 10, 1.0), ("both", 10, 1.5)]);
    let writers = worker(2, &[("draft", 5, 8.0)]);
    BTreeMap::from([
        ("readers".to_owned(), PoolLoad::new(0, 0, [readers].iter())),
        ("writers".to_owned(), PoolLoad::new(waiting, 0, [writers].iter())),
    ])
}

#[test]
fn means_of_workers_and_sizes_are_weighed_by_their_tasks_and_only_those_who_take_tasks_have_slots() {
    let workers = [
        worker(4, &[("a", 1, 1.0), ("a", 2, 4.0), ("b", 0, 0.0)]),
        PodStatus { cordoned: true, ..worker(4, &[("a", 1, 3.0)]) },
    ];
    let load = PoolLoad::new(7, 2, workers.iter());
    assert_eq!((load.slots, load.waiting, load.in_work), (4, 7, 2));
    assert_eq!(load.stages[&("p".to_owned(), "a".to_owned())], Times { often: 4.0, mean: 3.0 });
    // Seven and half of two, of three seconds each, for four slots.
    assert_eq!(load.wait(), Some(6.0));
}

/// A worker that knows a hundred tasks of each of two sizes, of which one comes four times as often.
fn worker_of_two_sizes() -> PodStatus {
    let mut both = worker(1, &[("a", 100, 1.0), ("a", 100, 11.0)]);
    for (time, of_all) in both.service_times.iter_mut().zip([125, 500]) {
        time.of_all = of_all;
    }
    both
}

#[test]
fn sizes_weigh_as_often_as_they_come_where_all_workers_say_how_often() {
    let times = |load: &PoolLoad| load.stages[&("p".to_owned(), "a".to_owned())];
    let told = PoolLoad::new(10, 0, [worker_of_two_sizes()].iter());
    assert_eq!(times(&told), Times { often: 1.0, mean: 3.0 });
    assert_eq!(told.wait(), Some(30.0));
    // What one does not say cannot be set beside what another says.
    let silent = worker(1, &[("a", 200, 1.0)]);
    let half_told = PoolLoad::new(10, 0, [worker_of_two_sizes(), silent].iter());
    assert_eq!(times(&half_told), Times { often: 400.0, mean: 3.5 });
}

#[test]
fn a_document_takes_its_longest_way_and_waits_before_each_stage() {
    let none = |_: &str| false;
    assert_eq!(remaining(&plan(&json!({})), none, &pools(0)), Some(0.5 + 8.0 + 1.5));
    assert_eq!(remaining(&plan(&json!({})), none, &pools(10)), Some(0.5 + (10.0 * 8.0 / 2.0 + 8.0) + 1.5));
    assert_eq!(remaining(&plan(&json!({"parallel": false})), none, &pools(0)), Some(0.5 + 8.0 + 1.0 + 1.5));
}

#[test]
fn what_is_done_takes_no_time() {
    let plan = plan(&json!({}));
    assert_eq!(remaining(&plan, |stage| ["parse", "draft"].contains(&stage), &pools(10)), Some(1.0 + 1.5));
    assert_eq!(remaining(&plan, |_| true, &pools(10)), Some(0.0));
}

#[test]
fn the_writing_of_results_keeps_no_end_from_being_told() {
    let writing = plan(&json!({"results": {"table": {}}}));
    assert!(writing.stages().iter().any(flow::PlannedStage::writes_results));
    assert_eq!(remaining(&writing, |_| false, &pools(0)), Some(0.5 + 8.0 + 1.5));
}

#[test]
fn what_was_never_measured_is_not_guessed() {
    let plan = plan(&json!({}));
    let mut unmeasured = pools(0);
    unmeasured.insert("writers".to_owned(), PoolLoad::new(3, 0, [worker(2, &[])].iter()));
    assert_eq!(remaining(&plan, |_| false, &unmeasured), None);
    let mut nobody = pools(0);
    nobody.insert("writers".to_owned(), PoolLoad::new(0, 0, std::iter::empty()));
    assert_eq!(remaining(&plan, |_| false, &nobody), None);
    assert_eq!(remaining(&plan, |stage| stage == "draft", &nobody), Some(0.5 + 1.0 + 1.5), "it is not on the way");
    assert_eq!(remaining(&plan, |_| false, &BTreeMap::new()), None);
}

#[test]
fn a_client_comes_back_when_one_of_its_documents_should_have_ended_within_bounds() {
    assert_eq!(retry_after(Some(120.0), 10), Some(Duration::from_secs(12)));
    assert_eq!(retry_after(Some(0.01), 10_000), Some(Duration::from_secs(1)));
    assert_eq!(retry_after(Some(1e9), 1), Some(Duration::from_secs(300)));
    assert_eq!(retry_after(Some(2.1), 1), Some(Duration::from_secs(3)));
    assert_eq!(retry_after(None, 10), None);
    assert_eq!(retry_after(Some(f64::INFINITY), 10), None);
}
