//! What became of documents, and whether that keeps the promise.

use std::collections::BTreeMap;

use docket_faults::{
    checker::{History, Seen, Submitted, Verdict, judge},
    documents::Expected,
    ledger::Effects,
};
use serde_json::json;

fn seen(outcome: Option<&str>, output: i32) -> Option<Seen> {
    let outcome = outcome.map(str::to_owned);
    Some(Seen { outcome, reason: Some("Quarantined".to_owned()), output: json!(output), attempts: 1 })
}

fn verdict_on(submitted: Submitted, expected: Expected, last: Option<Seen>) -> Verdict {
    let listed: Vec<String> = last.iter().map(|_| "a".to_owned()).collect();
    let history = History { submitted, expected, last };
    judge(&BTreeMap::from([("a".to_owned(), history)]), &listed, &Effects::default())
}

fn verdict(submitted: Submitted, last: Option<Seen>) -> Verdict {
    verdict_on(submitted, Expected::Output(json!(1)), last)
}

const A: [&str; 1] = ["a"];

#[test]
fn a_document_that_ended_right_keeps_the_promise() {
    let end = seen(Some("succeeded"), 1);
    assert!(verdict(Submitted::Accepted, end.clone()).holds());
    assert!(verdict(Submitted::Unknown, None).holds());
    assert!(verdict(Submitted::Refused, None).holds());
    assert!(verdict(Submitted::Unknown, end).holds());
    let doomed = Expected::DeadLetter("Quarantined");
    assert!(verdict_on(Submitted::Accepted, doomed, seen(Some("dead-lettered"), 0)).holds());
}

#[test]
fn every_broken_promise_is_found() {
    let end = || seen(Some("succeeded"), 1);
    assert_eq!(verdict(Submitted::Accepted, None).lost, A);
    assert_eq!(verdict(Submitted::Accepted, seen(None, 0)).stuck, A);
    assert_eq!(verdict(Submitted::Unknown, seen(None, 0)).stuck, A, "half accepted");
    assert_eq!(verdict(Submitted::Accepted, seen(Some("dead-lettered"), 1)).failed, A);
    assert_eq!(verdict(Submitted::Accepted, seen(Some("partial"), 1)).failed, A);
    assert_eq!(verdict(Submitted::Accepted, seen(Some("succeeded"), 2)).wrong, A);
    assert_eq!(verdict(Submitted::Refused, end()).phantom, A);
    for doomed in [Expected::DeadLetter("Timeout"), Expected::DeadLetter("Quarantined")] {
        let last = match doomed {
            Expected::DeadLetter("Timeout") => seen(Some("dead-lettered"), 0),
            _ => end(),
        };
        assert_eq!(verdict_on(Submitted::Accepted, doomed, last).failed, A);
    }
}

#[test]
fn what_is_listed_is_compared_with_what_was_submitted() {
    let history = History {
        submitted: Submitted::Accepted,
        expected: Expected::Output(json!(1)),
        last: seen(Some("succeeded"), 1),
    };
    let histories = BTreeMap::from([("a".to_owned(), history)]);
    let judged = |ids: &[&str]| {
        let listed: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        judge(&histories, &listed, &Effects::default())
    };
    assert!(judged(&["a"]).holds());
    assert_eq!(judged(&[]).lost, A);
    assert_eq!(judged(&["a", "b"]).phantom, ["b"]);
    assert_eq!(judged(&["a", "a"]).phantom, A);
}

#[test]
fn repeated_effects_break_the_promise() {
    let record = crate::ledger::ended_record("a", "one");
    let mut effects = Effects::default();
    effects.see(1, 0, &record);
    assert!(judge(&BTreeMap::new(), &[], &effects).holds());
    effects.see(2, 0, &crate::ledger::ended_record("a", "other"));
    assert_eq!(judge(&BTreeMap::new(), &[], &effects).repeated, A);
}
