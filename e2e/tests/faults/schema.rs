//! The fields of a definition.

use e2e::faults::schema::{another, leaves, places};
use serde_json::json;

#[test]
fn fields_are_found_at_their_last_place() {
    let schema = json!({"properties": {"stages": {"items": {"properties": {"name": {"type": "string"}}}},
        "labels": {"additionalProperties": {"type": "string"}}}});
    let mut fields = Vec::new();
    leaves("", &schema, &mut fields);
    let paths: Vec<&str> = fields.iter().map(|field| field.path.as_str()).collect();
    assert_eq!(paths, ["stages[].name", "labels{}"]);
    let mut found = Vec::new();
    places(&["stages[]", "name"], &json!({"stages": [{"name": "a"}, {"name": "b"}]}), String::new(), &mut found);
    assert_eq!(found, ["/stages/0/name", "/stages/1/name"]);
    assert_eq!(another(&json!(3), &json!({"type": "integer", "maximum": 3})).ok(), Some(json!(2)));
}
