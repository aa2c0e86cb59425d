//! How long tasks take, by stage and size.

use std::time::Duration;

use agent_pod::runtime::service_times::{MOST_WINDOWS, ServiceTimes, WINDOW, percentile};

fn record(times: &mut ServiceTimes, stage: &str, tokens: u64, millis: u64) {
    times.record("p", stage, (tokens, 0), Duration::from_millis(millis));
}

#[test]
fn stages_and_sizes_are_told_apart() {
    let mut times = ServiceTimes::default();
    for (stage, tokens) in [("draft", 0), ("draft", 1), ("draft", 256), ("draft", 257), ("draft", 20_000), ("a", 1)] {
        record(&mut times, stage, tokens, 10);
    }
    let found: Vec<(String, Option<u64>, u32)> =
        times.summary().into_iter().map(|time| (time.stage, time.up_to_tokens, time.count)).collect();
    let draft = |up_to, count| ("draft".to_owned(), up_to, count);
    let expected =
        [("a".to_owned(), Some(256), 1), draft(Some(0), 1), draft(Some(256), 2), draft(Some(1_024), 1), draft(None, 1)];
    assert_eq!(found, expected);
}

#[test]
fn documents_of_other_sizes_are_told_apart() {
    let mut times = ServiceTimes::default();
    times.record("p", "draft", (100, 1), Duration::from_secs(1));
    times.record("p", "draft", (100, 4), Duration::from_secs(9));
    let found: Vec<(u8, f64)> = times.summary().iter().map(|time| (time.document_size, time.mean)).collect();
    assert_eq!(found, [(1, 1.0), (4, 9.0)]);
}

#[test]
fn mean_and_percentiles_are_of_the_newest_tasks() {
    let mut times = ServiceTimes::default();
    (0..1_000).for_each(|_| record(&mut times, "a", 0, 60_000));
    (1..=WINDOW as u64).for_each(|millis| record(&mut times, "a", 0, millis));
    let [time] = &times.summary()[..] else { panic!("one stage, one size") };
    assert_eq!(time.count as usize, WINDOW);
    assert!((time.mean - 0.0645).abs() < 1e-9, "{time:?}");
    assert_eq!((time.p50, time.p95), (0.064, 0.122));
}

#[test]
fn how_often_such_tasks_come_is_told() {
    let mut times = ServiceTimes::default();
    // One of a hundred is long, so its window reaches back further.
    for number in 0..20_000 {
        record(&mut times, if number % 100 == 7 { "long" } else { "short" }, 0, 1);
    }
    let shares: Vec<(u32, f64)> =
        times.summary().iter().map(|time| (time.count, f64::from(time.count) / time.of_all as f64)).collect();
    assert!(shares.iter().all(|share| share.0 as usize == WINDOW), "{shares:?}");
    assert!((shares[0].1 - 0.01).abs() < 2e-4 && (shares[1].1 - 0.99).abs() < 0.01, "{shares:?}");
}

#[test]
fn one_task_is_its_own_percentile() {
    let mut times = ServiceTimes::default();
    record(&mut times, "a", 0, 7);
    assert_eq!((times.summary()[0].p50, times.summary()[0].p95), (0.007, 0.007));
    assert_eq!(percentile(&[], 95), 0.0);
}

#[test]
fn stages_that_are_long_gone_make_room() {
    let mut times = ServiceTimes::default();
    record(&mut times, "first", 0, 1);
    record(&mut times, "second", 0, 1);
    record(&mut times, "first", 0, 1);
    (0..MOST_WINDOWS - 1).for_each(|number| record(&mut times, &format!("stage-{number}"), 0, 1));
    let stages: Vec<String> = times.summary().into_iter().map(|time| time.stage).collect();
    assert_eq!(stages.len(), MOST_WINDOWS);
    assert!(stages.contains(&"first".to_owned()) && !stages.contains(&"second".to_owned()));
}
