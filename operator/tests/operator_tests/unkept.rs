//! What a pipeline writes that goes with a pod is said, with what to do, and nothing is where it lasts.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use crate::support::{config, context, http, pipeline, pool, pools_of};
use axum::{Json, Router, extract, http::StatusCode, response::IntoResponse, routing::get};
use crds::{AgentPoolSpec, Pipeline, file};
use k8s_openapi::jiff::Timestamp;
use operator::{
    claims::Claim,
    client::Clients,
    condition::State,
    lease::Leadership,
    namespace::gather,
    pipeline::{
        dereference::{self, Found, Gateway},
        status::after,
        unkept::{self, Unkept},
    },
};
use serde_json::{Value, json};
use tokio::sync::watch;

/// A pipeline that fills a knowledge base in this folder with one pool, and searches it with another.
fn learning(uri: &str, fills: &str, searches: &str) -> Pipeline {
    pipeline(json!({
        "knowledge": [{"name": "inbox", "uri": uri, "embedder": "minilm"}],
        "stages": [
            {"name": "index", "pool": fills, "embed": {"knowledge": "inbox"}},
            {"name": "find", "pool": searches, "after": ["index"], "retrieve": {"knowledge": "inbox", "query": "x"}},
        ],
    }))
}

/// A pipeline that writes its results into a table in this folder.
fn sending(table: &str) -> Pipeline {
    pipeline(json!({
        "stages": [{"name": "a", "pool": "readers", "transform": {"template": "1"}}],
        "results": {"table": {"uri": table}},
    }))
}

fn with_claim(volume: &str, claim: &str, further: &Value) -> Value {
    let mut spec = further.clone();
    spec["template"] = json!({"volumes": [{"name": volume, "claim": claim}]});
    spec
}

fn pools(specs: &[(&str, Value)]) -> BTreeMap<String, AgentPoolSpec> {
    specs.iter().map(|(name, spec)| ((*name).to_owned(), pool(spec.clone()).spec)).collect()
}

fn of_knowledge(pipeline: &Pipeline, specs: &[(&str, Value)]) -> Option<String> {
    let mut unkept = unkept::of(&pipeline.spec, &pools(specs), Claim::Missing);
    assert!(unkept.len() < 2, "{unkept:#?}");
    let Unkept { reason, message } = unkept.pop()?;
    assert_eq!(reason, "KnowledgeNotKept", "{message}");
    Some(message)
}

#[test]
fn a_table_goes_with_the_gateway_unless_it_is_on_the_claim() {
    let readers = pools(&[("readers", json!({}))]);
    for (uri, state, help) in [
        ("default", Claim::Missing, "make a PersistentVolumeClaim docket-gateway-state"),
        ("default", Claim::NotAllowed, "kubectl label pvc docket-gateway-state docket.dev/gateway=allowed"),
        ("/tmp/results", Claim::Allowed, "name `default` as uri"),
        ("/var/lib/docketed", Claim::Allowed, "name `default` as uri"),
    ] {
        let unkept = unkept::of(&sending(uri).spec, &readers, state);
        let [lost] = &unkept[..] else { panic!("{uri} {state:?}: {unkept:#?}") };
        assert_eq!(lost.reason, "ResultsNotKept");
        assert!(lost.message.contains(help), "{}", lost.message);
    }
    for uri in ["default", "/var/lib/docket/tables"] {
        assert!(unkept::of(&sending(uri).spec, &readers, Claim::Allowed).is_empty(), "{uri}");
    }
}

#[test]
fn a_knowledge_base_goes_with_its_agents_unless_it_is_on_a_claim() {
    let none = json!({});
    let alone = learning("default", "readers", "readers");
    let message = of_knowledge(&alone, &[("readers", none.clone())]).expect("it is said");
    assert!(message.contains("each agent of readers") && message.contains("volume `state`"), "{message}");
    assert_eq!(of_knowledge(&alone, &[("readers", with_claim("state", "room", &none))]), None);
    let elsewhere = of_knowledge(&alone, &[("readers", with_claim("other", "room", &none))]);
    assert!(elsewhere.is_some(), "the state folder is not on that claim");
    let folder = learning("/volumes/other/base", "readers", "readers");
    assert_eq!(of_knowledge(&folder, &[("readers", with_claim("other", "room", &none))]), None);
    assert!(of_knowledge(&folder, &[("readers", with_claim("state", "room", &none))]).is_some());
}

#[test]
fn a_knowledge_base_is_for_one_agent() {
    let alone = learning("default", "readers", "readers");
    let often = json!([{"days": ["Mon"], "from": "08:00", "to": "09:00", "minReplicas": 1, "maxReplicas": 7}]);
    for (further, most) in [
        (json!({"replicas": 3}), Some("3 agents")),
        (json!({"scaling": {"maxReplicas": 20}}), Some("20 agents")),
        (json!({"scaling": {"maxReplicas": 1, "schedule": often}}), Some("7 agents")),
        (json!({"scaling": {"maxReplicas": 9, "mode": "Advise"}}), None),
        (json!({"scaling": {"maxReplicas": 1, "mode": "External"}}), None),
        (json!({"replicas": 1}), None),
    ] {
        let message = of_knowledge(&alone, &[("readers", with_claim("state", "room", &further))]);
        match most {
            Some(most) => assert!(message.as_deref().is_some_and(|message| message.contains(most)), "{message:?}"),
            None => assert_eq!(message, None, "{further:#}"),
        }
    }
    let two = learning("default", "readers", "writers");
    let on = |claim: &str| with_claim("state", claim, &json!({}));
    let message = of_knowledge(&two, &[("readers", on("room")), ("writers", on("another"))]).expect("it is said");
    assert!(message.contains("readers and writers have a knowledge base inbox each"), "{message}");
    let message = of_knowledge(&two, &[("readers", on("room")), ("writers", on("room"))]).expect("it is said");
    assert!(message.contains("readers and writers may have 2 agents"), "{message}");
}

