//! Chooses the documents that take the long way through the generating stages.

use std::collections::{BTreeMap, BTreeSet};

/// Longest text that is chosen, in bytes: the small model should spend its time on many texts, not on a long one.
const LONGEST: usize = 12 * 1024;

/// Shortest text that is chosen, in bytes: below this there is nothing to review.
const SHORTEST: usize = 200;

/// What the choice looks at.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The document.
    pub id: String,
    /// SPDX name, where known.
    pub label: Option<String>,
    /// Digest of the normalised text.
    pub group: String,
    /// Length of the text in bytes.
    pub bytes: usize,
}

/// Chooses `count` documents for variety: label by label in turn, and within a label one document of each group before a
/// second of any. The same candidates in any order give the same choice.
pub fn choose(candidates: &[Candidate], count: usize) -> BTreeSet<String> {
    let mut by_label: BTreeMap<Option<&str>, BTreeMap<&str, Vec<&Candidate>>> = BTreeMap::new();
    for candidate in candidates.iter().filter(|candidate| (SHORTEST..=LONGEST).contains(&candidate.bytes)) {
        by_label.entry(candidate.label.as_deref()).or_default().entry(&candidate.group).or_default().push(candidate);
    }
    let mut queues: Vec<_> = by_label.into_values().map(|groups| in_turn(groups).into_iter()).collect();
    let mut chosen = BTreeSet::new();
    while chosen.len() < count && !queues.is_empty() {
        queues.retain_mut(|queue| match queue.next() {
            Some(id) => {
                if chosen.len() < count {
                    chosen.insert(id);
                }
                true
            }
            None => false,
        });
    }
    chosen
}

/// The documents of a label: the first of each group, then the second of each, and so on.
fn in_turn(groups: BTreeMap<&str, Vec<&Candidate>>) -> Vec<String> {
    let mut placed: Vec<(usize, &str, String)> = Vec::new();
    for (group, mut members) in groups {
        members.sort_by(|a, b| a.id.cmp(&b.id));
        placed.extend(members.into_iter().enumerate().map(|(turn, member)| (turn, group, member.id.clone())));
    }
    placed.sort();
    placed.into_iter().map(|(_, _, id)| id).collect()
}
