//! Which results an erasure means.

use agent_pod::runtime::cache::{
    erased::ErasedResults,
    kept::{Head, Owner},
};

#[test]
fn keys_tenants_and_payloads_of_a_tenant_are_meant() {
    let head = |tenant, payload| Head { made_at: 1, owner: Owner::new(tenant, payload) };
    let mut erased = ErasedResults::default();
    assert!(erased.is_empty() && !erased.means("k", &head("acme", "00ff")));
    erased.add_payload("acme", "00ff");
    assert!(erased.means("k", &head("acme", "00ff")));
    assert!(!erased.means("k", &head("acme", "00fe")) && !erased.means("k", &head("other", "00ff")));
    let mut more = ErasedResults::default();
    more.keys.insert("k".to_owned());
    erased.extend(more);
    assert!(erased.means("k", &head("other", "00ff")));
    erased.add_tenant("other");
    assert!(erased.means("l", &head("other", "00fe")) && !erased.means("l", &head("third", "00fe")));
}

#[test]
fn an_order_says_no_names_and_comes_back() {
    let mut erased = ErasedResults::default();
    erased.add_payload("acme", "00ff");
    erased.add_tenant("umbrella");
    let order = serde_json::to_string(&erased).expect("JSON");
    assert!(!["acme", "umbrella", "00ff"].iter().any(|name| order.contains(name)), "{order}");
    assert_eq!(serde_json::from_str::<ErasedResults>(&order).expect("it was just written"), erased);
}
