//! Looks at many things, of which some are slow.

use std::{collections::BTreeMap, time::Duration};

use operator::scaling::rounds::Rounds;
use tokio::time::{Instant, interval, sleep};

/// Looks at these each second, for so long; how often each was looked at. A look takes as many seconds as is said.
async fn looked_at(things: &[(&str, u64)], at_once: usize, time: Duration) -> BTreeMap<String, u32> {
    let mut rounds: Rounds<u32, ()> = Rounds::new(at_once);
    let (mut ticks, began) = (interval(Duration::from_secs(1)), Instant::now());
    let mut looks = BTreeMap::new();
    while began.elapsed() < time {
        tokio::select! {
            _ = ticks.tick() => for (name, takes) in things {
                let takes = Duration::from_secs(*takes);
                rounds.begin((*name).to_owned(), move |count| async move {
                    sleep(takes).await;
                    (count + 1, ())
                });
            },
            (name, count, ()) = rounds.next() => {
                assert!(!rounds.is_busy(&name));
                looks.insert(name.clone(), count);
                rounds.keep(name, count);
            }
        }
    }
    looks
}

#[tokio::test(start_paused = true)]
async fn one_that_is_slow_keeps_no_other_waiting_and_is_looked_at_once_at_a_time() {
    let looks = looked_at(&[("quick", 0), ("slow", 5)], 8, Duration::from_millis(20_500)).await;
    assert!(looks["quick"] >= 20, "{looks:?}");
    assert!((3..=4).contains(&looks["slow"]), "{looks:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_are_looked_at_at_once_than_may_be_and_none_is_left_out() {
    let looks = looked_at(&[("a", 1), ("b", 1), ("c", 1)], 1, Duration::from_millis(30_500)).await;
    let total: u32 = looks.values().sum();
    assert!((28..=31).contains(&total), "one at a time: {looks:?}");
    // Which of two that wait comes next is chance.
    assert!(looks.values().all(|count| *count >= 5), "{looks:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_begins_anew() {
    let mut rounds: Rounds<u32, bool> = Rounds::new(1);
    rounds.keep("kept".to_owned(), 7);
    for name in ["kept", "new"] {
        rounds.begin(name.to_owned(), |count| async move { (count + 1, true) });
        assert!(rounds.is_busy(name) && rounds.idle(name).is_none());
    }
    assert_eq!(rounds.names().count(), 2);
    let mut counts = BTreeMap::new();
    for _ in 0..2 {
        let (name, count, _) = rounds.next().await;
        counts.insert(name, count);
    }
    assert_eq!(counts, BTreeMap::from([("kept".to_owned(), 8), ("new".to_owned(), 1)]));
    assert_eq!(rounds.names().count(), 0, "nothing was kept");
}
