//! Rounds of a measurement.

use std::time::Duration;

use docket_faults::measure::Rounds;

#[test]
fn rounds_become_medians_and_spread_and_times_become_quantiles() {
    let mut rounds = Rounds::default();
    for value in [3.0, 1.0, 2.0] {
        rounds.add("hops", "Docket", "a second", value);
    }
    rounds.add_times("a hop", "Docket", (1..=100).map(Duration::from_millis).collect());
    let rows = rounds.finish();
    assert_eq!((rows[0].median, rows[0].min, rows[0].max), (2.0, 1.0, 3.0));
    let quantiles: Vec<(&str, f64)> = rows[1..].iter().map(|row| (row.what.as_str(), row.median)).collect();
    assert_eq!(quantiles, [("a hop, p50", 50.0), ("a hop, p95", 95.0), ("a hop, p99", 99.0)]);
}
