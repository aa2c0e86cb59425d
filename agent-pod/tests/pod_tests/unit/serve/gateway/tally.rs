//! How ended documents are counted.

use std::collections::BTreeMap;

use agent_pod::serve::gateway::tally::Tally;
use crds::Priority;
use flow::{DocumentRecord, End, Millis, Outcome, Submission};

fn ended(at: Millis, took: Millis, outcome: Outcome) -> DocumentRecord {
    let submission = Submission {
        document: "d".to_owned(),
        tenant: "t".to_owned(),
        source: "d".to_owned(),
        payload: "00".to_owned(),
        metadata: None,
        priority: Priority::Normal,
        deadline: None,
        bytes: None,
    };
    let spec = serde_json::json!({"stages": [{"name": "a", "pool": "p", "parse": {}}]});
    let pools = BTreeMap::from([("p".to_owned(), serde_json::from_str("{}").expect("a pool"))]);
    let plan = flow::compile("x", 1, &serde_json::from_value(spec).expect("a pipeline"), &pools).expect("a plan");
    let mut record = flow::submit(&plan, submission, at - took).record;
    record.end = Some(End { outcome, at, dead_letter: None });
    record
}

#[test]
fn ends_are_counted_by_age_and_outcome_and_percentiles_are_of_the_newest() {
    let now = 10_000_000;
    let mut tally = Tally::at(now);
    for number in 0..1_000 {
        // The older half took long; only a few of it are among the newest.
        let (age, took) = if number % 2 == 0 { (90_000 + number, 50_000) } else { (number, 2_000) };
        tally.count(&ended(now - age, took, if number == 2 { Outcome::DeadLettered } else { Outcome::Succeeded }));
    }
    let tally = tally.finish("x");
    assert_eq!((tally.done_per_minute, tally.dead_letters), (500, 1));
    assert_eq!((tally.p50, tally.p95), (Some(2.0), Some(2.0)));
    let nothing = Tally::at(now).finish("x");
    assert_eq!((nothing.done_per_minute, nothing.p50), (0, None));
}
