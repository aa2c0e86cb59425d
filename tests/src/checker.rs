//! Compares what was promised with what came of it, in the manner of Jepsen: a history in, a verdict out. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::{documents::Expected, ledger::Effects};

/// What the client learned when it submitted a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Submitted {
    /// The gateway gave an id: from here on the document may not be lost.
    Accepted,
    /// The gateway said no: nothing may come of the document.
    Refused,
    /// The connection broke: either is right, but not a half.
    Unknown,
}

/// What the gateway says of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// `succeeded`, `partial`, `dead-lettered`, `cancelled`; none while it has not ended.
    pub outcome: Option<String>,
    /// Why it was dead-lettered.
    pub reason: Option<String>,
    /// Output of the last stage.
    pub output: Value,
    /// The most attempts that a stage had.
    pub attempts: u64,
}

/// Everything that is known of one document.
#[derive(Clone, Debug)]
pub struct History {
    /// What the client was told.
    pub submitted: Submitted,
    /// What must come of it.
    pub expected: Expected,
    /// What was seen at the end of the campaign; none where the gateway knows no such document.
    pub last: Option<Seen>,
}

/// Documents by what became of them; all lists must be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Documents that were accepted.
    pub accepted: usize,
    /// Documents that were refused.
    pub refused: usize,
    /// Documents whose submission ended unclear.
    pub unknown: usize,
    /// Of the unclear ones, those that are there.
    pub unknown_found: usize,
    /// Ends by outcome.
    pub ended: BTreeMap<String, usize>,
    /// Most attempts that a stage of any document had.
    pub most_attempts: u64,
    /// Accepted, and the gateway does not know them.
    pub lost: Vec<String>,
    /// There, and not ended.
    pub stuck: Vec<String>,
    /// Ended in another way than they must.
    pub failed: Vec<String>,
    /// Ended with another output than the right one.
    pub wrong: Vec<String>,
    /// An effect took place twice: a stage that was done was done otherwise, or the record changed after its end.
    pub repeated: Vec<String>,
    /// There, although nobody submitted them or the gateway had refused them.
    pub phantom: Vec<String>,
    /// Changes of records that were seen, and of how many documents: what `repeated` rests on.
    pub changes: u64,
    /// Documents whose changes were seen to their end.
    pub followed: usize,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        self.broken().iter().all(|(_, documents)| documents.is_empty())
    }

    /// Broken promises by kind.
    pub fn broken(&self) -> [(&'static str, &[String]); 6] {
        [
            ("lost", &self.lost),
            ("stuck", &self.stuck),
            ("failed", &self.failed),
            ("wrong", &self.wrong),
            ("repeated", &self.repeated),
            ("phantom", &self.phantom),
        ]
    }
}

/// The verdict on all documents; `listed` is every id that the gateway lists, as often as it lists it.
pub fn judge(histories: &BTreeMap<String, History>, listed: &[String], effects: &Effects) -> Verdict {
    let mut verdict = Verdict { changes: effects.changes(), followed: effects.ended(), ..Verdict::default() };
    for (id, history) in histories {
        judge_one(&mut verdict, id, history);
    }
    verdict.repeated = effects.repeated().map(str::to_owned).collect();
    let mut seen = BTreeMap::new();
    for id in listed {
        let count: &mut usize = seen.entry(id).or_default();
        *count += 1;
        if !histories.contains_key(id) || *count == 2 {
            verdict.phantom.push(id.clone());
        }
    }
    let missing = histories.iter().filter(|(id, history)| {
        history.submitted == Submitted::Accepted && history.last.is_some() && !seen.contains_key(id)
    });
    let missing: BTreeSet<String> = missing.map(|(id, _)| id.clone()).collect();
    verdict.lost.extend(missing);
    verdict
}

fn judge_one(verdict: &mut Verdict, id: &str, history: &History) {
    match history.submitted {
        Submitted::Accepted => verdict.accepted += 1,
        Submitted::Refused => verdict.refused += 1,
        Submitted::Unknown => verdict.unknown += 1,
    }
    let Some(last) = &history.last else {
        if history.submitted == Submitted::Accepted {
            verdict.lost.push(id.to_owned());
        }
        return;
    };
    match history.submitted {
        Submitted::Refused => verdict.phantom.push(id.to_owned()),
        Submitted::Unknown => verdict.unknown_found += 1,
        Submitted::Accepted => {}
    }
    verdict.most_attempts = verdict.most_attempts.max(last.attempts);
    let Some(outcome) = &last.outcome else {
        verdict.stuck.push(id.to_owned());
        return;
    };
    *verdict.ended.entry(outcome.clone()).or_default() += 1;
    match &history.expected {
        Expected::Output(output) if outcome == "succeeded" => {
            if last.output != *output {
                verdict.wrong.push(id.to_owned());
            }
        }
        Expected::DeadLetter(reason) if outcome == "dead-lettered" && last.reason.as_deref() == Some(*reason) => {}
        _ => verdict.failed.push(id.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        let record = crate::ledger::tests::ended_record("a", "one");
        let mut effects = Effects::default();
        effects.see(1, 0, &record);
        assert!(judge(&BTreeMap::new(), &[], &effects).holds());
        effects.see(2, 0, &crate::ledger::tests::ended_record("a", "other"));
        assert_eq!(judge(&BTreeMap::new(), &[], &effects).repeated, A);
    }
}
