//! What ships for Argo CD and Flux sees objects as the operator writes them, and both judge each of them alike.
//!
//! `config/argocd/docket.dev/KIND/testdata` holds the objects, `health_test.yaml` beside it what Argo CD is to say of
//! them, which `charts/tests/test_gitops.py` tries. `INSTA_UPDATE=always` writes the objects anew.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::support::{pipeline, pool};
use cel::{Context, Program};
use crds::AgentPool;
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::Timestamp,
};
use operator::{
    agent_pool::{
        self,
        fallback::Placement,
        leaving,
        status::{self, Applied},
        validate,
    },
    apply,
    condition::State,
    names::FINALIZER,
    pipeline::{
        self as pipelines,
        dereference::{self, Found, Gateway},
    },
};
use serde_json::{Value, json};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config");
/// When all of it is seen.
const NOW: &str = "2026-01-01T00:00:00Z";

/// Objects by the names of their files.
type Objects = BTreeMap<&'static str, Value>;

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// An object with what health checks look at. Numbers in its status are none of their business.
fn object(kind: &str, name: &str, generation: i64, spec: &Value, status: Option<(Option<i64>, &[Condition])>) -> Value {
    let mut object = json!({
        "apiVersion": "docket.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "documents", "generation": generation}, "spec": spec,
    });
    if let Some((observed, conditions)) = status {
        object["status"] = json!({"observedGeneration": observed, "conditions": conditions});
    }
    object
}

fn leaves(mut object: Value) -> Value {
    object["metadata"]["deletionTimestamp"] = json!(NOW);
    object["metadata"]["finalizers"] = json!([FINALIZER]);
    object
}

fn of_generation(mut object: Value, generation: i64) -> Value {
    object["metadata"]["generation"] = json!(generation);
    object
}

/// What a pass has seen: so many agents wanted, the Deployment's status, the pods.
fn seen(wanted: i64, status: Value, pods: Value) -> Result<Applied, agent_pool::Error> {
    let spec = json!({"replicas": wanted, "selector": {}, "template": {}});
    let deployment = json!({"metadata": {"generation": 5}, "spec": spec, "status": status});
    let deployment: Deployment = serde_json::from_value(deployment).expect("a Deployment");
    let pods: Vec<Pod> = serde_json::from_value(pods).expect("pods");
    Ok(Applied { deployment, pods: pods.iter().collect(), placement: Placement::Device })
}

/// Pods that a Deployment has, of its newest kind, and that are ready.
fn counts(replicas: u32, updated: u32, ready: u32) -> Value {
    json!({"observedGeneration": 5, "replicas": replicas, "updatedReplicas": updated, "readyReplicas": ready})
}

/// An agent that has a node.
fn placed(name: &str, status: Value) -> Value {
    let metadata = json!({"name": name, "namespace": "documents"});
    json!({"metadata": metadata, "spec": {"nodeName": "node", "containers": []}, "status": status})
}

/// Two agents, one of which has a container that waits.
fn with_waiting(reason: &str, message: &str, last: Value) -> Value {
    let container = json!({"name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 3,
        "state": {"waiting": {"reason": reason, "message": message}}, "lastState": last});
    json!([placed("readers-1", json!({"containerStatuses": [container]})), placed("readers-2", json!({}))])
}

fn unanswered(object: &str) -> apply::Error {
    apply::Error::Deadline { action: "list", object: object.to_owned() }
}

