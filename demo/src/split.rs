//! Divides labelled texts into those that a head learns from and those that measure it.
//!
//! Copies must not stand on both sides, or the measure would reward memory. The unit is therefore the *group*: all
//! files whose normalised text is the same. A group goes to one side whole. Groups are dealt a label at a time, largest
//! first, each to the side that is furthest below its share; so a label with one group is trained and cannot be measured,
//! and a label with two or more is measured on texts that were never seen.
//!
//! Copies of one licence remain similar across groups (that is what makes them the same licence); [`crate::similarity`]
//! marks the held-out texts that are near copies of a trained one, so that accuracy can be told for the others alone.

use std::collections::BTreeMap;

use serde::Serialize;

/// Share of a label's documents that is learned from.
const TRAIN_SHARE: f64 = 0.7;

/// A side of the division.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Heads learn from it.
    Train,
    /// Heads are measured on it.
    Test,
}

/// Files of one normalised text that carry one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Digest of the normalised text.
    pub digest: String,
    /// SPDX name.
    pub label: String,
    /// How many files it has.
    pub documents: usize,
}

/// The side of each group, by digest. The same groups in any order give the same answer.
pub fn split(groups: &[Group]) -> BTreeMap<String, Side> {
    let mut by_label: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
    for group in groups {
        by_label.entry(&group.label).or_default().push(group);
    }
    by_label.into_values().flat_map(deal).collect()
}

fn deal(mut groups: Vec<&Group>) -> Vec<(String, Side)> {
    groups.sort_by(|a, b| b.documents.cmp(&a.documents).then_with(|| a.digest.cmp(&b.digest)));
    let total: usize = groups.iter().map(|group| group.documents).sum();
    let train_target = total as f64 * TRAIN_SHARE;
    let test_target = total as f64 - train_target;
    let (mut train, mut test) = (0.0, 0.0);
    let mut dealt = Vec::with_capacity(groups.len());
    for group in groups {
        let size = group.documents as f64;
        let side = if train_target - train >= test_target - test { Side::Train } else { Side::Test };
        match side {
            Side::Train => train += size,
            Side::Test => test += size,
        }
        dealt.push((group.digest.clone(), side));
    }
    dealt
}
