//! How often a status may be written.

use std::time::{Duration, Instant};

use e2e::faults::{call::Call, call::Done, sparing::is_sparing};

/// Whether writes at these milliseconds are sparing, each of which is done after 10.
fn sparing(times: &[u64]) -> bool {
    let begun = Instant::now();
    let writes = times.iter().map(|&time| {
        let at = begun + Duration::from_millis(time);
        let call = Call::of("PATCH", "/apis/docket.dev/v1alpha1/namespaces/a/agentpools/p/status", b"");
        Done { call, at, ended: at + Duration::from_millis(10), status: Some(200) }
    });
    let writes: Vec<Done> = writes.collect();
    is_sparing(&writes.iter().collect::<Vec<_>>())
}

#[test]
fn what_was_seen_what_is_settled_and_numbers_may_follow_each_other() {
    assert!(sparing(&[]));
    assert!(sparing(&[0, 200, 400]));
    assert!(sparing(&[0, 1_000, 2_000, 3_000, 3_100, 3_200]), "and one a second before");
}

#[test]
fn a_write_for_each_agent_is_too_many() {
    assert!(!sparing(&[0, 200, 400, 600]));
    assert!(!sparing(&[0, 1_000, 1_200, 2_200, 2_400, 3_400, 3_600]));
}
