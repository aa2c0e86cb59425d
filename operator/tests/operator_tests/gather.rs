//! What a gateway serves of a pipeline.

use std::collections::BTreeMap;

use crds::{AgentPool, AgentPoolSpec, DeletionPolicy, PipelineSpec};
use kube::core::DeserializeGuard;
use operator::namespace::{
    gather::{candidate, needed, until_it_leaves, unworked, with_former, works},
    room::{Candidate, fitting},
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

/// What a gateway serves of a pipeline, by the pools that are there and those that it serves by now.
fn serves(
    name: &str,
    (written, now): (Option<&PipelineSpec>, Option<&PipelineSpec>),
    pools: (&BTreeMap<String, AgentPoolSpec>, &BTreeMap<String, AgentPoolSpec>),
) -> Option<PipelineSpec> {
    let now = now.map(|now| (now, pools.1));
    let candidates = BTreeMap::from([(name.to_owned(), candidate(name, written, now, pools))]);
    fitting(&candidates, pools.1).pipelines.remove(name)
}

#[test]
fn a_pipeline_that_cannot_work_is_served_as_it_last_did() {
    let pools = BTreeMap::from([("p".to_owned(), serde_json::from_value(json!({})).expect("a pool"))]);
    let spec = |pool: &str, text: &str| -> PipelineSpec {
        let stage = json!({"name": "a", "pool": pool, "transform": {"template": text}});
        serde_json::from_value(json!({"stages": [stage]})).expect("a pipeline")
    };
    let (good, other, bad) = (spec("p", "1"), spec("p", "2"), spec("nobody", "3"));
    let served = |name: &str, written: Option<&PipelineSpec>, now: Option<&PipelineSpec>| {
        serves(name, (written, now), (&pools, &pools))
    };
    assert_eq!(served("x", Some(&good), None), Some(good.clone()));
    assert_eq!(served("x", Some(&bad), Some(&other)), Some(other.clone()));
    assert_eq!(served("x", None, Some(&other)), Some(other));
    assert_eq!(served("x", Some(&bad), None), None);
    for unread in ["x.y", "x.", "-x", "X", &"x".repeat(64)] {
        assert_eq!(served(unread, Some(&good), None), None, "a gateway that is told {unread} reads nothing");
    }
}

#[test]
fn a_pipeline_whose_pool_is_gone_is_served_with_it_as_it_last_was() {
    let pool = |slots: u32| -> AgentPoolSpec { serde_json::from_value(json!({"concurrency": slots})).expect("a pool") };
    let spec = |stage: &str| -> PipelineSpec {
        let stages =
            json!([{"name": stage, "pool": "gone", "transform": {"template": "x"}, "fallback": [{"pool": "there"}]}]);
        serde_json::from_value(json!({"stages": stages})).expect("a pipeline")
    };
    let named = |pools: &[(&str, u32)]| -> BTreeMap<String, AgentPoolSpec> {
        pools.iter().map(|(name, slots)| ((*name).to_owned(), pool(*slots))).collect()
    };
    let there = named(&[("there", 2)]);
    let former = with_former(&there, &named(&[("gone", 1), ("there", 1), ("of-nobody", 1)]));
    let (written, now) = (spec("edited"), spec("as-it-was"));
    assert_eq!(serves("x", (Some(&written), Some(&now)), (&there, &former)), Some(now.clone()));
    assert_eq!(serves("x", (Some(&written), None), (&there, &former)), None, "it never was accepted");
    assert_eq!(serves("x", (Some(&now), Some(&now)), (&there, &there)), None, "nobody knows what its pool was");

    let pipelines = BTreeMap::from([("x".to_owned(), now)]);
    assert_eq!(needed(former.clone(), &there, &pipelines), named(&[("gone", 1), ("there", 2)]));
    assert_eq!(needed(former, &there, &BTreeMap::new()), there, "a pool that nobody is served by is let go");
}

/// Pools of which `p` holds a model.
fn holding(model: &str, of: &str) -> BTreeMap<String, AgentPoolSpec> {
    let models = json!([{"name": model, "task": "Generate", "source": {"catalog": of}}]);
    let pools = [("p", json!({"models": models})), ("of-nobody", json!({}))];
    BTreeMap::from(pools.map(|(name, spec)| (name.to_owned(), serde_json::from_value(spec).expect("a pool"))))
}

#[test]
fn a_pipeline_whose_pool_changed_so_that_it_works_no_more_goes_on_by_its_pools_as_they_were() {
    let spec = |model: &str| -> PipelineSpec {
        let stage = json!({"name": "a", "pool": "p", "generate": {"prompt": "x", "model": model}});
        serde_json::from_value(json!({"stages": [stage]})).expect("a pipeline")
    };
    let (before, renamed, other) = (holding("small", "gemma"), holding("large", "gemma"), holding("large", "llama"));
    let (now, gone) = (spec("small"), BTreeMap::new());
    let going_on = |written: &PipelineSpec, pools: &BTreeMap<String, AgentPoolSpec>, former: &BTreeMap<_, _>| {
        let candidate = candidate("x", Some(written), Some((&now, &before)), (pools, former));
        let chosen = fitting(&BTreeMap::from([("x".to_owned(), candidate)]), former);
        let unworked = unworked(&chosen, pools);
        (chosen.pipelines.get("x").cloned(), chosen.former.get("x").cloned(), unworked)
    };
    let named = BTreeMap::from([("p".to_owned(), before["p"].clone())]);
    let kept = |unworked: &[&str]| {
        let unworked: Vec<String> = unworked.iter().map(|name| (*name).to_owned()).collect();
        (Some(now.clone()), Some(named.clone()), unworked)
    };
    assert_eq!(going_on(&now, &renamed, &renamed), kept(&[]), "agents find the model, whatever it is called");
    assert_eq!(going_on(&now, &other, &other), kept(&["x"]), "its agents do not hold the model any more");
    assert_eq!(going_on(&now, &gone, &other), kept(&[]), "a pool that is gone is waited for");
    assert_eq!(going_on(&now, &gone, &before), (Some(now.clone()), None, Vec::new()), "its pool is served as it was");
    assert_eq!(going_on(&spec("large"), &other, &other), (Some(spec("large")), None, Vec::new()), "it works again");
}

#[test]
fn documents_that_are_to_end_before_their_pipeline_goes_are_not_held_back() {
    let suspended: PipelineSpec = serde_json::from_value(json!({
        "stages": [{"name": "a", "pool": "p", "transform": {"template": "x"}}], "suspend": true,
    }))
    .expect("a pipeline");
    let going_on = PipelineSpec { suspend: false, ..suspended.clone() };
    let of = |spec: &PipelineSpec| Candidate {
        written: Some(spec.clone()),
        now: Some(spec.clone()),
        ..Candidate::default()
    };
    assert_eq!(until_it_leaves(of(&suspended), DeletionPolicy::Drain), of(&going_on));
    assert_eq!(until_it_leaves(of(&suspended), DeletionPolicy::Cancel), of(&suspended));
}
