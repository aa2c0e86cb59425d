//! The number that KEDA is offered.

use crds::AgentPool;
use operator::keda::pools::desired_of;
use serde_json::{Value, json};

fn pool(spec: Value, status: Value) -> AgentPool {
    let object = json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": "readers"},
        "spec": spec, "status": status});
    serde_json::from_value(object).expect("a pool")
}

#[test]
fn only_what_was_decided_for_an_external_owner_is_a_number() {
    let external = json!({"scaling": {"maxReplicas": 9, "mode": "External"}});
    let decided = |mode: &str| json!({"scaling": {"mode": mode, "desired": 4}});
    assert_eq!(desired_of(&pool(external.clone(), decided("External"))).expect("decided"), 4);
    let refused = |spec: Value, status: Value| desired_of(&pool(spec, status)).expect_err("no number").code();
    let (precondition, later) = (tonic::Code::FailedPrecondition, tonic::Code::Unavailable);
    assert_eq!(refused(json!({}), json!({})), precondition);
    assert_eq!(refused(json!({"scaling": {"maxReplicas": 9}}), decided("Apply")), precondition);
    assert_eq!(refused(external.clone(), json!({})), later);
    assert_eq!(refused(external, decided("Advise")), later);
}
