//! What was repeated, by the records as they were written.

use std::{collections::BTreeMap, time::Duration};

use docket_faults::ledger::Effects;
use flow::{Completion, DocumentRecord, End, Outcome, StageState, StageStatus, Submission};

pub fn record(id: &str) -> DocumentRecord {
    DocumentRecord {
        submission: Submission {
            document: id.to_owned(),
            tenant: "t".to_owned(),
            source: id.to_owned(),
            payload: "00".to_owned(),
            metadata: None,
            priority: crds::Priority::Normal,
            deadline: None,
            bytes: None,
        },
        pipeline: "p".to_owned(),
        plan: "11".to_owned(),
        generation: 1,
        epoch: 0,
        round: 0,
        submitted_at: 1_000,
        started_at: 1_000,
        changed_at: 1_000,
        suspended: false,
        stages: BTreeMap::new(),
        degraded: Vec::new(),
        quality: None,
        previous: BTreeMap::new(),
        outdated: flow::Traces::default(),
        end: None,
        written_off: flow::Spent::default(),
    }
}

fn done(id: &str, round: u32, output: &str) -> DocumentRecord {
    let status = StageStatus::Done(Completion { output: output.to_owned(), ..Completion::default() });
    let state = StageState {
        round,
        attempt: 1,
        unreported: 0,
        waiting_since: None,
        spent: flow::Spent::default(),
        status,
        fallen_back: None,
    };
    DocumentRecord { stages: BTreeMap::from([("s".to_owned(), state)]), ..record(id) }
}

pub fn ended_record(id: &str, output: &str) -> DocumentRecord {
    let end = Some(End { outcome: Outcome::Succeeded, at: 1_250, dead_letter: None });
    DocumentRecord { end, ..done(id, 0, output) }
}

fn repeated(changes: &[DocumentRecord]) -> bool {
    let mut effects = Effects::default();
    for (number, change) in changes.iter().enumerate() {
        effects.see(number as u64 + 1, 0, change);
    }
    effects.repeated().next().is_some()
}

#[test]
fn a_document_that_goes_its_way_repeats_nothing() {
    assert!(!repeated(&[record("a"), done("a", 0, "one"), done("a", 0, "one"), ended_record("a", "one")]));
    assert!(!repeated(&[done("a", 0, "one"), done("a", 1, "two")]), "a quality round");
    let replayed = DocumentRecord { epoch: 1, ..record("a") };
    assert!(!repeated(&[ended_record("a", "one"), replayed]), "a replay");
}

#[test]
fn every_repeated_effect_is_found() {
    assert!(repeated(&[done("a", 0, "one"), done("a", 0, "two")]), "done twice");
    assert!(repeated(&[done("a", 0, "one"), record("a")]), "undone");
    assert!(repeated(&[done("a", 1, "one"), done("a", 0, "one")]), "a round that is over");
    assert!(repeated(&[ended_record("a", "one"), ended_record("a", "one")]), "ended twice");
}

#[test]
fn ends_and_their_times_are_counted_and_a_change_seen_twice_is_one() {
    let mut effects = Effects::default();
    effects.see(1, 5_000, &record("a"));
    effects.see(2, 7_000, &ended_record("a", "one"));
    effects.see(2, 9_000, &ended_record("a", "one"));
    assert_eq!((effects.changes(), effects.ended(), effects.repeated().count()), (2, 1, 0));
    assert_eq!(effects.steps("a"), [Duration::from_micros(2)]);
    assert!(effects.has_ended("a") && !effects.has_ended("b"));
    assert_eq!(effects.latencies(""), [250]);
}
