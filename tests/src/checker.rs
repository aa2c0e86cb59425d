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
