//! Waits are counted so that any target can be judged, and counts of several agents add up.

use flow::{WAIT_BOUNDS, WAIT_BUCKETS, WaitCounts, late};

fn counted(waits: impl IntoIterator<Item = f64>) -> WaitCounts {
    let mut counts = WaitCounts::default();
    waits.into_iter().for_each(|wait| counts.start(wait));
    counts
}

#[test]
fn the_bounds_go_from_ten_milliseconds_to_over_an_hour_by_less_than_a_third() {
    assert_eq!(WAIT_BOUNDS[0], 0.01);
    assert!((3_600.0..4_000.0).contains(&WAIT_BOUNDS[WAIT_BUCKETS - 1]), "{WAIT_BOUNDS:?}");
    assert!(WAIT_BOUNDS.windows(2).all(|pair| (1.25..1.35).contains(&(pair[1] / pair[0]))), "{WAIT_BOUNDS:?}");
}

#[test]
fn at_a_bound_the_count_is_exact() {
    let waits = counted([0.0, WAIT_BOUNDS[3], WAIT_BOUNDS[3] * 1.01, 40.0, 1e9]);
    assert_eq!((waits.started, late(&waits, WAIT_BOUNDS[3])), (5, 3));
    assert_eq!((late(&waits, 0.0), late(&waits, 100.0), late(&waits, 1e12)), (5, 1, 1));
}

#[test]
fn between_bounds_the_count_is_near() {
    let waits = counted((0..1_000).map(|number| f64::from(number) / 100.0));
    for target in [0.5, 2.0, 5.0, 9.0] {
        let exact = 1_000.0 - target * 100.0;
        assert!((late(&waits, target) as f64 - exact).abs() < 60.0, "{target} s: {}", late(&waits, target));
    }
}

#[test]
fn a_longer_target_never_has_more_that_are_late() {
    let waits = counted((0..300).map(|number| 1.05_f64.powi(number) / 1_000.0));
    let counts: Vec<u64> = (0..2_000).map(|step| late(&waits, f64::from(step) * 2.5)).collect();
    assert!(counts.is_sorted_by(|before, after| before >= after), "{counts:?}");
}

#[test]
fn counts_that_make_no_sense_never_give_more_than_were_started() {
    assert_eq!(late(&WaitCounts { started: 2, counts: vec![u64::MAX; 60] }, 1.0), 2);
    assert_eq!(late(&WaitCounts { started: 9, counts: Vec::new() }, 1.0), 0);
    assert!(late(&counted([1.0, 2.0]), f64::NAN) <= 2);
}
