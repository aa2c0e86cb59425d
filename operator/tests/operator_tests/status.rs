//! What a status says of what was seen: never better than it is, and the same twice.

use crate::support::pool;
use crds::{AgentPool, AgentPoolStatus, Pipeline, ScalingMode, ScalingStatus};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    jiff::Timestamp,
};
use operator::{
    agent_pool::{
        Error,
        fallback::Placement,
        ownership::{self, Replicas},
        status::{self, Applied},
        validate,
    },
    apply,
    condition::{Observed, State, state},
    pipeline::status::draining,
    scaling::board::Report,
};
use serde_json::{Value, json};

fn applied(wanted: i64, status: Value, pods: Value) -> Result<Applied, Error> {
    let deployment = json!({"metadata": {"generation": 5}, "spec": {"replicas": wanted, "selector": {}, "template": {}}, "status": status});
    let deployment: Deployment = serde_json::from_value(deployment).expect("a Deployment");
    let pods: Vec<Pod> = serde_json::from_value(pods).expect("pods");
    Ok(Applied { deployment, pods: pods.iter().collect(), placement: Placement::Device })
}

fn of(wanted: u32) -> AgentPool {
    pool(json!({"replicas": wanted}))
}

fn after(pool: &AgentPool, outcome: &Result<Applied, Error>, second: i64) -> AgentPoolStatus {
    status::after(pool, outcome, Timestamp::from_second(second).expect("a time"))
}

fn ready(status: &AgentPoolStatus) -> (&str, &str, &str) {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").expect("it is always there");
    (&ready.status, &ready.reason, &ready.message)
}

const WHOLE: fn(i64) -> Value =
    |count| json!({"observedGeneration": 5, "replicas": count, "updatedReplicas": count, "readyReplicas": count});

#[test]
fn a_pool_is_ready_when_all_its_agents_of_the_newest_kind_are() {
    let status = after(&of(2), &applied(2, WHOLE(2), json!([])), 1);
    assert_eq!(ready(&status), ("True", "AllReady", "2 of 2 agents take work"));
    assert_eq!((status.replicas, status.ready_replicas, status.observed_generation), (2, 2, Some(2)));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(2)));
    let kinds: Vec<&str> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(kinds, ["Ready", "Progressing", "Schedulable", "ModelsLoaded", "ScalingActive"]);
    assert_eq!(status.desired_replicas, Some(2));
}

#[test]
fn the_first_status_of_a_new_pool_is_not_ready() {
    let status = after(&of(1), &applied(1, Value::Null, json!([])), 1);
    assert_eq!(ready(&status).0, "False");
    assert_eq!(state(&status.conditions, "Progressing"), State::True);
}

#[test]
fn an_older_generation_of_the_deployment_says_nothing_of_the_newest() {
    let mut seen = WHOLE(1);
    seen["observedGeneration"] = json!(4);
    assert_ne!(ready(&after(&of(1), &applied(1, seen, json!([])), 1)).1, "AllReady");
}

#[test]
fn nothing_is_written_where_nothing_changed() {
    let outcome = applied(1, WHOLE(1), json!([]));
    let mut pool = of(1);
    let first = after(&pool, &outcome, 1);
    pool.status = Some(first.clone());
    assert_eq!(after(&pool, &outcome, 99), first, "time alone changes nothing");
    let flipped = after(&pool, &applied(1, json!({"observedGeneration": 5}), json!([])), 99);
    let time = |status: &AgentPoolStatus| status.conditions[0].last_transition_time.0.as_second();
    assert_eq!((time(&first), time(&flipped)), (1, 99));
}

#[test]
fn a_pod_without_a_node_says_what_is_missing() {
    let pods = json!([{"metadata": {"name": "p"}, "status": {"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
         "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."}]}}]);
    let status =
        after(&of(1), &applied(1, json!({"observedGeneration": 5, "replicas": 1, "updatedReplicas": 1}), pods), 1);
    assert_eq!(state(&status.conditions, "Schedulable"), State::False);
    assert!(ready(&status).2.contains("Insufficient nvidia.com/gpu"), "{status:#?}");
}

