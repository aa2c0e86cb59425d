//! The numbers in the status of pools and pipelines.

use std::time::{Duration, Instant};

use crds::{AgentPoolStatus, LoadedModel, PipelineStatus};
use flow::PipelineTally;
use operator::{
    agent_pool::{
        counts::{price, shown, with_counts, without_counts},
        spending::Amount,
    },
    pipeline,
    standing::{Numbers, STANDS, Standing},
};
use queue::Depth;

#[test]
fn what_was_spent_is_told_where_it_is_known() {
    let status = |spent| with_counts(&AgentPoolStatus::default(), &Depth::default(), &[], spent);
    let told = status(Some(Amount { tokens: 12_345, cost: 0.126 }));
    assert_eq!((told.tokens_per_minute, told.cost_per_minute.as_deref()), (Some(12_000), Some("0.13")));
    let unknown = status(None);
    assert_eq!((unknown.tokens_per_minute, unknown.cost_per_minute), (None, None));
}

#[test]
fn prices_have_two_digits_and_no_zeros_behind_them() {
    for (amount, expected) in [(0.0, "0"), (0.001_26, "0.0013"), (1.0, "1"), (12.34, "12"), (0.000_000_2, "0")] {
        assert_eq!(price(amount), expected, "{amount}");
    }
}

#[test]
fn times_have_two_digits() {
    for (seconds, expected) in [(0.0004, "0ms"), (0.0123, "12ms"), (0.123, "120ms"), (1.26, "1.3s"), (75.9, "76s")] {
        assert_eq!(shown(seconds), expected, "{seconds}");
    }
}

#[test]
fn numbers_that_are_not_read_anew_stand_for_a_moment_and_are_unknown_then() {
    let (mut standing, begun) = (Standing::default(), Instant::now());
    let mut look =
        |read: Option<u8>, seconds: u64| standing.of("team", "readers", read, begun + Duration::from_secs(seconds));
    let stands = STANDS.as_secs();
    // A process that has just begun has not read those that are there: they were read by another one a moment ago.
    assert_eq!(look(None, 0), Numbers::Stand);
    assert_eq!(look(None, stands - 1), Numbers::Stand);
    assert_eq!(look(None, stands), Numbers::Unknown);
    assert_eq!(look(Some(7), 100), Numbers::Read(7));
    assert_eq!(look(None, 105), Numbers::Stand, "one look that fails is a moment's silence");
    assert_eq!(look(None, 100 + stands), Numbers::Unknown);
    assert_eq!(look(None, 900), Numbers::Unknown);
}

#[test]
fn each_object_has_its_own_time_and_one_that_is_gone_has_none() {
    let (mut standing, begun) = (Standing::default(), Instant::now());
    let late = begun + STANDS;
    assert_eq!(standing.of::<u8>("team", "readers", None, begun), Numbers::Stand);
    assert_eq!(standing.of::<u8>("team", "writers", None, late), Numbers::Stand);
    assert_eq!(standing.of::<u8>("others", "readers", None, late), Numbers::Stand);
    assert_eq!(standing.of::<u8>("team", "readers", None, late), Numbers::Unknown);
    standing.forget_others();
    standing.forget_others();
    assert_eq!(standing.of::<u8>("team", "readers", None, late), Numbers::Stand, "one of its name begins anew");
}

#[test]
fn what_nobody_says_any_more_is_left_out_and_all_else_stays() {
    let model = LoadedModel { name: "embedder".to_owned(), digest: "0".to_owned(), agents: 2 };
    let counted = AgentPoolStatus { replicas: 3, ready_replicas: 2, desired_replicas: Some(3), ..Default::default() };
    let before = AgentPoolStatus {
        waiting: Some(40),
        in_work: Some(2),
        service_p50: Some("1s".to_owned()),
        service_p95: Some("3s".to_owned()),
        tokens_per_minute: Some(100),
        cost_per_minute: Some("0.1".to_owned()),
        models: vec![model],
        ..counted.clone()
    };
    assert_eq!(without_counts(&before), counted);

    let served = PipelineStatus { stages: 2, plan: Some("a plan".to_owned()), ..Default::default() };
    let tally = PipelineTally { open: 5, done_per_minute: 60, p50: Some(0.5), p95: Some(2.0), ..Default::default() };
    let told = pipeline::counts::with_counts(&served, Numbers::Read(&tally));
    assert_eq!((told.open, told.done_per_minute, told.dead_letters), (Some(5), Some(60), Some(0)));
    assert_eq!((told.latency_p50.as_deref(), told.latency_p95.as_deref()), (Some("500ms"), Some("2.0s")));
    assert_eq!(pipeline::counts::with_counts(&told, Numbers::Stand), told);
    assert_eq!(pipeline::counts::with_counts(&told, Numbers::Unknown), served);
}
