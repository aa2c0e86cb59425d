//! When a stage with several predecessors starts, what a join does that waited too long, and branches that may fail.

use serde_json::{Value, json};

use crate::support::{Place, changed};

/// `ready` and `also` deliver at once. `late` never does: no process starts within a millisecond, so its attempts time out.
const BRANCHES: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec: {}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: branches}
spec:
  deadline: 1m
  retry: {maxAttempts: 2, backoff: {initial: 1h}}
  stages:
  - {name: ready, pool: readers, transform: {template: ready}}
  - {name: also, pool: readers, transform: {template: also}}
  - {name: late, pool: readers, optional: true, timeout: 1ms, parse: {}}
  - {name: last, pool: readers, after: [ready, also, late], transform: {format: Json, template: '{{ stages | list | tojson }}'}}
"#;

/// Lets the second attempt of `late` follow the first.
const SOON: (&str, &str) = ("initial: 1h", "initial: 10ms");

/// What became of a document that is parsed in a process of its own.
fn run(changes: &[(&str, &str)]) -> Value {
    let place = Place::new();
    place.write("pipeline.yaml", changed(BRANCHES, changes));
    place.write("page.html", "<html><body><p>A page with one sentence.</p></body></html>");
    place.result("page.html")
}

/// The pipeline with more in its last stage.
fn last(more: &str, changes: &[(&str, &str)]) -> Value {
    let after = "after: [ready, also, late],";
    run(&[&[(after, format!("{after} {more},").as_str())], changes].concat())
}

fn assert_did_not_wait(line: &Value) {
    assert_eq!(line["outcome"], "succeeded", "{line}");
    assert_eq!(line["stages"]["late"]["attempts"], 1);
    assert_eq!(line["stages"]["last"]["outcome"], "succeeded");
    assert!(!line["output"].as_array().expect("names").contains(&json!("late")), "{line}");
}

#[test]
fn all_predecessors_are_awaited_and_an_optional_one_may_fail() {
    for line in [run(&[SOON]), last("join: {mode: All}", &[SOON])] {
        assert_eq!(line["outcome"], "partial", "{line}");
        assert_eq!(line["output"], json!(["ready", "also"]));
        assert_eq!(line["stages"]["late"]["outcome"], "failed");
        assert_eq!(line["stages"]["late"]["attempts"], 2);
        assert_eq!(line["stages"]["late"]["error"]["reason"], "Timeout");
        assert!(line["degraded"][0].as_str().expect("a note").starts_with("late: left out"), "{line}");
    }
}

#[test]
fn a_branch_that_is_not_optional_takes_the_document_with_it() {
    let line = run(&[("optional: true,", ""), SOON]);
    assert_eq!(line["outcome"], "dead-lettered");
    assert_eq!(line["deadLetter"]["stage"], "late");
    assert_eq!(line["deadLetter"]["attempts"], 2);
    assert_eq!(line["stages"]["last"]["outcome"], "waiting");
}

#[test]
fn a_join_of_mode_any_starts_with_the_first() {
    assert_did_not_wait(&last("join: {mode: Any}", &[]));
}

#[test]
fn a_quorum_is_enough_and_one_that_cannot_be_reached_is_a_dead_letter() {
    assert_did_not_wait(&last("join: {mode: Quorum, quorum: 2}", &[]));
    let line = last("join: {mode: Quorum, quorum: 3}", &[SOON]);
    assert_eq!(line["stages"]["late"]["attempts"], 2, "the third was awaited: {line}");
    assert_eq!(line["deadLetter"]["stage"], "last");
    assert_eq!(line["deadLetter"]["reason"], "JoinImpossible");
}

#[test]
fn a_join_that_waited_too_long_goes_on_with_what_is_there() {
    let line = last("join: {timeout: 2s, onTimeout: Partial}", &[]);
    assert_eq!(line["outcome"], "partial", "{line}");
    assert_eq!(line["output"], json!(["ready", "also"]));
    assert_eq!(line["stages"]["late"]["attempts"], 1);
    assert_eq!(line["degraded"], json!(["last: started without late after 2s"]));
}

#[test]
fn a_join_that_waited_too_long_fails_its_stage() {
    for policy in ["", ", onTimeout: Fail"] {
        let line = last(&format!("join: {{timeout: 100ms{policy}}}"), &[]);
        assert_eq!(line["outcome"], "dead-lettered", "{line}");
        assert_eq!(line["deadLetter"]["stage"], "last");
        assert_eq!(line["deadLetter"]["reason"], "JoinTimeout");
        assert!(line["deadLetter"]["message"].as_str().expect("a message").contains("late"), "{line}");
    }
    let line = last("optional: true, join: {timeout: 100ms, onTimeout: Fail}", &[]);
    assert_eq!(line["outcome"], "partial", "an optional stage is left out: {line}");
    assert_eq!(line["stages"]["last"]["error"]["reason"], "JoinTimeout");
    assert_eq!(line["output"], Value::Null);
}

#[test]
fn a_join_may_give_up_a_document_although_its_stage_is_optional() {
    let line = last("optional: true, join: {timeout: 100ms, onTimeout: DeadLetter}", &[]);
    assert_eq!(line["outcome"], "dead-lettered", "{line}");
    assert_eq!(line["deadLetter"]["stage"], "last");
    assert_eq!(line["deadLetter"]["reason"], "JoinTimeout");
}

#[test]
fn a_join_does_not_wait_for_a_stage_that_was_skipped() {
    // Whether it is wanted is asked within its time-out, which on a busy machine takes more than a millisecond.
    let skipped = (
        "{name: late, pool: readers, optional: true, timeout: 1ms,",
        "{name: late, pool: readers, optional: true, when: document.metadata.wanted,",
    );
    let line = run(&[skipped]);
    assert_eq!(line["outcome"], "succeeded", "{line}");
    assert_eq!(line["stages"]["late"]["outcome"], "skipped");
    assert_eq!(line["output"], json!(["ready", "also"]));
    let line = run(&[skipped, ("after: [ready, also, late]", "after: [late]")]);
    assert_eq!(line["outcome"], "succeeded", "{line}");
    assert_eq!(line["stages"]["last"]["outcome"], "skipped", "everything before it was");
}
