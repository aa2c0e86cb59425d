//! What a gateway serves of a pipeline.

use std::collections::BTreeMap;

use crds::{AgentPool, AgentPoolSpec, PipelineSpec};
use kube::core::DeserializeGuard;
use operator::namespace::{
    gather::{candidate, works},
    room::fitting,
};
use serde_json::json;

#[test]
fn a_pool_that_cannot_be_read_works_as_it_last_could_so_that_its_pipelines_stay_served() {
    let pool = |name: &str, spec: serde_json::Value| -> DeserializeGuard<AgentPool> {
        let object = json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": name},
            "spec": spec});
        serde_json::from_value(object).expect("its metadata can be read")
    };
    let spec = |slots: u32| -> AgentPoolSpec { serde_json::from_value(json!({"concurrency": slots})).expect("a pool") };
    let written = vec![
        pool("read", json!({"concurrency": 2})),
        pool("unread", json!({"profile": "Newest"})),
        pool("never", json!({"profile": "Newest"})),
        pool("no.plain.name", json!({})),
    ];
    let now = BTreeMap::from(["read", "unread", "gone"].map(|name| (name.to_owned(), spec(1))));
    let expected = BTreeMap::from([("read".to_owned(), spec(2)), ("unread".to_owned(), spec(1))]);
    assert_eq!(works(written, &now), expected);
}

#[test]
fn a_pipeline_that_cannot_work_is_served_as_it_last_did() {
    let serves = |name: &str, written: Option<&PipelineSpec>, now: Option<&PipelineSpec>, pools: &_| {
        let candidates = BTreeMap::from([(name.to_owned(), candidate(name, written, now, pools))]);
        fitting(&candidates, pools).pipelines.remove(name)
    };
    let pools = BTreeMap::from([("p".to_owned(), serde_json::from_value(json!({})).expect("a pool"))]);
    let spec = |pool: &str, text: &str| -> PipelineSpec {
        let stage = json!({"name": "a", "pool": pool, "transform": {"template": text}});
        serde_json::from_value(json!({"stages": [stage]})).expect("a pipeline")
    };
    let (good, other, bad) = (spec("p", "1"), spec("p", "2"), spec("nobody", "3"));
    assert_eq!(serves("x", Some(&good), None, &pools), Some(good.clone()));
    assert_eq!(serves("x", Some(&bad), Some(&other), &pools), Some(other.clone()));
    assert_eq!(serves("x", None, Some(&other), &pools), Some(other));
    assert_eq!(serves("x", Some(&bad), None, &pools), None);
    for unread in ["x.y", "x.", "-x", "X", &"x".repeat(64)] {
        assert_eq!(serves(unread, Some(&good), None, &pools), None, "a gateway that is told {unread} reads nothing");
    }
    assert_eq!(serves("x", Some(&good), Some(&good), &BTreeMap::new()), None, "its pool is gone");
}