#[test]
fn an_agent_whose_device_is_not_claimed_names_the_template() {
    let pod = |status: Value| {
        json!([{"metadata": {"name": "readers-1"}, "status": status, "spec": {"containers": [],
        "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "whole-gpu"}]}}])
    };
    let now = json!({"observedGeneration": 5, "replicas": 1, "updatedReplicas": 1});
    let said = |status: Value| {
        let status = after(&of(1), &applied(1, now.clone(), pod(status)), 1);
        let (_, reason, message) = ready(&status);
        (reason.to_owned(), message.to_owned())
    };
    let (reason, message) = said(json!({"phase": "Pending"}));
    assert_eq!(reason, "DeviceUnclaimed");
    assert!(message.contains("ResourceClaimTemplate \"whole-gpu\""), "{message}");
    let claimed = json!([{"name": "gpu", "resourceClaimName": "readers-1-gpu"}]);
    assert_eq!(said(json!({"phase": "Pending", "resourceClaimStatuses": claimed})).0, "Starting");
}

#[test]
fn a_pool_is_schedulable_when_all_its_agents_have_a_node_and_not_before() {
    let seen = |pods: Value| {
        let status = json!({"observedGeneration": 5, "replicas": 2, "updatedReplicas": 2});
        let status = after(&of(2), &applied(2, status, pods), 1);
        state(&status.conditions, "Schedulable")
    };
    let (placed, waiting) = (json!({"spec": {"nodeName": "n", "containers": []}}), json!({"spec": {"containers": []}}));
    assert_eq!(seen(json!([])), State::Unknown);
    assert_eq!(seen(json!([placed, waiting])), State::Unknown);
    assert_eq!(seen(json!([placed, placed])), State::True);
    let status = after(&of(2), &applied(2, WHOLE(2), json!([])), 1);
    assert_eq!(state(&status.conditions, "Schedulable"), State::True, "pods of a whole pool are not looked at");
}

#[test]
fn an_agent_that_dies_says_its_last_words() {
    let waiting = json!({"name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": {"exitCode": 2, "message": "worker.yaml, line 3: unknown field"}}});
    let pods = json!([{"metadata": {"name": "p"}, "status": {"containerStatuses": [waiting]}}]);
    let status =
        after(&of(1), &applied(1, json!({"observedGeneration": 5, "replicas": 1, "updatedReplicas": 1}), pods), 1);
    assert_eq!(ready(&status).1, "AgentsFail");
    assert!(ready(&status).2.contains("unknown field"), "{status:#?}");
}

#[test]
fn an_agent_that_fails_again_and_again_is_said_to_in_the_same_words_while_it_is_tried() {
    let ended = |code: i32| json!({"terminated": {"exitCode": code, "message": "no memory for the model"}});
    let container = |state: &Value, last: &Value, restarts: i32, ready: bool| {
        json!({"name": "agent", "image": "", "imageID": "", "ready": ready, "restartCount": restarts, "state": state,
            "lastState": last})
    };
    let seen = |container: Value, metadata: Value| {
        let pods = json!([{"metadata": metadata, "status": {"phase": "Running", "containerStatuses": [container]}}]);
        let now = json!({"observedGeneration": 5, "replicas": 1, "updatedReplicas": 1});
        after(&of(1), &applied(1, now, pods), 1)
    };
    let (named, running) = (|| json!({"name": "p"}), json!({"running": {}}));
    let waits =
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}});
    let first = seen(container(&waits, &ended(1), 3, false), named());
    assert_eq!(ready(&first).1, "AgentsFail");
    assert!(ready(&first).2.contains("no memory for the model"), "{first:#?}");
    let tries = [
        container(&running, &ended(1), 4, false),
        container(&ended(1), &ended(1), 4, false),
        container(&waits, &ended(1), 4, false),
    ];
    for container in tries {
        assert_eq!(seen(container.clone(), named()).conditions, first.conditions, "{container}");
    }

    let leaves = json!({"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"});
    let others = [
        (container(&running, &ended(1), 4, true), named(), "it is ready"),
        (container(&running, &json!({}), 0, false), named(), "it has never failed"),
        (container(&running, &ended(0), 1, false), named(), "it did not fail"),
        (container(&ended(143), &ended(1), 4, false), leaves, "it was told to end"),
    ];
    for (container, metadata, why) in others {
        assert_eq!(ready(&seen(container, metadata)).1, "Starting", "{why}");
    }
}

#[test]
fn an_agent_that_is_not_ready_in_time_is_trouble_also_where_agents_come_and_go() {
    const SINCE: i64 = 1_000;
    let time = |second: i64| Timestamp::from_second(second).expect("a time").to_string();
    let condition = |kind: &str, status: &str, second: i64| json!({"type": kind, "status": status, "lastTransitionTime": time(second)});
    let pod = |name: &str, conditions: Value| {
        json!({"metadata": {"name": name, "namespace": "documents", "creationTimestamp": time(1)},
            "spec": {"nodeName": "node", "containers": []}, "status": {"phase": "Pending", "conditions": conditions}})
    };
    let with = |mut pod: Value, pointer: &str, field: &str, value: Value| {
        pod.pointer_mut(pointer).expect("it is there")[field] = value;
        pod
    };
    let old = || pod("old", json!([condition("Ready", "False", 1)]));
    let pods = json!([
        // None of these is waited for.
        pod("ready", json!([condition("Ready", "True", 1)])),
        with(old(), "/metadata", "deletionTimestamp", json!(time(2))),
        with(old(), "/status", "phase", json!("Failed")),
        with(old(), "/spec", "nodeName", Value::Null),
        // These are, and the second one for longer.
        pod("readers-1", json!([condition("PodScheduled", "True", 1), condition("Ready", "False", SINCE + 1)])),
        pod("readers-2", json!([condition("PodScheduled", "True", SINCE)])),
    ]);
    let scaled = pool(json!({"scaling": {"maxReplicas": 20}}));
    let now = json!({"observedGeneration": 5, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 1});
    let outcome = applied(3, now, pods);
    let at = |seconds: i64| after(&scaled, &outcome, SINCE + seconds);
    assert_eq!((ready(&at(1_200)).0, ready(&at(1_200)).1), ("True", "Scaling"));
    let object = "the status of AgentPool documents/readers".to_owned();
    let late = apply::Error::Deadline { action: "write", object };
    assert_eq!(Error::Status(late).reason(), "StatusFailed");
    assert_eq!(Error::Status(apply::Error::NotLeading).reason(), "NotLeading");
}

