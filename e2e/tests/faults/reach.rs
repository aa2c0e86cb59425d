//! How far a change of a field came.

use e2e::{
    Kind,
    faults::{
        reach::{effect, misread},
        state::State,
    },
};
use serde_json::{Value, json};

const LABELS: fn() -> Value =
    || json!({"app.kubernetes.io/component": "gateway", "app.kubernetes.io/instance": "docket-gateway"});

fn pipeline(template: &str) -> Value {
    json!({"stages": [{"name": "read", "pool": "clerks", "transform": {"template": template}}]})
}

/// A namespace whose gateway has this file, whose pods are made by `made`, and of which one by `running` runs.
fn state(file: &Value, made: &str, running: &str) -> State {
    let file =
        json!({"apiVersion": "docket.dev/v1alpha1", "kind": "Pipeline", "metadata": {"name": "letters"}, "spec": file});
    let data = json!({"gateway.yaml": "{\"resources\": [\"pipeline-letters.yaml\"]}", "pipeline-letters.yaml": file.to_string()});
    State::from([
        ("ConfigMap/docket-gateway".to_owned(), json!({"metadata": {"labels": LABELS()}, "data": data})),
        ("Made/gateway docket-gateway".to_owned(), json!(made)),
        ("Running/gateway docket-gateway".to_owned(), json!([running])),
    ])
}

#[test]
fn a_file_is_an_effect_once_pods_are_made_by_it_and_those_that_run_are() {
    let base = state(&pipeline("a"), "1", "1");
    assert_eq!(effect(&base, &base), None);
    assert_eq!(effect(&base, &state(&pipeline("b"), "1", "1")), None, "nobody reads it");
    assert_eq!(effect(&base, &state(&pipeline("b"), "2", "1")), None, "nobody reads it yet");
    assert!(effect(&base, &state(&pipeline("b"), "2", "2")).is_some());
}

#[test]
fn what_a_status_says_is_no_effect_and_what_an_object_asks_for_is() {
    let pool = |kind: &str, spec: u8, status: u8| {
        State::from([(format!("{kind}/clerks"), json!({"spec": spec, "status": status}))])
    };
    assert_eq!(effect(&pool("AgentPool", 1, 1), &pool("AgentPool", 1, 2)), None);
    assert_eq!(effect(&pool("Deployment", 1, 1), &pool("Deployment", 1, 2)), None);
    assert_eq!(effect(&pool("Deployment", 1, 1), &pool("Deployment", 2, 1)).as_deref(), Some("Deployment"));
}

#[test]
fn a_file_that_means_something_else_is_found() {
    let base = state(&pipeline("a"), "1", "1");
    let now = state(&pipeline("b"), "2", "2");
    assert!(misread(Kind::Pipeline, "letters", &base, &now, &pipeline("b")).is_ok());
    assert!(misread(Kind::Pipeline, "letters", &base, &now, &pipeline("c")).is_err());
}
