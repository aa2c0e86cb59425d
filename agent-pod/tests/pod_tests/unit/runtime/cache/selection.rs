//! Which results a person means.

use agent_pod::runtime::cache::{
    kept::{Head, Owner},
    selection::Selection,
};

#[test]
fn everything_that_is_said_must_apply() {
    let head = Head { made_at: 100, owner: Owner::new("acme", "00ff") };
    let before = |made_before| Selection::default().made_before(Some(made_before));
    let meant = [
        Selection::default(),
        Selection::of(Some("acme"), None),
        Selection::of(None, Some("00ff")),
        Selection::of(Some("acme"), Some("00ff")).made_before(Some(101)),
        before(101),
    ];
    let others = [
        Selection::of(Some("other"), None),
        Selection::of(Some("acme"), Some("00fe")),
        Selection::of(Some("other"), Some("00ff")),
        before(100),
    ];
    assert!(meant.iter().all(|selection| selection.means(&head)));
    assert!(!others.iter().any(|selection| selection.means(&head)));
}

#[test]
fn what_has_no_owner_goes_with_what_goes_unless_it_is_too_young() {
    assert!(Selection::of(Some("acme"), None).means_unknown(Some(5)));
    let old = Selection::default().made_before(Some(5));
    assert!(old.means_unknown(Some(4)) && old.means_unknown(None) && !old.means_unknown(Some(5)));
}

#[test]
fn an_order_says_no_names() {
    let order = serde_json::to_string(&Selection::of(Some("acme"), Some("00ff"))).expect("JSON");
    assert!(!order.contains("acme") && !order.contains("00ff"), "{order}");
}
