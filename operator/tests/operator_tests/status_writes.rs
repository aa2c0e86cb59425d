//! Changes of a pool's status that follow each other while agents come are written together, and what a person waits for at once.

use std::time::{Duration, Instant};

use crds::{AgentPool, AgentPoolStatus, FallbackStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use operator::agent_pool::unwritten::{Unwritten, WAIT};
use serde_json::json;

/// A pool whose agents start, and its status when so many of three take work.
fn of(ready: i32) -> (AgentPool, AgentPoolStatus) {
    let condition: Condition = serde_json::from_value(json!({"type": "Ready", "status": "False", "reason": "Starting",
        "message": format!("{ready} of 3 agents take work"), "lastTransitionTime": "2026-01-01T00:00:00Z"}))
    .expect("a condition");
    let status = AgentPoolStatus {
        observed_generation: Some(2),
        desired_replicas: Some(3),
        replicas: 3,
        ready_replicas: ready,
        conditions: vec![condition],
        ..AgentPoolStatus::default()
    };
    let mut pool = crate::support::pool(json!({"replicas": 3}));
    pool.status = Some(of_none());
    (pool, status)
}

/// What was written last.
fn of_none() -> AgentPoolStatus {
    AgentPoolStatus {
        observed_generation: Some(2),
        desired_replicas: Some(3),
        replicas: 1,
        ..AgentPoolStatus::default()
    }
}

#[test]
fn agents_that_follow_each_other_are_written_together_within_the_time_of_the_first() {
    let (unwritten, begun) = (Unwritten::default(), Instant::now());
    let wait = |ready: i32, millis: u64| {
        let (pool, status) = of(ready);
        unwritten.wait(&pool, &status, false, begun + Duration::from_millis(millis))
    };
    assert_eq!(wait(0, 0), Some(WAIT));
    assert_eq!(wait(1, 400), Some(WAIT - Duration::from_millis(400)), "no later change prolongs it");
    assert_eq!(wait(2, 1_000), None);
    assert_eq!(wait(2, 1_300), Some(WAIT), "the next one begins anew");
}

#[test]
fn a_pool_that_is_as_it_should_be_is_said_to_be_at_once() {
    let (unwritten, now) = (Unwritten::default(), Instant::now());
    let (pool, status) = of(3);
    assert_eq!(unwritten.wait(&pool, &of(1).1, false, now), Some(WAIT));
    assert_eq!(unwritten.wait(&pool, &status, true, now), None);
    // What is written begins nobody's time.
    assert_eq!(unwritten.wait(&pool, &of(1).1, false, now + Duration::from_secs(9)), Some(WAIT));
}

#[test]
fn what_a_person_changed_and_what_is_built_by_are_written_at_once() {
    let (unwritten, now) = (Unwritten::default(), Instant::now());
    let (mut pool, status) = of(1);
    let others = [
        AgentPoolStatus { observed_generation: Some(3), ..status.clone() },
        AgentPoolStatus { fallback: Some(FallbackStatus::default()), ..status.clone() },
        AgentPoolStatus { scaling: Some(crds::ScalingStatus::default()), ..status.clone() },
    ];
    for other in others {
        assert_eq!(unwritten.wait(&pool, &other, false, now), None, "{other:?}");
    }
    pool.status = None;
    assert_eq!(unwritten.wait(&pool, &status, false, now), None, "the first one is never late");
}

#[test]
fn a_change_that_was_taken_back_begins_nobodys_time() {
    let (unwritten, begun) = (Unwritten::default(), Instant::now());
    let (pool, status) = of(1);
    assert_eq!(unwritten.wait(&pool, &status, false, begun), Some(WAIT));
    assert_eq!(unwritten.wait(&pool, &of_none(), false, begun + WAIT / 2), None, "there is nothing to write");
    assert_eq!(unwritten.wait(&pool, &status, false, begun + WAIT * 2), Some(WAIT));
}

#[test]
fn pools_do_not_wait_for_each_other() {
    let (unwritten, begun) = (Unwritten::default(), Instant::now());
    let (pool, status) = of(1);
    let mut other = pool.clone();
    other.metadata.uid = Some("another".to_owned());
    assert_eq!(unwritten.wait(&pool, &status, false, begun), Some(WAIT));
    assert_eq!(unwritten.wait(&other, &status, false, begun + WAIT), Some(WAIT));
    assert_eq!(unwritten.wait(&pool, &status, false, begun + WAIT), None);
}
