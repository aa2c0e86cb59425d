//! Faults by seed.

use std::{collections::BTreeMap, time::Duration};

use docket_faults::schedule::{Deaths, Fault, POINTS, Schedule};

#[test]
fn the_same_seed_gives_the_same_faults_and_another_gives_others() {
    let row = |seed| Schedule::new(seed, Duration::from_secs(1)).take(50).collect::<Vec<_>>();
    assert_eq!(row(1), row(1));
    assert_ne!(row(1), row(2));
}

#[test]
fn every_fault_comes_and_pauses_stay_in_their_bounds() {
    let mut seen = BTreeMap::new();
    for moment in Schedule::new(7, Duration::from_millis(500)).take(1_000) {
        assert!(moment.after < Duration::from_secs(1));
        *seen.entry(moment.fault).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), Fault::SHARES.len(), "{seen:?}");
}

#[test]
fn workers_die_at_every_point_in_turn_or_not_at_all() {
    let mut deaths = Deaths::new(1, 10);
    let faults: Vec<String> = (0..POINTS.len()).map(|_| deaths.faults()).collect();
    for (fault, point) in faults.iter().zip(POINTS) {
        let passes = fault.strip_prefix(&format!("die-at={point}:")).expect("its turn");
        assert!((1..=10).contains(&passes.parse().expect("a number")), "{fault}");
    }
    assert_eq!(Deaths::new(1, 0).faults(), "");
}