#[test]
fn a_pool_of_none_is_ready_and_holds_no_models() {
    let status = after(&of(0), &applied(0, json!({"observedGeneration": 5}), json!([])), 1);
    assert_eq!(ready(&status).0, "True");
    assert_eq!(state(&status.conditions, "ModelsLoaded"), State::False);
}

#[test]
fn a_pipeline_that_is_drained_keeps_its_other_conditions() {
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "Said", "message": "before", "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let conditions = [condition("Accepted", "True"), condition("Ready", "True"), condition("Degraded", "False")];
    let pipeline: Pipeline = serde_json::from_value(json!({
        "apiVersion": "docket.dev/v1alpha1", "kind": "Pipeline", "metadata": {"name": "letters", "generation": 2},
        "spec": {"stages": [{"name": "read", "pool": "clerks", "transform": {"template": "x"}}]},
        "status": {"conditions": conditions},
    }))
    .expect("a pipeline");
    let status = draining(&pipeline, 3, &[], Timestamp::from_second(1).expect("a time"));
    let said: Vec<(&str, &str, Option<i64>)> = status
        .conditions
        .iter()
        .map(|condition| (condition.type_.as_str(), condition.status.as_str(), condition.observed_generation))
        .collect();
    assert_eq!(said, [("Accepted", "True", Some(1)), ("Ready", "False", Some(2)), ("Degraded", "False", Some(1))]);
    assert_eq!(status.open, Some(3));
}

#[test]
fn the_number_of_a_scaled_pool_is_the_deployments_and_its_replicas_are_set_aside() {
    let mut scaled = pool(json!({"replicas": 3, "scaling": {"maxReplicas": 20}}));
    let status = after(&scaled, &applied(7, json!({"observedGeneration": 5, "replicas": 2}), json!([])), 1);
    let scaling = status.scaling.clone().expect("it is scaled");
    assert_eq!((status.desired_replicas, scaling.replicas_set_aside), (Some(7), Some(3)));
    assert_eq!((ready(&status).0, ready(&status).1), ("True", "Scaling"), "agents that come are no trouble");
    assert_eq!(state(&status.conditions, "ScalingActive"), State::Unknown);

    // Somebody who is to own the number next may write it before.
    scaled.status = Some(status);
    scaled.spec.replicas = 9;
    let status = after(&scaled, &applied(7, WHOLE(7), json!([])), 2);
    assert_eq!(status.scaling.clone().and_then(|scaling| scaling.replicas_set_aside), Some(3));
    scaled.status = Some(status);
    scaled.spec.scaling = None;
    let status = after(&scaled, &applied(9, WHOLE(9), json!([])), 3);
    assert_eq!(status.scaling, None);
    let active = status.conditions.iter().find(|condition| condition.type_ == "ScalingActive").expect("always there");
    assert_eq!((active.status.as_str(), active.reason.as_str()), ("False", "NotConfigured"));
}

#[test]
fn an_inconsistent_scaling_is_said_where_people_look_for_it() {
    let pool = pool(json!({"scaling": {"maxReplicas": 2}}));
    let problem = "\"target.wait\" is 0".to_owned();
    let status = after(&pool, &Err(Error::Validate(validate::Error::Scaling { problem })), 1);
    assert_eq!((ready(&status).0, ready(&status).1), ("False", "ScalingInvalid"));
    assert_eq!(state(&status.conditions, "ScalingActive"), State::False);
}

