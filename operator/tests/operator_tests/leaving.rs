//! When a pool that is being deleted may go: by its Deployment, its pods and the time.

use crds::{AgentPool, AgentPoolStatus};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    jiff::{SignedDuration, Timestamp},
};
use operator::agent_pool::leaving::{self, Agents, CONDITION, MARGIN, Pods, Step};
use serde_json::{Value, json};

const UID: &str = "11111111-1111-1111-1111-111111111111";
const BEGAN: &str = "2026-01-01T12:00:00Z";

fn at(seconds: i64) -> Timestamp {
    let began: Timestamp = BEGAN.parse().expect("a time");
    began + SignedDuration::from_secs(seconds)
}

fn pool(finalizers: &[&str]) -> AgentPool {
    let mut pool = crate::support::pool(json!({"replicas": 2}));
    pool.metadata.finalizers = Some(finalizers.iter().map(ToString::to_string).collect());
    pool
}

fn leaving_pool() -> AgentPool {
    pool(&["docket.dev/broker"])
}

fn deployment(metadata: &Value) -> Deployment {
    let mut all = json!({
        "name": "readers-agents", "namespace": "documents",
        "labels": {"docket.dev/pool": "readers", "app.kubernetes.io/managed-by": "docket-operator"},
        "ownerReferences": [owner(UID)],
    });
    for (field, value) in metadata.as_object().expect("fields") {
        all[field] = value.clone();
    }
    serde_json::from_value(json!({"metadata": all})).expect("a Deployment")
}

fn owner(uid: &str) -> Value {
    json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "name": "readers", "uid": uid, "controller": true})
}

/// A pod that may take so long to end, and that was told to, so that it should be gone at that time.
fn pod(name: &str, given: i64, told: Option<i64>) -> Pod {
    let metadata = match told {
        Some(second) => {
            json!({"name": name, "deletionTimestamp": at(second).to_string(), "deletionGracePeriodSeconds": given})
        }
        None => json!({"name": name}),
    };
    serde_json::from_value(json!({"metadata": metadata, "status": {"phase": "Running"},
        "spec": {"containers": [], "terminationGracePeriodSeconds": given}}))
    .expect("a pod")
}

fn all(pods: &[Pod]) -> Pods {
    let mut all = Pods::default();
    pods.iter().for_each(|pod| all.add(pod));
    all
}

fn step(agents: Agents, pods: &[Pod], now: i64) -> Step {
    leaving::step(agents, &all(pods), at(0), at(now))
}

#[test]
fn the_deployment_goes_then_its_pods_and_then_what_the_pool_has_at_the_broker() {
    let two = [pod("a", 130, None), pod("b", 130, None)];
    assert_eq!(step(Agents::Running, &two, 0), Step::End);
    assert_eq!(step(Agents::Running, &[], 0), Step::End, "one that asks for no agents may ask for some in a moment");
    assert_eq!(step(Agents::Ended, &two, 1), Step::Wait);
    assert_eq!(step(Agents::Ended, &[pod("b", 130, Some(131))], 100), Step::Wait);
    assert_eq!(step(Agents::Ended, &[], 101), Step::Remove);
}

#[test]
fn whose_a_deployment_is_shows_in_its_labels_and_owners() {
    let of = |metadata: &Value| Agents::of(&leaving_pool(), Some(&deployment(metadata)));
    assert_eq!(Agents::of(&leaving_pool(), None), Agents::Ended);
    assert_eq!(of(&json!({})), Agents::Running);
    assert_eq!(of(&json!({"deletionTimestamp": BEGAN})), Agents::Ended, "somebody has deleted it already");
    // Kubernetes deletes what belonged to a pool before; to write that it is to go would be to write against it.
    assert_eq!(of(&json!({"ownerReferences": [owner("another")]})), Agents::Ended);
    // Objects of others that bear its name are none of the pool's business.
    assert_eq!(of(&json!({"labels": {}})), Agents::Ended);
    assert_eq!(
        of(&json!({"labels": {"docket.dev/pool": "writers", "app.kubernetes.io/managed-by": "docket-operator"}})),
        Agents::Ended
    );
}

#[test]
fn agents_that_are_to_outlive_their_pool_are_kept_before_and_after_kubernetes_has_let_go_of_them() {
    let before = Agents::of(&pool(&["docket.dev/broker", "orphan"]), Some(&deployment(&json!({}))));
    let after = Agents::of(&leaving_pool(), Some(&deployment(&json!({"ownerReferences": null}))));
    assert_eq!((before, after), (Agents::Kept, Agents::Kept));
    assert_eq!(step(before, &[pod("a", 130, None)], 0), Step::Keep);
    // Deleted by hand afterwards.
    let deleted = deployment(&json!({"ownerReferences": null, "deletionTimestamp": BEGAN}));
    assert_eq!(Agents::of(&leaving_pool(), Some(&deleted)), Agents::Ended);
}

