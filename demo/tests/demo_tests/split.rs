//! How labelled texts are divided and documents chosen for review.

use std::collections::BTreeSet;

use docket_demo_corpus::{
    review::{Candidate, choose},
    split::{Group, Side, split},
};

fn group(label: &str, digest: &str, documents: usize) -> Group {
    Group { digest: digest.into(), label: label.into(), documents }
}

fn candidate(label: Option<&str>, group: &str, id: &str) -> Candidate {
    Candidate { id: id.into(), label: label.map(Into::into), group: group.into(), bytes: 1_000 }
}

#[test]
fn about_seven_tenths_of_a_label_are_learned_from() {
    let groups: Vec<_> = (0..20).map(|n| group("MIT", &format!("g{n:02}"), 5)).collect();
    let sides = split(&groups);
    assert_eq!(sides.values().filter(|side| **side == Side::Train).count(), 14);
}

#[test]
fn a_label_with_one_text_is_learned_and_not_measured() {
    assert_eq!(split(&[group("ISC", "only", 9)])["only"], Side::Train);
}

#[test]
fn a_label_with_two_texts_has_one_on_each_side() {
    let sides = split(&[group("Zlib", "small", 4), group("Zlib", "large", 12)]);
    assert_eq!((sides["large"], sides["small"]), (Side::Train, Side::Test));
    let equal = split(&[group("MIT-0", "a", 1), group("MIT-0", "b", 1)]);
    assert_eq!(equal.values().collect::<BTreeSet<_>>().len(), 2);
}

#[test]
fn the_order_of_the_groups_does_not_matter() {
    let mut groups: Vec<_> = (0..30).map(|n| group(["MIT", "BSD-3-Clause"][n % 2], &format!("g{n}"), n / 3)).collect();
    let sides = split(&groups);
    groups.reverse();
    assert_eq!(sides, split(&groups));
}

#[test]
fn reviews_take_every_text_once_before_any_twice_and_labels_in_turn() {
    let candidates = [
        candidate(Some("MIT"), "m1", "a"),
        candidate(Some("MIT"), "m1", "b"),
        candidate(Some("MIT"), "m1", "c"),
        candidate(Some("MIT"), "m2", "d"),
        candidate(Some("ISC"), "i1", "e"),
        candidate(None, "n1", "f"),
    ];
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(choose(&candidates, 3), ids(&["a", "e", "f"]));
    assert_eq!(choose(&candidates, 4), ids(&["a", "d", "e", "f"]));
    assert_eq!(choose(&candidates, 100), ids(&["a", "b", "c", "d", "e", "f"]));
}

#[test]
fn very_long_and_very_short_texts_are_not_reviewed() {
    let mut long = candidate(Some("GPL-3.0"), "g", "long");
    long.bytes = 35_000;
    let mut short = candidate(None, "s", "short");
    short.bytes = 20;
    assert!(choose(&[long, short], 40).is_empty());
}