#[test]
fn a_number_passes_from_one_owner_to_the_next_without_a_step() {
    let mut pool = pool(json!({"replicas": 3, "scaling": {"minReplicas": 1, "maxReplicas": 20}}));
    assert_eq!(ownership::of(&pool), Replicas::Scaled(1), "a new Deployment begins with the least");
    pool.status = Some(after(&pool, &applied(7, WHOLE(7), json!([])), 1));
    for mode in [None, Some(ScalingMode::External), Some(ScalingMode::Advise)] {
        let mut next = pool.clone();
        next.spec.scaling = mode.map(|mode| crds::Scaling { mode, ..pool.spec.scaling.clone().expect("it is scaled") });
        assert_eq!(ownership::of(&next), Replicas::Returned, "what is there stays with {mode:?}");
        // The pass has written what there is.
        next.spec.replicas = 7;
        assert_eq!(ownership::of(&next), Replicas::Fixed(7));
        next.status = Some(after(&next, &applied(7, WHOLE(7), json!([])), 2));
        next.spec.replicas = 3;
        assert_eq!(ownership::of(&next), Replicas::Fixed(3), "from then on it is the new owner's");
        // And back: the autoscaler goes on with what the Deployment has.
        next.spec.scaling = pool.spec.scaling.clone();
        assert_eq!(ownership::of(&next), Replicas::Scaled(1));
    }
}

#[test]
fn a_number_that_was_set_aside_is_handed_back_after_passes_that_fail() {
    let mut scaled = pool(json!({"replicas": 3, "scaling": {"minReplicas": 1, "maxReplicas": 20}}));
    scaled.status = Some(after(&scaled, &applied(7, WHOLE(7), json!([])), 1));
    let failure = || Err(Error::Validate(validate::Error::ClaimMissing { claim: "mine".to_owned() }));
    for mode in [None, Some(ScalingMode::External), Some(ScalingMode::Advise)] {
        let mut next = scaled.clone();
        next.spec.scaling =
            mode.map(|mode| crds::Scaling { mode, ..scaled.spec.scaling.clone().expect("it is scaled") });
        for second in [2, 3] {
            next.status = Some(after(&next, &failure(), second));
            assert_eq!(ownership::of(&next), Replicas::Returned, "{mode:?} after {} failures", second - 1);
        }
        // Somebody writes it: it is theirs, and stays theirs where they write the old number again.
        let mut written = next.clone();
        written.spec.replicas = 9;
        written.status = Some(after(&written, &failure(), 4));
        written.spec.replicas = 3;
        assert_eq!(ownership::of(&written), Replicas::Fixed(3), "{mode:?}");
        // A good pass hands it back, and forgets it.
        next.status = Some(after(&next, &applied(7, WHOLE(7), json!([])), 4));
        assert_eq!(ownership::of(&next), Replicas::Fixed(3), "{mode:?}");
    }
    // The other way round: who takes over in a pass that fails has noted what was written.
    let mut begins = scaled.clone();
    begins.status = None;
    begins.status = Some(after(&begins, &failure(), 1));
    assert_eq!(begins.status.and_then(|status| status.scaling?.replicas_set_aside), Some(3));
}

#[test]
fn what_is_handed_back_is_what_there_is() {
    assert_eq!(ownership::handed_back(Some(7), 3), 7);
    assert_eq!(ownership::handed_back(Some(0), 3), 0, "a pool that sleeps");
    assert_eq!(ownership::handed_back(None, 3), 3, "there is no Deployment");
}

#[test]
fn the_autoscalers_word_joins_what_a_pass_has_said() {
    let mut scaled = pool(json!({"replicas": 3, "scaling": {"maxReplicas": 20}}));
    let passed = after(&scaled, &applied(7, WHOLE(7), json!([])), 1);
    let report = Report {
        uid: None,
        generation: Some(2),
        scaling: ScalingStatus { desired: Some(9), pulling: Some(4), ..ScalingStatus::default() },
        active: Observed::new("ScalingActive", State::True, "Active", "from 7 to 9 agents"),
    };
    let told = report.clone().in_status(passed.clone(), Timestamp::from_second(5).expect("a time"));
    let scaling = told.scaling.clone().expect("it is scaled");
    assert_eq!((scaling.mode, scaling.replicas_set_aside), (Some(ScalingMode::Apply), Some(3)));
    assert_eq!((scaling.desired, scaling.pulling), (Some(9), Some(4)));
    assert_eq!(state(&told.conditions, "ScalingActive"), State::True);
    assert_eq!((ready(&told), told.conditions.len()), (ready(&passed), passed.conditions.len()));
    let again = report.clone().in_status(told.clone(), Timestamp::from_second(99).expect("a time"));
    assert_eq!(again, told, "time alone changes nothing");
    // The next pass leaves it as it is.
    scaled.status = Some(told.clone());
    assert_eq!(after(&scaled, &applied(7, WHOLE(7), json!([])), 99), told);
    // A pool that is not scaled any more has no place for it.
    scaled.spec.scaling = None;
    let fixed = after(&scaled, &applied(7, WHOLE(7), json!([])), 100);
    assert_eq!(report.in_status(fixed.clone(), Timestamp::from_second(101).expect("a time")), fixed);
}