#[test]
fn pods_whose_containers_have_ended_are_not_waited_for() {
    let mut ended = [pod("a", 130, None), pod("b", 130, None)];
    for (pod, phase) in ended.iter_mut().zip(["Succeeded", "Failed"]) {
        pod.status.as_mut().expect("a status").phase = Some(phase.to_owned());
    }
    assert_eq!(step(Agents::Ended, &ended, 0), Step::Remove);
}

#[test]
fn an_agent_that_does_not_end_is_waited_for_until_a_minute_after_its_time() {
    let (given, margin) = (130, MARGIN.as_secs());
    // Told to, on a node that is gone.
    let stuck = [pod("a", given, Some(20 + given)), pod("b", given, Some(given))];
    assert_eq!(step(Agents::Ended, &stuck, 20 + given + margin - 1), Step::Wait);
    assert_eq!(step(Agents::Ended, &stuck, 20 + given + margin), Step::RemoveRegardless);
    // Told by nobody: somebody has deleted the Deployment and kept its pods.
    let untold = [pod("a", given, None)];
    assert_eq!(step(Agents::Ended, &untold, given + margin - 1), Step::Wait);
    assert_eq!(step(Agents::Ended, &untold, given + margin), Step::RemoveRegardless);
}

#[test]
fn a_pod_that_may_take_years_to_end_is_given_as_long_as_an_agent() {
    let (years, longest) = (1_000_000_000, 16 * 60 + MARGIN.as_secs());
    for pod in [pod("a", years, None), pod("a", years, Some(years)), pod("a", i64::MAX, None)] {
        assert_eq!(step(Agents::Ended, std::slice::from_ref(&pod), longest - 1), Step::Wait);
        assert_eq!(step(Agents::Ended, &[pod], longest), Step::RemoveRegardless);
    }
    let mut at_once = pod("a", -5, None);
    at_once.metadata.deletion_grace_period_seconds = Some(i64::MIN);
    assert_eq!(step(Agents::Ended, &[at_once], MARGIN.as_secs()), Step::RemoveRegardless);
}

/// As the API server gives it back.
fn read_back(status: &AgentPoolStatus) -> AgentPoolStatus {
    serde_json::from_str(&serde_json::to_string(status).expect("plain data")).expect("a status")
}

#[test]
fn the_status_says_who_is_waited_for_and_says_nothing_else_while_nothing_changes() {
    let (mut pool, pods) = (leaving_pool(), all(&["a", "b", "c", "d", "e"].map(|name| pod(name, 130, None))));
    let begun = at(0) + SignedDuration::from_millis(700);
    let first = read_back(&leaving::status(&pool, &pods, begun));
    let leaving = first.conditions.iter().find(|condition| condition.type_ == CONDITION).expect("it leaves");
    assert_eq!((leaving.status.as_str(), leaving.reason.as_str()), ("True", "AgentsEnd"));
    for words in
        ["5 of its agents (a, b, c and 2 more)", "at 2026-01-01T12:03:10Z in any case", "--namespace documents"]
    {
        assert!(leaving.message.contains(words), "{}", leaving.message);
    }
    let ready = first.conditions.iter().find(|condition| condition.type_ == "Ready").expect("it is said");
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", CONDITION));
    pool.status = Some(first.clone());
    let later = at(90);
    assert_eq!(read_back(&leaving::status(&pool, &pods, later)), first);
    // Whoever leads next goes on with the time that was begun.
    assert_eq!(leaving::since(&pool, later).as_second(), at(0).as_second());
}

#[test]
fn a_pool_that_waits_for_documents_names_their_pipeline_and_keeps_what_else_is_known() {
    let mut pool = leaving_pool();
    pool.status = Some(leaving::status(&pool, &Pods::default(), at(0)));
    let status = leaving::draining(&pool, "letters", at(1));
    let said: Vec<(&str, &str, bool)> = status
        .conditions
        .iter()
        .map(|said| (said.type_.as_str(), said.reason.as_str(), said.message.contains("pipeline letters")))
        .collect();
    assert_eq!(said, [("Ready", "Draining", true), (CONDITION, "AgentsEnd", false)]);
}
