//! The number that KEDA is offered, and whether it is of now.

use std::time::Duration;

use crds::AgentPool;
use operator::{
    keda::{
        decided::{Decided, follow},
        pools::desired_of,
    },
    lease::Leadership,
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

fn pool(spec: Value, status: Value) -> AgentPool {
    let object = json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": "readers"},
        "spec": spec, "status": status});
    serde_json::from_value(object).expect("a pool")
}

#[test]
fn only_what_was_decided_for_an_external_owner_is_a_number() {
    let external = json!({"scaling": {"maxReplicas": 9, "mode": "External"}});
    let decided = |mode: &str| json!({"scaling": {"mode": mode, "desired": 4}});
    assert_eq!(desired_of(&pool(external.clone(), decided("External"))).expect("decided"), 4);
    let refused = |spec: Value, status: Value| desired_of(&pool(spec, status)).expect_err("no number").code();
    let (precondition, later) = (tonic::Code::FailedPrecondition, tonic::Code::Unavailable);
    assert_eq!(refused(json!({}), json!({})), precondition);
    assert_eq!(refused(json!({"scaling": {"maxReplicas": 9}}), decided("Apply")), precondition);
    assert_eq!(refused(external.clone(), json!({})), later);
    assert_eq!(refused(external, decided("Advise")), later);
}

/// Whether numbers are of now, each second, where somebody leads in these seconds.
fn of_now(is_led: impl Fn(u64) -> bool, seconds: u64) -> Vec<bool> {
    let (mut decided, begin) = (Decided::default(), Instant::now());
    let at = |second: u64| begin + Duration::from_secs(second);
    let looks = (0..seconds).map(|second| {
        decided.saw(is_led(second), at(second));
        decided.is_of(at(second))
    });
    looks.collect()
}

#[test]
fn numbers_are_of_now_once_a_leader_had_time_to_decide_and_until_none_was_seen_for_a_minute() {
    let seen = of_now(|_| true, 100);
    assert!(!seen[0] && !seen[14] && seen[15..].iter().all(|known| *known), "{seen:?}");
    assert!(of_now(|_| false, 100).iter().all(|known| !known));
    let seen = of_now(|second| second < 50, 200);
    assert!(seen[15..110].iter().all(|known| *known) && seen[110..].iter().all(|known| !known), "{seen:?}");
}

#[test]
fn a_change_of_leaders_is_no_gap_and_a_leader_after_a_long_time_decides_first() {
    let seen = of_now(|second| !(50..80).contains(&second), 200);
    assert!(seen[15..].iter().all(|known| *known), "{seen:?}");
    let seen = of_now(|second| !(50..3_650).contains(&second), 3_700);
    assert!(seen[200..3_665].iter().all(|known| !known) && seen[3_665..].iter().all(|known| *known), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn whether_somebody_leads_is_followed_for_as_long_as_there_is_an_election() {
    let (leads, leadership) = watch::channel(Leadership::Unknown);
    let (decides, decided) = watch::channel(Decided::default());
    let following = tokio::spawn(follow(leadership, decides));
    let is_of_now = || decided.borrow().is_of(Instant::now());
    sleep(Duration::from_secs(100)).await;
    assert!(!is_of_now(), "the Lease could not be read");
    leads.send_replace(Leadership::Following { holder: None });
    sleep(Duration::from_secs(100)).await;
    assert!(!is_of_now(), "nobody leads");
    leads.send_replace(Leadership::Following { holder: Some("other".to_owned()) });
    sleep(Duration::from_secs(20)).await;
    assert!(is_of_now(), "another one leads");
    // Not renewed, it is over after ten seconds, and a minute later what was decided is old.
    leads.send_replace(Leadership::Leading { epoch: 1, until: Instant::now() + Duration::from_secs(10) });
    sleep(Duration::from_secs(60)).await;
    assert!(is_of_now(), "it has led within the last minute");
    sleep(Duration::from_secs(20)).await;
    assert!(!is_of_now());
    drop(leads);
    sleep(Duration::from_secs(2)).await;
    assert!(following.is_finished());
}
