//! Compares what was promised with what came of it, in the manner of Jepsen: a history in, a verdict out. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

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
    /// Output of the last stage.
    pub output: Value,
}

/// Everything that is known of one document.
#[derive(Clone, Debug)]
pub struct History {
    /// What the client was told.
    pub submitted: Submitted,
    /// The right output.
    pub expected: Value,
    /// What was seen when the document was first seen ended.
    pub first: Option<Seen>,
    /// What was seen at the end of the campaign; none where the gateway knows no such document.
    pub last: Option<Seen>,
}

/// Documents by what became of them; all lists but `accepted`, `unknown` and the ends must be empty.
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
    /// Accepted, and the gateway does not know them.
    pub lost: Vec<String>,
    /// There, and not ended.
    pub stuck: Vec<String>,
    /// Ended as something else than succeeded: nothing in the campaign is a document's own fault.
    pub failed: Vec<String>,
    /// Ended with another output than the right one.
    pub wrong: Vec<String>,
    /// Their end changed after it was seen: an effect was repeated.
    pub changed: Vec<String>,
    /// There, although nobody submitted them or the gateway had refused them.
    pub phantom: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        [&self.lost, &self.stuck, &self.failed, &self.wrong, &self.changed, &self.phantom]
            .iter()
            .all(|documents| documents.is_empty())
    }
}

/// The verdict on all documents; `listed` is every id that the gateway lists, as often as it lists it.
pub fn judge(histories: &BTreeMap<String, History>, listed: &[String]) -> Verdict {
    let mut verdict = Verdict::default();
    for (id, history) in histories {
        judge_one(&mut verdict, id, history);
    }
    let mut seen = BTreeMap::new();
    for id in listed {
        let count: &mut usize = seen.entry(id).or_default();
        *count += 1;
        if !histories.contains_key(id) || *count == 2 {
            verdict.phantom.push(id.clone());
        }
    }
    for (id, history) in histories {
        if history.submitted == Submitted::Accepted && history.last.is_some() && !seen.contains_key(id) {
            verdict.lost.push(id.clone());
        }
    }
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
    let Some(outcome) = &last.outcome else {
        verdict.stuck.push(id.to_owned());
        return;
    };
    *verdict.ended.entry(outcome.clone()).or_default() += 1;
    if outcome != "succeeded" {
        verdict.failed.push(id.to_owned());
    } else if last.output != history.expected {
        verdict.wrong.push(id.to_owned());
    }
    if history.first.as_ref().is_some_and(|first| first != last) {
        verdict.changed.push(id.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(outcome: Option<&str>, output: i32) -> Option<Seen> {
        Some(Seen { outcome: outcome.map(str::to_owned), output: json!(output) })
    }

    fn verdict(submitted: Submitted, first: Option<Seen>, last: Option<Seen>) -> Verdict {
        let listed: Vec<String> = last.iter().map(|_| "a".to_owned()).collect();
        let history = History { submitted, expected: json!(1), first, last };
        judge(&BTreeMap::from([("a".to_owned(), history)]), &listed)
    }

    const A: [&str; 1] = ["a"];

    #[test]
    fn a_document_that_ended_right_keeps_the_promise() {
        let end = seen(Some("succeeded"), 1);
        assert!(verdict(Submitted::Accepted, end.clone(), end.clone()).holds());
        assert!(verdict(Submitted::Unknown, None, None).holds());
        assert!(verdict(Submitted::Refused, None, None).holds());
        assert!(verdict(Submitted::Unknown, end.clone(), end).holds());
    }

    #[test]
    fn every_broken_promise_is_found() {
        let end = || seen(Some("succeeded"), 1);
        assert_eq!(verdict(Submitted::Accepted, None, None).lost, A);
        assert_eq!(verdict(Submitted::Accepted, None, seen(None, 0)).stuck, A);
        assert_eq!(verdict(Submitted::Unknown, None, seen(None, 0)).stuck, A, "half accepted");
        assert_eq!(verdict(Submitted::Accepted, None, seen(Some("dead-lettered"), 1)).failed, A);
        assert_eq!(verdict(Submitted::Accepted, None, seen(Some("succeeded"), 2)).wrong, A);
        assert_eq!(verdict(Submitted::Accepted, seen(Some("partial"), 1), end()).changed, A);
        assert_eq!(verdict(Submitted::Refused, None, end()).phantom, A);
    }

    #[test]
    fn what_is_listed_is_compared_with_what_was_submitted() {
        let history = History {
            submitted: Submitted::Accepted,
            expected: json!(1),
            first: None,
            last: seen(Some("succeeded"), 1),
        };
        let histories = BTreeMap::from([("a".to_owned(), history)]);
        let listed = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert!(judge(&histories, &listed(&["a"])).holds());
        assert_eq!(judge(&histories, &listed(&[])).lost, A);
        assert_eq!(judge(&histories, &listed(&["a", "b"])).phantom, ["b"]);
        assert_eq!(judge(&histories, &listed(&["a", "a"])).phantom, A);
    }
}
