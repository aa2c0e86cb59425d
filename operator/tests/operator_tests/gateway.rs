//! A pipeline is ready when the gateway serves what it says now and its pools are there, and not before.

use std::collections::BTreeMap;

use crate::support::pipeline;
use crds::{AgentPoolSpec, Pipeline};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::ConfigMap},
    jiff::Timestamp,
};
use operator::{
    condition::State,
    names::CONFIG_ANNOTATION,
    namespace::pipeline_file,
    pipeline::{
        dereference::{self, Found, Gateway, ready},
        serving::how,
        status::after,
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

#[test]
fn a_pipeline_is_said_to_be_served_as_it_is_written_only_where_it_is() {
    let pipeline = saying("1");
    let pools = BTreeMap::from([("readers".to_owned(), crate::support::pool(json!({})).spec)]);
    let said = |gateway: Gateway, pools: &BTreeMap<String, AgentPoolSpec>| {
        let found = Found {
            plan: dereference::plan("review", 3, &pipeline.spec, pools),
            pools: BTreeMap::new(),
            gateway,
            gateway_trouble: None,
            refused: None,
            broker: Ok(()),
            unkept: Vec::new(),
        };
        let status = after(&pipeline, &Ok(found), Timestamp::from_second(1).expect("a time"));
        let said = status.conditions.into_iter().find(|condition| condition.type_ == "Degraded").expect("always there");
        (said.status, said.reason)
    };
    let is = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    assert_eq!(said(Gateway::Serving, &pools), is("False", "AsWritten"));
    assert_eq!(said(Gateway::Serving, &BTreeMap::new()), is("True", "ServedAsBefore"), "it is not accepted");
    assert_eq!(said(Gateway::Away, &pools), is("Unknown", "NotServed"));
    assert_eq!(said(Gateway::Away, &BTreeMap::new()), is("Unknown", "NotServed"));
}

#[test]
fn a_gateway_that_cannot_be_made_or_fails_says_why_until_it_serves() {
    let pipeline = saying("1");
    let pools = BTreeMap::from([("readers".to_owned(), crate::support::pool(json!({})).spec)]);
    let said = |gateway: Gateway, trouble: Option<&str>, refused: Option<&str>| {
        let found = Found {
            plan: dereference::plan("review", 3, &pipeline.spec, &pools),
            pools: BTreeMap::from([("readers".to_owned(), (State::True, "2 of 2 agents take work".to_owned()))]),
            gateway,
            gateway_trouble: trouble.map(str::to_owned),
            refused: refused.map(str::to_owned),
            broker: Ok(()),
            unkept: Vec::new(),
        };
        let status = after(&pipeline, &Ok(found), Timestamp::from_second(1).expect("a time"));
        let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready").expect("always there");
        (ready.reason, ready.message)
    };
    let why = "failed to apply ConfigMap documents/docket-gateway: exceeded quota";
    for gateway in [Gateway::Away, Gateway::RollingOut] {
        assert_eq!(said(gateway, None, Some(why)), ("GatewayRefused".to_owned(), why.to_owned()), "{gateway:?}");
        assert_ne!(said(gateway, None, None).0, "GatewayRefused");
        let crashes = "pod docket-gateway-1: it ends and is started again; it said last: no such bucket";
        assert_eq!(said(gateway, Some(crashes), None), ("GatewayFails".to_owned(), crashes.to_owned()), "{gateway:?}");
    }
    assert_eq!(said(Gateway::Serving, None, Some(why)).0, "Serving", "it serves what is written");
}
