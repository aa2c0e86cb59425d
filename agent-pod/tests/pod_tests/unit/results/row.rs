//! Keys and texts of rows.

use agent_pod::results::row::{key, replace_nul};
use serde_json::json;

#[test]
fn a_nul_is_replaced_wherever_it_stands() {
    let mut value = json!({"a\u{0}": ["x\u{0}y", {"b": "\u{0}"}], "c": 1});
    assert!(replace_nul(&mut value));
    assert_eq!(value, json!({"a␀": ["x␀y", {"b": "␀"}], "c": 1}));
    assert!(!replace_nul(&mut value));
}

#[test]
fn keys_keep_their_parts_apart() {
    assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    assert_eq!(key(&["ab", "c"]).len(), 32);
}
