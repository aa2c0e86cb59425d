//! The Bloom filter of payloads that are named.

use agent_pod::runtime::retention::marks::Marks;

#[test]
fn what_was_added_is_held_and_little_else() {
    let name = |n: u32| blake3::hash(&n.to_le_bytes()).to_hex().to_string();
    let mut marks = Marks::new(7);
    (0..10_000).for_each(|n| marks.add(&name(n)));
    marks.add("no digest");
    assert!((0..10_000).all(|n| marks.may_hold(&name(n))) && marks.may_hold("no digest"));
    assert!((10_000..20_000).filter(|&n| marks.may_hold(&name(n))).count() < 10);
}