#[test]
fn a_knowledge_base_that_no_stage_uses_is_not_told_of_and_neither_is_a_pool_that_is_not_there() {
    let mut unused = learning("default", "readers", "readers");
    unused.spec.stages.clear();
    assert_eq!(of_knowledge(&unused, &[("readers", json!({}))]), None);
    assert_eq!(of_knowledge(&learning("default", "nobody", "nobody"), &[]), None);
}

#[test]
fn a_sample_whose_agents_come_and_go_keeps_nothing_with_them() {
    let sample = Path::new("../config/samples/scaled-intake.yaml");
    let named = pools_of(sample).into_iter().map(|pool| (pool.metadata.name.unwrap_or_default(), pool.spec));
    let pools: BTreeMap<String, AgentPoolSpec> = named.collect();
    let read = file::read(&[sample.to_path_buf()]).unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert!(!read.pipelines.is_empty());
    for pipeline in &read.pipelines {
        let unkept = unkept::of(&pipeline.resource.spec, &pools, Claim::Missing);
        assert!(unkept.is_empty(), "{unkept:#?}");
    }
}

#[test]
fn a_pipeline_that_does_not_keep_all_works_and_says_so() {
    let pipeline = sending("default");
    let pools = pools(&[("readers", json!({}))]);
    let conditions = |unkept: Vec<Unkept>| {
        let found = Found {
            plan: dereference::plan("review", 3, &pipeline.spec, &pools),
            pools: BTreeMap::from([("readers".to_owned(), (State::True, "2 of 2 agents take work".to_owned()))]),
            gateway: Gateway::Serving,
            gateway_trouble: None,
            refused: None,
            broker: Ok(()),
            unkept,
        };
        let status = after(&pipeline, &Ok(found), Timestamp::from_second(1).expect("a time"));
        ["Ready", "Degraded", "Kept"].map(|kind| {
            let condition = status.conditions.iter().find(|condition| condition.type_ == kind).expect("always there");
            (condition.status.clone(), condition.reason.clone(), condition.message.clone())
        })
    };
    let lost = unkept::of(&pipeline.spec, &pools, Claim::Missing);
    let message = lost.first().expect("the table").message.clone();
    let [ready, degraded, kept] = conditions(lost);
    assert_eq!((ready.0.as_str(), ready.1.as_str()), ("True", "Serving"));
    assert!(ready.2.ends_with("not all is kept: ResultsNotKept"), "{}", ready.2);
    assert_eq!(degraded.0, "False", "it is served as it is written");
    assert_eq!(kept, ("False".to_owned(), "ResultsNotKept".to_owned(), message));
    let [ready, _, kept] = conditions(Vec::new());
    assert_eq!((ready.2.as_str(), kept.0.as_str()), ("documents are taken and worked", "True"));
}

/// The labels of the claim, where it is there, and how often it was asked for.
type Asked = Arc<Mutex<(Option<Value>, usize)>>;

async fn claim(extract::State(asked): extract::State<Asked>) -> impl IntoResponse {
    let mut asked = asked.lock().expect("no handler panics");
    asked.1 += 1;
    match &asked.0 {
        Some(labels) => {
            let metadata = json!({"name": "docket-gateway-state", "namespace": "documents", "labels": labels});
            let claim = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
            (StatusCode::OK, Json(claim))
        }
        None => {
            let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                "reason": "NotFound", "message": "it is not there"});
            (StatusCode::NOT_FOUND, Json(gone))
        }
    }
}

#[tokio::test]
async fn the_claim_of_a_gateway_is_asked_for_where_there_is_a_table_and_counts_with_its_own_label_alone() {
    let asked = Asked::default();
    let path = "/api/v1/namespaces/documents/persistentvolumeclaims/docket-gateway-state";
    let routes = Router::new().route(path, get(claim)).with_state(Arc::clone(&asked));
    let server = http::serve(routes).await;
    let (_leads, leadership) = watch::channel(Leadership::Unknown);
    let ctx = context(Clients::new(&server).expect("clients"), config(), leadership);
    let (with, without) = (sending("default").spec, learning("default", "readers", "readers").spec);
    let found = gather::gateway_state(&ctx, "documents", &[&without]).await.expect("nothing is asked");
    assert_eq!((found, asked.lock().expect("no handler panics").1), (Claim::Missing, 0));
    for (labels, expected) in [
        (None, Claim::Missing),
        (Some(json!({"docket.dev/agents": "allowed"})), Claim::NotAllowed),
        (Some(json!({"docket.dev/gateway": "allowed"})), Claim::Allowed),
    ] {
        asked.lock().expect("no handler panics").0 = labels;
        let found = gather::gateway_state(&ctx, "documents", &[&without, &with]).await.expect("it is answered");
        assert_eq!(found, expected);
    }
}
