//! A pipeline is ready when the gateway serves what it says now and its pools are there, and not before.

use crate::support::pipeline;
use crds::Pipeline;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use operator::{
    condition::State,
    names::CONFIG_ANNOTATION,
    namespace::pipeline_file,
    pipeline::{
        dereference::{Gateway, ready},
        serving::how,
    },
    pods::digest_of,
};
use serde_json::json;

fn saying(text: &str) -> Pipeline {
    pipeline(json!({"stages": [{"name": "a", "pool": "readers", "transform": {"template": text}}]}))
}

fn file(pipeline: &Pipeline) -> (String, String) {
    pipeline_file("review", &pipeline.spec)
}

fn files(pipeline: &Pipeline) -> ConfigMap {
    ConfigMap { data: Some([file(pipeline)].into()), ..ConfigMap::default() }
}

/// A gateway of one replica whose pods were started with these files; `updated` of them are of the newest kind.
fn gateway(files: &ConfigMap, updated: u32) -> Deployment {
    let template = json!({"metadata": {"annotations": {CONFIG_ANNOTATION: digest_of(files)}}});
    serde_json::from_value(json!({
        "metadata": {"generation": 2},
        "spec": {"replicas": 1, "selector": {}, "template": template},
        "status": {"observedGeneration": 2, "replicas": 1, "availableReplicas": 1, "updatedReplicas": updated},
    }))
    .expect("a Deployment")
}

#[test]
fn a_gateway_serves_what_is_written_after_files_deployment_and_pods_have_followed() {
    let (before, now) = (saying("1"), saying("2"));
    let how = |started: &Pipeline, updated: u32, kept: &Pipeline, wanted: &Pipeline| {
        how(&gateway(&files(started), updated), &files(kept), &[file(wanted)])
    };
    assert_eq!(how(&now, 1, &now, &now), Gateway::Serving);
    assert_eq!(how(&before, 1, &before, &now), Gateway::RollingOut, "nothing has followed");
    assert_eq!(how(&before, 1, &now, &now), Gateway::RollingOut, "the files have");
    assert_eq!(how(&now, 0, &now, &now), Gateway::RollingOut, "the Deployment has");
}

#[test]
fn a_gateway_without_pods_is_away() {
    let now = saying("1");
    let mut gateway = gateway(&files(&now), 1);
    gateway.status.as_mut().expect("a status").available_replicas = None;
    assert_eq!(how(&gateway, &files(&now), &[file(&now)]), Gateway::Away);
}

#[test]
fn a_pool_that_is_not_there_is_not_ready() {
    let (state, message) = ready(None);
    assert_eq!((state, message.as_str()), (State::False, "there is no such pool"));
}
