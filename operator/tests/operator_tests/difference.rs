//! What of an object is written: what differs, and nothing of others.

use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::core::ApiResource;
use operator::{
    apply::{Child, Read, status_patch},
    difference::{difference, holds},
};
use serde_json::{Value, json};

#[test]
fn what_others_add_is_no_difference_and_what_is_ours_and_changed_is_one() {
    let wanted = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"ports": [{"port": 80}]}});
    let mut live = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "uid": "u"},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}], "clusterIP": "10.0.0.1"}});
    assert!(holds(&live, &wanted));
    live["spec"]["ports"][0]["port"] = json!(81);
    assert!(!holds(&live, &wanted));
    live["spec"]["ports"] = json!([{"port": 80}, {"port": 81}]);
    assert!(!holds(&live, &wanted), "a further port is not ours to allow");
}

#[test]
fn a_field_that_is_left_to_others_is_named_as_it_is_and_is_no_difference() {
    let object = json!({"metadata": {"name": "a"}, "spec": {"paused": false}});
    let child = Child::new(ApiResource::erase::<Deployment>(&()), object.clone()).leaving("/spec/replicas", json!(2));
    assert_eq!(child.as_applied(object.clone(), None)["spec"], json!({"paused": false, "replicas": 2}));
    let live = json!({"metadata": {"name": "a", "resourceVersion": "7"}, "spec": {"paused": false, "replicas": 5}});
    let applied = child.as_applied(object.clone(), Some(&live));
    assert_eq!(applied["spec"]["replicas"], 5);
    assert_eq!(applied["metadata"]["resourceVersion"], "7", "or a change since would be undone");
    assert!(holds(&live, &object));
}

#[test]
fn what_is_sent_is_for_the_object_that_was_looked_at() {
    let object = json!({"metadata": {"name": "a"}, "spec": {"paused": false}});
    let child = Child::new(ApiResource::erase::<Deployment>(&()), object.clone());
    let live = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}, "spec": {"paused": true}});
    let applied = child.as_applied(object.clone(), Some(&live));
    assert_eq!(applied["metadata"], json!({"name": "a", "uid": "u", "resourceVersion": "7"}));
    assert_eq!(child.as_applied(object.clone(), None), object, "nothing was there");
}

#[test]
fn a_patch_of_status_holds_what_changed_and_removes_what_is_gone() {
    let before = json!({"waiting": 3, "replicas": 1, "effective": {"maxBatch": 8}});
    let after = json!({"replicas": 2, "effective": {"maxBatch": 8}});
    assert_eq!(difference(&before, &after), json!({"replicas": 2, "waiting": null}));
    assert_eq!(difference(&Value::Null, &after), after);
}

#[test]
fn conditions_that_were_read_before_are_not_written_over_newer_ones() {
    let meta =
        ObjectMeta { uid: Some("u".to_owned()), resource_version: Some("7".to_owned()), ..ObjectMeta::default() };
    let before = json!({"waiting": 3, "conditions": [{"type": "Ready", "observedGeneration": 3}]});
    let mut after = json!({"waiting": 4, "conditions": [{"type": "Ready", "observedGeneration": 3}]});
    let version =
        |read, after: &Value| status_patch(&meta, read, &before, after)["metadata"]["resourceVersion"].clone();
    assert_eq!(version(Read::Before, &after), Value::Null, "numbers alone are nobody else's");
    after["conditions"][0]["status"] = json!("True");
    assert_eq!(version(Read::Before, &after), "7");
    assert_eq!(version(Read::Anew, &after), Value::Null);
}
