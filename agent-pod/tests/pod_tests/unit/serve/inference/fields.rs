//! How fields of a body are read and refused.

use agent_pod::serve::inference::{
    fields::{Fields, MOST_VALUES},
    refusal::Refusal,
};

fn fields(body: &str) -> Result<Fields, Refusal> {
    Fields::read(body.as_bytes())
}

fn param(refusal: Refusal) -> String {
    refusal.body()["error"]["param"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_field_of_another_kind_is_named() {
    let fields = fields(r#"{"model": 1, "stream": "yes", "seed": -1, "top_p": 2, "stop": {}}"#)
        .unwrap_or_else(|_| panic!("JSON"));
    assert_eq!(param(fields.text("model").unwrap_err()), "model");
    assert_eq!(param(fields.flag("stream").unwrap_err()), "stream");
    assert_eq!(param(fields.whole("seed").unwrap_err()), "seed");
    assert_eq!(param(fields.number("top_p", 0.0..=1.0).unwrap_err()), "top_p");
    assert_eq!(param(fields.list("stop").unwrap_err()), "stop");
    assert_eq!(param(fields.needed_text("query").unwrap_err()), "query");
}

#[test]
fn null_is_left_out() {
    let fields = fields(r#"{"user": null, "stream": null}"#).unwrap_or_else(|_| panic!("JSON"));
    assert_eq!(fields.text("user"), Ok(None));
    assert_eq!(fields.flag("stream"), Ok(false));
}

#[test]
fn a_body_that_is_no_object_or_too_many_values_is_refused() {
    for body in ["", "[]", "{", "\"text\"", "{\"a\": 1} x"] {
        assert!(fields(body).is_err(), "{body}");
    }
    let commas_in_text = format!("{{\"text\": \"{}\"}}", ",\\\"[".repeat(MOST_VALUES));
    assert!(fields(&commas_in_text).is_ok());
    assert!(fields(&format!("{{\"input\": [{}1]}}", "1,".repeat(MOST_VALUES))).is_err());
    assert!(fields(&format!("{{\"input\": {}", "[".repeat(2 * MOST_VALUES))).is_err());
}
