//! How faults are read; without them there are none.

use std::time::Duration;

use agent_pod::runtime::faults::{Point, Suffering, acknowledges_first, is_due, read};

#[test]
fn faults_are_read_and_wrong_ones_are_named() {
    let faults = read("die-at=recorded:3, slow=late:250,kill=poison,acknowledge-first").expect("faults");
    assert!(faults.acknowledge_first);
    assert_eq!((faults.deaths[0].point, faults.deaths[0].after), (Point::Recorded, 3));
    let slow = Suffering::Slow(Duration::from_millis(250));
    assert_eq!(faults.documents, [("late".to_owned(), slow), ("poison".to_owned(), Suffering::Kill)]);
    for wrong in ["die-at=nowhere", "die-at=pulled:0", "kill=", "slow=late", "explode"] {
        assert!(read(wrong).is_err_and(|problem| problem.contains(wrong)), "{wrong}");
    }
}

#[test]
fn a_process_that_was_given_no_faults_has_none() {
    assert!(!is_due(Point::Pulled));
    assert!(!acknowledges_first());
}
