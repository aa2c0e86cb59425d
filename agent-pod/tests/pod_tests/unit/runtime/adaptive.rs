//! What limit `Adaptive` time-outs learn.

use std::time::Duration;

use agent_pod::runtime::adaptive::{Adaptive, ENOUGH, Key, LEAST, MOST, STAGES, WINDOW};

const OTHERWISE: Duration = Duration::from_secs(300);

fn key(stage: &str) -> Key {
    Key { pipeline: "p".to_owned(), stage: stage.to_owned() }
}

fn after(times: impl IntoIterator<Item = u64>) -> Adaptive {
    let adaptive = Adaptive::default();
    times.into_iter().for_each(|millis| adaptive.took(key("a"), Duration::from_millis(millis)));
    adaptive
}

fn limit(adaptive: &Adaptive) -> Duration {
    adaptive.limit(&key("a"), 1, OTHERWISE)
}

#[test]
fn the_default_holds_until_enough_is_known_of_this_stage() {
    let adaptive = after([2_000; ENOUGH - 1]);
    assert_eq!(limit(&adaptive), OTHERWISE);
    adaptive.took(key("a"), Duration::from_secs(2));
    assert_eq!(limit(&adaptive), Duration::from_secs(6));
    assert_eq!(adaptive.limit(&key("b"), 1, OTHERWISE), OTHERWISE);
}

#[test]
fn the_slowest_in_a_hundred_does_not_count() {
    assert_eq!(limit(&after((0..200).map(|n| if n < 2 { 60_000 } else { 1_000 }))), Duration::from_secs(3));
    assert_eq!(limit(&after((0..200).map(|n| if n < 3 { 60_000 } else { 1_000 }))), Duration::from_secs(180));
}

#[test]
fn the_limit_stays_within_its_bounds() {
    assert_eq!(limit(&after([1; ENOUGH])), LEAST);
    assert_eq!(limit(&after([3_600_000; ENOUGH])), MOST);
    assert_eq!(after([3_600_000; ENOUGH]).limit(&key("a"), u32::MAX, OTHERWISE), MOST);
}

#[test]
fn a_repetition_is_given_twice_the_time() {
    let adaptive = after([1_000; ENOUGH]);
    let limits = [1, 2, 3].map(|attempt| adaptive.limit(&key("a"), attempt, OTHERWISE).as_secs());
    assert_eq!(limits, [3, 6, 12]);
}

#[test]
fn a_limit_that_has_become_too_short_grows_and_old_attempts_are_forgotten() {
    let adaptive = after([1_000; WINDOW]);
    for _ in 0..3 {
        let cut = limit(&adaptive);
        adaptive.took(key("a"), cut);
    }
    assert_eq!(limit(&adaptive), Duration::from_secs(9));
    for _ in 0..WINDOW {
        adaptive.took(key("a"), Duration::from_secs(2));
    }
    assert_eq!(limit(&adaptive), Duration::from_secs(6));
}

#[test]
fn stages_that_are_remembered_are_bounded() {
    let adaptive = Adaptive::default();
    let stages: Vec<Key> = (0..=STAGES).map(|n| key(&n.to_string())).collect();
    for stage in &stages {
        (0..ENOUGH).for_each(|_| adaptive.took(stage.clone(), Duration::from_secs(1)));
        assert_ne!(adaptive.limit(stage, 1, OTHERWISE), OTHERWISE, "it is remembered");
    }
    let remembered = stages.iter().filter(|stage| adaptive.limit(stage, 1, OTHERWISE) != OTHERWISE).count();
    assert!(remembered <= STAGES);
}