fn pools() -> Objects {
    let models = json!([{"name": "minilm", "task": "Embed", "source": {"catalog": "minilm"}}]);
    let fixed = json!({"replicas": 2, "models": models});
    let scaled = json!({"scaling": {"minReplicas": 0, "maxReplicas": 20}, "models": models});
    let after = |spec: &Value, outcome: Result<Applied, agent_pool::Error>| {
        let status = status::after(&pool(spec.clone()), &outcome, now());
        object("AgentPool", "readers", 2, spec, Some((status.observed_generation, status.conditions.as_slice())))
    };
    let passed = |outcome| after(&fixed, outcome);
    let starting = || counts(2, 2, 0);
    let both = || json!([placed("readers-1", json!({})), placed("readers-2", json!({}))]);
    let ready = || passed(seen(2, counts(2, 2, 2), json!([])));

    let without_node = json!({"metadata": {"name": "readers-1"}, "spec": {"containers": []}, "status": {"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
         "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."}]}});
    let unclaimed = json!({"metadata": {"name": "readers-1"}, "status": {"phase": "Pending"}, "spec": {"containers": [],
        "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "whole-gpu"}]}});
    let late =
        json!({"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2025-12-31T23:00:00Z"}]});
    let refused = json!({"observedGeneration": 5, "conditions": [
        {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}]});
    let ended = json!({"terminated": {"exitCode": 2, "message": "worker.yaml, line 3: unknown field"}});
    let claim_missing = validate::Error::ClaimMissing { claim: "models".to_owned() };
    let taken = apply::Error::NotOurs {
        object: "Deployment documents/readers-agents".to_owned(),
        kind: "deployment".to_owned(),
        namespace: "documents".to_owned(),
        name: "readers-agents".to_owned(),
    };
    let whole = status::after(&pool(fixed.clone()), &seen(2, counts(2, 2, 2), json!([])), now());
    let before = AgentPool { status: Some(whole), ..pool(fixed.clone()) };
    let draining = leaving::draining(&before, "review", now());

    BTreeMap::from([
        ("new", object("AgentPool", "readers", 2, &fixed, None)),
        ("ready", ready()),
        ("stale", of_generation(ready(), 3)),
        ("asleep", after(&scaled, seen(0, counts(0, 0, 0), json!([])))),
        ("scaling", after(&scaled, seen(2, counts(2, 2, 1), both()))),
        (
            "rolling-out",
            passed(seen(
                2,
                counts(3, 1, 2),
                json!([placed("a", json!({})), placed("b", json!({})), placed("c", json!({}))]),
            )),
        ),
        ("begun", passed(seen(2, Value::Null, json!([])))),
        ("loading", passed(seen(2, starting(), both()))),
        ("no-node-fits", passed(seen(2, starting(), json!([without_node, placed("readers-2", json!({}))])))),
        ("device-unclaimed", passed(seen(2, starting(), json!([unclaimed, placed("readers-2", json!({}))])))),
        ("pods-refused", passed(seen(2, refused, json!([])))),
        (
            "image-unavailable",
            passed(seen(2, starting(), with_waiting("ImagePullBackOff", "Back-off pulling image", json!({})))),
        ),
        (
            "container-refused",
            passed(seen(
                2,
                starting(),
                with_waiting("CreateContainerConfigError", "secret \"keys\" not found", json!({})),
            )),
        ),
        (
            "agents-fail",
            passed(seen(2, starting(), with_waiting("CrashLoopBackOff", "back-off 5m0s restarting", ended))),
        ),
        ("not-ready", passed(seen(2, starting(), json!([placed("readers-1", late), placed("readers-2", json!({}))])))),
        ("claim-missing", passed(Err(agent_pool::Error::Validate(claim_missing)))),
        ("name-taken", passed(Err(agent_pool::Error::Apply(taken)))),
        ("read-failed", passed(Err(agent_pool::Error::Dereference(unanswered("Pods in documents"))))),
        (
            "leaving",
            leaves(object(
                "AgentPool",
                "readers",
                2,
                &fixed,
                Some((draining.observed_generation, draining.conditions.as_slice())),
            )),
        ),
    ])
}

/// What a pipeline depends on, where nothing is missing but perhaps its pool.
fn found(spec: &Value, has_pool: bool) -> Found {
    let pools = if has_pool { BTreeMap::from([("readers".to_owned(), pool(json!({})).spec)]) } else { BTreeMap::new() };
    let mut plan = dereference::plan("review", 3, &pipeline(spec.clone()).spec, &pools);
    if let Ok(plan) = &mut plan {
        // What a plan is known by follows from all that may be written in one.
        plan.digest = "0".repeat(64);
    }
    let readiness =
        if has_pool { (State::True, "2 of 2 agents take work".to_owned()) } else { dereference::ready(None) };
    let pools = BTreeMap::from([("readers".to_owned(), readiness)]);
    Found {
        plan,
        pools,
        gateway: Gateway::Serving,
        gateway_trouble: None,
        refused: None,
        unkept: Vec::new(),
        broker: Ok(()),
    }
}

