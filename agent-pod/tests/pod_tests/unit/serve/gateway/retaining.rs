//! Whose turn it is to remove what is over.

use std::time::Duration;

use agent_pod::serve::gateway::retaining::is_recent;

const EVERY: Duration = Duration::from_secs(600);
const NOW: u64 = 1_700_000_000_000;

#[test]
fn a_pass_is_recent_until_the_next_one_is_due() {
    assert!(is_recent(NOW, EVERY, NOW));
    assert!(is_recent(NOW - 300_000, EVERY, NOW));
    assert!(!is_recent(NOW - 600_000, EVERY, NOW));
    assert!(!is_recent(0, EVERY, NOW), "a record that cannot be read");
}

#[test]
fn a_clock_that_was_far_ahead_stops_no_pass_and_one_that_is_a_little_ahead_counts() {
    assert!(is_recent(NOW + 60_000, EVERY, NOW));
    assert!(!is_recent(NOW + 24 * 3_600_000, EVERY, NOW));
}
