//! Answers of models that nothing forces into a schema: what matches, and what is said of what does not.

use crds::OutputSchema;
use serde_json::{Value, json};

fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let schema: OutputSchema = serde_json::from_value(schema.clone()).expect("a schema is an object");
    schema.check(value).map_err(|mismatch| mismatch.to_string())
}

#[track_caller]
fn right(schema: &Value, values: &[Value]) {
    for value in values {
        assert_eq!(check(schema, value), Ok(()), "{value}");
    }
}

#[track_caller]
fn wrong(schema: &Value, value: &Value, message: &str) {
    let said = check(schema, value).expect_err("the value does not match");
    assert!(said.contains(message), "\"{said}\" does not say \"{message}\"");
}

fn contract() -> Value {
    json!({
        "type": "object", "required": ["parties", "end"], "additionalProperties": false,
        "properties": {
            "parties": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"$ref": "#/$defs/party"}},
            "end": {"type": ["string", "null"], "pattern": "^[0-9]{4}$", "maxLength": 4},
            "sum": {"type": "integer", "minimum": 0, "exclusiveMaximum": 10},
        },
        "$defs": {"party": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "minLength": 2}}}},
    })
}

#[test]
fn a_value_that_matches_is_taken_whatever_the_order_of_its_fields() {
    let one = json!({"parties": [{"name": "Ada", "more": 1}], "end": "2027"});
    let other = json!({"sum": 9.0, "end": null, "parties": [{"name": "Ada"}, {"name": "Bo"}]});
    right(&contract(), &[one, other]);
    right(&json!({}), &[json!(null), json!(1), json!({"a": []})]);
}

#[test]
fn what_does_not_match_is_named_with_its_place() {
    let value = |change: &dyn Fn(&mut Value)| {
        let mut value = json!({"parties": [{"name": "Ada"}], "end": "2027", "sum": 3});
        change(&mut value);
        value
    };
    let cases: [(Value, &str); 13] = [
        (json!("text"), "it is not of type object"),
        (json!({"parties": [{"name": "Ada"}]}), "it has no \"end\""),
        (value(&|v| v["further"] = json!(1)), "further is not allowed"),
        (value(&|v| v["parties"] = json!([])), "parties has 0 items, at least 1"),
        (value(&|v| v["parties"] = json!([1, 2, 3])), "parties has 3 items, at most 2"),
        (value(&|v| v["parties"][0] = json!({"name": "A"})), "parties[0].name has 1 characters, at least 2"),
        (value(&|v| v["parties"][0] = json!({})), "parties[0] has no \"name\""),
        (value(&|v| v["end"] = json!(2027)), "end is of none of the types"),
        (value(&|v| v["end"] = json!("20a7")), "end does not match"),
        (value(&|v| v["end"] = json!("20277")), "end has 5 characters, at most 4"),
        (value(&|v| v["sum"] = json!(2.5)), "sum is not of type integer"),
        (value(&|v| v["sum"] = json!(-1)), "sum is too small"),
        (value(&|v| v["sum"] = json!(10)), "sum is too large"),
    ];
    for (value, message) in cases {
        wrong(&contract(), &value, message);
    }
}

#[test]
fn alternatives_constants_and_lists_of_values_are_followed() {
    let any = json!({"anyOf": [{"type": "string"}, {"type": "object", "required": ["a"]}]});
    right(&any, &[json!("x"), json!({"a": 1})]);
    wrong(&any, &json!(1), "it is not of type string");
    let one = json!({"oneOf": [{"minimum": 1}, {"maximum": 5}]});
    right(&one, &[json!(0), json!(6)]);
    wrong(&one, &json!(3), "several alternatives");
    let all = json!({"allOf": [{"type": "number"}, {"multipleOf": 0.1}], "not": {"const": 0.2}});
    right(&all, &[json!(0.3), json!(7)]);
    wrong(&all, &json!(0.25), "no multiple of 0.1");
    wrong(&all, &json!(0.2), "what the schema forbids");
    let listed = json!({"enum": [1, "b", {"x": 1, "y": [2]}]});
    right(&listed, &[json!(1.0), json!("b"), json!({"y": [2.0], "x": 1})]);
    wrong(&listed, &json!({"x": 1}), "none of the values");
    wrong(&json!({"const": "a"}), &json!("b"), "not the value");
}

#[test]
fn fields_by_pattern_and_items_by_place_are_followed() {
    let fields = json!({"patternProperties": {"^n_": {"type": "number"}}, "additionalProperties": {"type": "string"}});
    right(&fields, &[json!({"n_a": 1, "b": "text"})]);
    wrong(&fields, &json!({"n_a": "1"}), "n_a is not of type number");
    wrong(&fields, &json!({"b": 1}), "b is not of type string");
    wrong(&json!({"maxProperties": 1}), &json!({"a": 1, "b": 2}), "2 fields, at most 1");
    let places = json!({"prefixItems": [{"type": "string"}], "items": {"type": "number"}, "uniqueItems": true});
    right(&places, &[json!(["a", 1, 2]), json!([])]);
    wrong(&places, &json!(["a", "b"]), "[1] is not of type number");
    wrong(&places, &json!(["a", 1, 1.0]), "twice");
}

#[test]
fn schemas_that_cannot_be_followed_refuse_instead_of_running_on() {
    wrong(&json!({"$ref": "#/$defs/none"}), &json!(1), "has no \"#/$defs/none\"");
    wrong(&json!({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}), &json!(1), "too deep");
    let both = json!([{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]);
    wrong(&json!({"$defs": {"a": {"anyOf": both}}, "$ref": "#/$defs/a"}), &json!(1), "too deep");
    wrong(&json!({"pattern": "(?=x)"}), &json!("x"), "cannot be used");
}