fn pipeline_objects() -> Objects {
    let stages = json!([{"name": "read", "pool": "readers", "transform": {"template": "x"}}]);
    let plain = json!({"stages": stages});
    let suspended = json!({"stages": stages, "suspend": true});
    let after = |spec: &Value, found: Result<Found, pipelines::Error>| {
        let status = pipelines::status::after(&pipeline(spec.clone()), &found, now());
        object("Pipeline", "review", 3, spec, Some((status.observed_generation, status.conditions.as_slice())))
    };
    let all = || found(&plain, true);
    let ready = || after(&plain, Ok(all()));
    let starting = || BTreeMap::from([("readers".to_owned(), (State::False, "0 of 2 agents take work".to_owned()))]);
    let no_broker = Err("failed to open a connection to the broker".to_owned());
    let crashing =
        || Some("pod docket-gateway-1: it ends and is started again; it said last: no such bucket".to_owned());
    let why = Some("failed to make the namespace's objects: exceeded quota: small".to_owned());

    let mut before = pipeline(plain.clone());
    before.status = Some(pipelines::status::after(&before, &Ok(all()), now()));
    let draining = pipelines::status::draining(&before, 3, &[], now());

    BTreeMap::from([
        ("new", object("Pipeline", "review", 3, &plain, None)),
        ("ready", ready()),
        ("stale", of_generation(ready(), 4)),
        ("suspended", after(&suspended, Ok(found(&suspended, true)))),
        ("suspended-before-its-pools", after(&suspended, Ok(Found { pools: starting(), ..found(&suspended, true) }))),
        ("unknown-pool", after(&plain, Ok(found(&plain, false)))),
        ("suspended-and-unknown-pool", after(&suspended, Ok(found(&suspended, false)))),
        ("broker-unavailable", after(&plain, Ok(Found { broker: no_broker, ..all() }))),
        ("gateway-refused", after(&plain, Ok(Found { gateway: Gateway::Away, refused: why, ..all() }))),
        ("gateway-fails", after(&plain, Ok(Found { gateway: Gateway::Away, gateway_trouble: crashing(), ..all() }))),
        ("gateway-away", after(&plain, Ok(Found { gateway: Gateway::Away, ..all() }))),
        ("rolling-out", after(&plain, Ok(Found { gateway: Gateway::RollingOut, ..all() }))),
        ("pools-not-ready", after(&plain, Ok(Found { pools: starting(), ..all() }))),
        ("read-failed", after(&plain, Err(pipelines::Error::Dereference(unanswered("AgentPools in documents"))))),
        (
            "leaving",
            leaves(object(
                "Pipeline",
                "review",
                3,
                &plain,
                Some((draining.observed_generation, draining.conditions.as_slice())),
            )),
        ),
    ])
}

fn kinds() -> [(&'static str, Objects); 2] {
    [("AgentPool", pools()), ("Pipeline", pipeline_objects())]
}

fn folder(kind: &str) -> PathBuf {
    Path::new(CONFIG).join("argocd/docket.dev").join(kind)
}

/// The documents of a file of YAML.
fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split("\n---\n").map(|text| serde_saphyr::from_str(text).expect("it is YAML")).collect()
}

#[test]
fn the_objects_that_health_checks_are_tried_on_are_what_the_operator_writes() {
    let is_updating = std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always");
    for (kind, objects) in kinds() {
        let folder = folder(kind).join("testdata");
        for (name, object) in &objects {
            let path = folder.join(format!("{name}.yaml"));
            if is_updating {
                fs::write(&path, serde_saphyr::to_string(object).expect("plain data")).expect("it can be written");
            }
            assert_eq!(documents(&path), [object.clone()], "{kind}/{name}; INSTA_UPDATE=always writes it");
        }
        let there = fs::read_dir(folder).expect("it is there").count();
        assert_eq!(there, objects.len(), "{kind} has files that no test writes");
    }
}

/// What Flux says of an object, as its controllers evaluate it: where the status is of another generation it is in
/// progress; else the first expression counts that is true.
fn judged(checks: &Value, object: &Value) -> &'static str {
    let Some(status) = object.get("status") else {
        // The expressions cannot be evaluated, and Flux goes on waiting.
        return "InProgress";
    };
    if status["observedGeneration"] != object["metadata"]["generation"] {
        return "InProgress";
    }
    let mut context = Context::default();
    for (name, value) in object.as_object().expect("an object") {
        context.add_variable(name.as_str(), value).expect("plain data");
    }
    for (field, answer) in [("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current")] {
        let Some(expression) = checks[field].as_str() else { continue };
        match Program::compile(expression).expect("it is CEL").execute(&context) {
            Ok(cel::Value::Bool(true)) => return answer,
            Ok(cel::Value::Bool(false)) => {}
            other => panic!("{field}: {other:?}"),
        }
    }
    "InProgress"
}

#[test]
fn flux_judges_each_object_as_argo_cd_does() {
    let shipped = documents(&Path::new(CONFIG).join("flux/docket.yaml"));
    let own = shipped.iter().find(|object| object["spec"]["healthCheckExprs"].is_array()).expect("one has checks");
    let checks = own["spec"]["healthCheckExprs"].as_array().expect("a list");
    for (kind, objects) in kinds() {
        let checks = checks.iter().find(|checks| checks["kind"] == kind).expect("each kind has checks");
        assert_eq!(checks["apiVersion"], "docket.dev/v1alpha1");
        let tests = documents(&folder(kind).join("health_test.yaml")).remove(0);
        let tests = tests["tests"].as_array().expect("a list");
        for (name, object) in &objects {
            let path = format!("testdata/{name}.yaml");
            let test = tests.iter().find(|test| test["inputPath"] == path.as_str()).expect("Argo CD is asked, too");
            let wanted = match test["healthStatus"]["status"].as_str() {
                Some("Healthy" | "Suspended") => "Current",
                Some("Degraded") => "Failed",
                _ => "InProgress",
            };
            assert_eq!(judged(checks, object), wanted, "{kind}/{name}");
        }
    }
}
