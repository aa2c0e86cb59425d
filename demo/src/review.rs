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

/// Chooses `count` documents for variety: no text twice before every text once, and label by label in turn. The same
/// candidates in any order give the same choice.
pub fn choose(candidates: &[Candidate], count: usize) -> BTreeSet<String> {
    let mut groups: BTreeMap<(Option<&str>, &str), Vec<&str>> = BTreeMap::new();
    for candidate in candidates.iter().filter(|candidate| (SHORTEST..=LONGEST).contains(&candidate.bytes)) {
        groups.entry((candidate.label.as_deref(), &candidate.group)).or_default().push(&candidate.id);
    }
    // The place of a document: which copy of its text it is, then which text of its label, then the label.
    let mut texts_of_label: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let mut places = Vec::new();
    for ((label, _), mut copies) in groups {
        let text = texts_of_label.entry(label).and_modify(|text| *text += 1).or_default();
        copies.sort_unstable();
        places.extend(copies.into_iter().enumerate().map(|(copy, id)| (copy, *text, label, id)));
    }
    places.sort_unstable();
    places.into_iter().take(count).map(|(.., id)| id.to_owned()).collect()
}
