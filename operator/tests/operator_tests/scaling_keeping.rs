//! When what was learned of a pool is written.

use operator::scaling::keeping::Keeping;

#[test]
fn what_was_learned_is_kept_now_and_then_and_at_each_change() {
    let mut keeping = Keeping::default();
    assert!(keeping.is_due(false, false, 1_000.0), "nothing was kept yet");
    let kept: Vec<u32> =
        (1..=30).filter(|second| keeping.is_due(*second == 4, false, 1_000.0 + f64::from(*second))).collect();
    assert_eq!(kept, [4, 14, 24]);
}

#[test]
fn a_pool_that_sleeps_on_is_looked_at_and_nothing_is_written() {
    let mut keeping = Keeping::default();
    assert!(keeping.is_due(false, false, 1_000.0));
    assert!(keeping.is_due(false, true, 1_001.0), "it falls asleep");
    assert!((1..100_u32).all(|look| !keeping.is_due(false, true, 1_001.0 + f64::from(look) * 30.0)));
    assert!(keeping.is_due(true, true, 5_000.0), "news is written all the same");
    // It wakes, and what was learned until it sleeps again is not lost either.
    assert!(keeping.is_due(false, false, 5_030.0));
    assert!(!keeping.is_due(false, false, 5_031.0));
    assert!(keeping.is_due(false, true, 5_032.0));
}
