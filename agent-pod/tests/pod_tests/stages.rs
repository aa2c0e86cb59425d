//! Stages without a model: the bounds of `parse`, how a `transform` is read, what a stage sees of those before it.

use serde_json::{Value, json};

use crate::support::{Place, changed};

const TWO_STAGES: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: workers}
spec: {}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: two-stages}
spec:
  stages:
  - {name: read, pool: workers, parse: {}}
  - {name: value, pool: workers, after: [read], transform: {template: "[{{ stages.read.textBytes }}]"}}
"#;

/// What became of a text of 100 bytes.
fn run(changes: &[(&str, &str)]) -> Value {
    let place = Place::new();
    place.write("pipeline.yaml", changed(TWO_STAGES, changes));
    place.write("a.txt", "ten bytes ".repeat(10));
    place.result("a.txt")
}

#[track_caller]
fn assert_dead(line: &Value, stage: &str, reason: &str) {
    assert_eq!(line["outcome"], "dead-lettered", "{line}");
    assert_eq!([&line["deadLetter"]["stage"], &line["deadLetter"]["reason"]], [stage, reason], "{line}");
    assert!(line["deadLetter"]["attempts"].as_u64() <= Some(1), "trying again cannot help: {line}");
}

#[test]
fn a_document_larger_than_max_bytes_is_refused() {
    assert_dead(&run(&[("parse: {}", "parse: {maxBytes: 99}")]), "read", "DocumentTooLarge");
    for parse in ["parse: {maxBytes: 100}", "parse: {}"] {
        assert_eq!(run(&[("parse: {}", parse)])["outcome"], "succeeded");
    }
}

#[test]
fn a_text_larger_than_max_text_bytes_is_refused() {
    assert_dead(&run(&[("parse: {}", "parse: {maxTextBytes: 99}")]), "read", "TextTooLarge");
    assert_eq!(run(&[("parse: {}", "parse: {maxTextBytes: 100}")])["outcome"], "succeeded");
}

#[test]
fn a_document_that_one_parse_stage_refuses_may_be_taken_by_another() {
    let other = "parse: {}}\n  - {name: strict, pool: workers, optional: true, parse: {maxBytes: 10}}";
    let line = run(&[("parse: {}}", other)]);
    assert_eq!(line["outcome"], "partial", "{line}");
    assert_eq!(line["stages"]["strict"]["error"]["reason"], "DocumentTooLarge");
    assert_eq!(line["stages"]["value"]["output"]["text"], "[100]");
}

#[test]
fn the_format_of_a_transform_says_how_its_text_is_read() {
    assert_eq!(run(&[])["output"], json!({"text": "[100]"}));
    assert_eq!(run(&[("{template:", "{format: Text, template:")])["output"], json!({"text": "[100]"}));
    assert_eq!(run(&[("{template:", "{format: Json, template:")])["output"], json!([100]));
    let not_json = [("{template:", "{format: Json, template:"), ("}}]\"", "}}\"")];
    assert_dead(&run(&not_json), "value", "InvalidOutput");
}

#[test]
fn a_stage_sees_only_what_comes_before_it() {
    assert_dead(&run(&[("after: [read], ", "")]), "value", "TemplateFailed");
    let when = ("after: [read],", "after: [read], when: stages.read.textBytes > 100,");
    let line = run(&[when]);
    assert_eq!(line["outcome"], "succeeded", "{line}");
    assert_eq!(line["stages"]["value"]["outcome"], "skipped");
    let when = ("after: [read],", "after: [read], when: stages.read.textBytes == 100,");
    assert_eq!(run(&[when])["stages"]["value"]["outcome"], "succeeded");
    assert_dead(
        &run(&[("after: [read],", "after: [read], when: stages.raed.textBytes > 1,")]),
        "value",
        "TemplateFailed",
    );
}
