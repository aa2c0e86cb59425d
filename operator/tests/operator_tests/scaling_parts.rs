//! The pure parts of the autoscaler's work in a cluster: what is made of what was read, and who is chosen to rest and to go.

use std::{collections::BTreeSet, time::Duration};

use flow::{PodStatus, ServiceTime, WaitCounts};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use operator::scaling::{
    choose::{Choice, Member, choose},
    observe::{Known, Sight, observation, service_time},
    seen::{Mirror, SeenPod},
    starts::Starts,
    waits::WaitSums,
};
use queue::Depth;
use scaler::{Pods, Waits};
use serde_json::{Value, json};

fn agent(name: &str) -> PodStatus {
    PodStatus { name: name.to_owned(), pool: "readers".to_owned(), slots: 4, ready: true, ..PodStatus::default() }
}

fn pod(name: &str) -> SeenPod {
    SeenPod { name: name.to_owned(), uid: format!("uid-{name}"), created: 100.0, has_node: true, ..SeenPod::default() }
}

fn ready(name: &str) -> SeenPod {
    SeenPod { ready_since: Some(104.0), ..pod(name) }
}

fn depth(pending: u64, in_work: u64) -> Depth {
    Depth { pending: [0, 0, pending, 0], in_work, arrived: 50, finished: 40, ..Depth::default() }
}

// Observation.

#[test]
fn what_could_not_be_read_is_missing_and_never_nothing() {
    let nothing = observation(&Sight::default(), Known { replicas: 3, slots: 4, ..Known::default() }, 200.0);
    assert_eq!((&nothing.work, nothing.arrivals, nothing.finished, nothing.waits), (&None, None, None, None));
    assert_eq!((&nothing.pods, nothing.oldest_wait, nothing.cpu, nothing.latency_p95), (&None, None, None, None));
    assert_eq!((nothing.replicas, nothing.slots_per_pod, nothing.at), (3, 4, 200.0));
    let sight = Sight { pods: Some(vec![ready("a")]), depth: Some(depth(1, 0)), agents: None, ..Sight::default() };
    assert_eq!(observation(&sight, Known::default(), 200.0).pods, None, "who is idle is not known without agents");
    let sight = Sight { pods: None, depth: Some(depth(1, 0)), agents: Some(Vec::new()), ..Sight::default() };
    assert_eq!(observation(&sight, Known::default(), 200.0).pods, None);
    let sight = Sight { pods: Some(Vec::new()), ..Sight::default() };
    let none = observation(&sight, Known::default(), 200.0);
    assert_eq!((none.work, none.pods), (None, Some(Pods::default())), "of no pods all is known");
}

#[test]
fn the_broker_and_the_agents_make_the_observation() {
    let mut busy = PodStatus { in_work: 2, interactive: 1, cpu: Some(0.5), ..agent("a") };
    busy.service_times = vec![ServiceTime { count: 10, mean: 2.0, p95: 4.0, ..ServiceTime::default() }];
    let idle = PodStatus { cpu: Some(0.1), ..agent("b") };
    let mut read = depth(7, 2);
    read.oldest_wait = Some(Duration::from_millis(2_500));
    let pods = vec![ready("a"), ready("b"), ready("silent"), pod("new"), SeenPod { leaving: true, ..ready("gone") }];
    let sight = Sight { depth: Some(read), agents: Some(vec![busy, idle]), pods: Some(pods), ..Sight::default() };
    let seen = observation(&sight, Known::default(), 103.0);
    let work = &seen.work.as_ref().expect("it was read")[0];
    assert_eq!((work.pending, work.in_work), (7, 2));
    assert_eq!(work.service.map(|service| (service.mean, service.count)), Some((2.0, 10)));
    assert_eq!((seen.arrivals, seen.finished, seen.oldest_wait), (Some(50), Some(40), Some(2.5)));
    let pods = seen.pods.expect("they were listed");
    assert_eq!((pods.busy, pods.idle, pods.draining), (2, 1, 1), "one that does not speak may be at work");
    assert_eq!(pods.starting, [3.0]);
    assert_eq!((seen.interactive, seen.latency_p95), (1.0, Some(6.5)));
    assert!((seen.cpu.expect("agents said it") - 0.3).abs() < 1e-9);
}

#[test]
fn a_pod_that_does_not_speak_is_idle_where_nothing_of_the_pool_is_in_work() {
    let busy = |in_work: u64| {
        let sight = Sight {
            depth: Some(depth(3, in_work)),
            agents: Some(Vec::new()),
            pods: Some(vec![ready("a")]),
            ..Sight::default()
        };
        observation(&sight, Known::default(), 200.0).pods.expect("they were listed").busy
    };
    assert_eq!((busy(1), busy(0)), (1, 0));
}

#[test]
fn an_agent_that_says_that_it_is_ready_is_before_the_cluster_knows() {
    let sight = Sight {
        depth: Some(depth(1, 0)),
        agents: Some(vec![agent("a")]),
        pods: Some(vec![pod("a"), pod("b")]),
        ..Sight::default()
    };
    let pods = observation(&sight, Known::default(), 101.0).pods.expect("they were listed");
    assert_eq!((pods.idle, pods.starting), (1, vec![1.0]));
}

#[test]
fn pods_that_cannot_start_hold_a_pool_up_only_while_there_is_work() {
    let pods = || Some(vec![SeenPod { has_node: false, ..pod("a") }, pod("fails"), pod("new")]);
    let starting = |depth: Depth, at: f64| {
        let mut pods = pods();
        pods.as_mut().expect("some")[2].created = at - 2.0;
        let sight = Sight { depth: Some(depth), agents: Some(Vec::new()), pods, ..Sight::default() };
        observation(&sight, Known::default(), at).pods.expect("they were listed").starting.len()
    };
    assert_eq!(starting(depth(1, 0), 900.0), 3);
    assert_eq!(starting(depth(0, 0), 900.0), 1, "the one that is on its way");
    assert_eq!(starting(depth(0, 0), 150.0), 2);
}

#[test]
fn service_times_of_all_agents_are_put_together() {
    let times = |count: u32, mean: f64, p95: f64| {
        let time = ServiceTime { count, mean, p95, ..ServiceTime::default() };
        PodStatus { service_times: vec![time], ..PodStatus::default() }
    };
    assert_eq!(service_time(&[times(0, 9.0, 9.0)]), None);
    let both = service_time(&[times(30, 1.0, 1.0), times(10, 5.0, 5.0)]).expect("measured");
    assert_eq!((both.mean, both.count), (2.0, 40));
    // Three parts at 1 and one at 5 lie 1 and 3 from their mean.
    assert!((both.deviation - 3.0_f64.sqrt()).abs() < 1e-9, "{}", both.deviation);
    let spread = service_time(&[times(10, 1.0, 1.0 + 1.645)]).expect("measured");
    assert!((spread.deviation - 1.0).abs() < 1e-9);
}

#[test]
fn a_pod_that_lacks_a_device_is_told_from_one_that_lacks_another_thing() {
    let lacks = |message: &str| {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "documents", "labels": {"docket.dev/pool": "readers"}},
            "spec": {"priority": 7, "containers": [{"name": "agent",
                "resources": {"limits": {"cpu": "1", "nvidia.com/gpu": "1"}}}]},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": message}]},
        }))
        .expect("a pod");
        let (_, seen) = SeenPod::of(&pod).expect("a pool's");
        assert_eq!((seen.priority, seen.has_node), (7, false));
        seen.lacks_device
    };
    assert!(lacks("0/3 nodes are available: 1 Insufficient memory, 2 Insufficient nvidia.com/gpu."));
    assert!(!lacks("0/3 nodes are available: 3 Insufficient cpu."));
    assert!(!lacks("0/3 nodes are available: 3 Insufficient amd.com/gpu."));
    assert!(!lacks("0/3 nodes are available: 3 cannot allocate all claims."), "it claims nothing");
}

#[test]
fn a_pod_that_lacks_what_it_claims_is_told_by_the_schedulers_words_on_claims() {
    let lacks = |limits: Value, message: &str| {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "documents", "labels": {"docket.dev/pool": "readers"}},
            "spec": {"containers": [{"name": "agent", "resources": {"limits": limits}}],
                "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "half-a-gpu"}]},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": message}]},
        }))
        .expect("a pod");
        SeenPod::of(&pod).expect("a pool's").1.lacks_device
    };
    let none = "0/3 nodes are available: 1 Insufficient cpu, 2 cannot allocate all claims. preemption: 0/3 nodes";
    assert!(lacks(json!({"cpu": "1"}), none));
    assert!(!lacks(json!({"cpu": "1"}), "0/3 nodes are available: 3 Insufficient cpu."));
    assert!(!lacks(json!({"nvidia.com/gpu": "1"}), none), "it is the resource that is shared out");
    assert!(lacks(json!({"nvidia.com/gpu": "1"}), "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."));
}

#[test]
fn a_mirror_keeps_what_matters_and_forgets_what_is_gone() {
    let pod = |name: &str, status: Value| -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "documents", "uid": name, "creationTimestamp": "1970-01-01T00:01:40Z",
                "labels": {"docket.dev/pool": "readers"},
                "annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1000"}},
            "spec": {"nodeName": "n", "containers": []}, "status": status,
        }))
        .expect("a pod")
    };
    let is_ready =
        json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:01:44Z"}]});
    let mirror = Mirror::default();
    mirror.take(Event::Apply(pod("early", json!({}))), SeenPod::of);
    assert_eq!(mirror.by_pool(), None, "before the list is complete nothing is known");
    mirror.take(Event::<Pod>::Init, SeenPod::of);
    mirror.take(Event::InitApply(pod("a", is_ready.clone())), SeenPod::of);
    mirror.take(Event::InitApply(pod("done", json!({"phase": "Succeeded"}))), SeenPod::of);
    mirror.take(Event::<Pod>::InitDone, SeenPod::of);
    let key = ("documents".to_owned(), "readers".to_owned());
    let seen = |mirror: &Mirror<SeenPod>| mirror.by_pool().expect("complete").remove(&key).unwrap_or_default();
    let expected = SeenPod { created: 100.0, ready_since: Some(104.0), has_node: true, marked: true, ..self::pod("a") };
    assert_eq!(seen(&mirror), [SeenPod { uid: "a".to_owned(), ..expected }]);
    mirror.take(Event::Delete(pod("a", is_ready)), SeenPod::of);
    assert_eq!(seen(&mirror), []);
}

// Counters.

fn counts(name: &str, began: u64, waits: &[f64]) -> PodStatus {
    let mut counted = WaitCounts::default();
    waits.iter().for_each(|waited| counted.start(*waited));
    PodStatus { waits: Some(counted), began, ..agent(name) }
}

#[test]
fn waits_are_summed_over_agents_that_come_begin_anew_and_go() {
    let mut sums = WaitSums::default();
    assert_eq!(sums.sums(), None);
    sums.add(&[agent("silent")], 5.0, 1_000);
    assert_eq!(sums.sums(), None, "who counts nothing says nothing");
    // One that was there before counts from now on, one that begins later as a whole.
    sums.add(&[counts("old", 500, &[1.0, 60.0])], 5.0, 2_000);
    assert_eq!(sums.sums(), Some(Waits { started: 0, late: 0 }));
    sums.add(&[counts("old", 500, &[1.0, 60.0, 60.0]), counts("new", 2_500, &[1.0, 60.0])], 5.0, 3_000);
    assert_eq!(sums.sums(), Some(Waits { started: 3, late: 2 }));
    // It began anew; the other one is gone.
    sums.add(&[counts("old", 3_500, &[1.0])], 5.0, 4_000);
    assert_eq!(sums.sums(), Some(Waits { started: 4, late: 2 }));
    // The other was only silent for a moment.
    sums.add(&[counts("old", 3_500, &[1.0]), counts("new", 2_500, &[1.0, 60.0, 60.0])], 5.0, 5_000);
    assert_eq!(sums.sums(), Some(Waits { started: 5, late: 3 }));
    // By another target nothing can be compared, for once.
    sums.add(&[counts("old", 3_500, &[1.0, 60.0])], 0.5, 6_000);
    assert_eq!(sums.sums(), Some(Waits { started: 6, late: 3 }));
}

#[test]
fn sums_outlive_a_leader_and_count_nothing_twice() {
    let mut sums = WaitSums::default();
    sums.add(&[], 5.0, 1_000);
    sums.add(&[counts("a", 1_500, &[1.0, 60.0])], 5.0, 2_000);
    let text = serde_json::to_string(&sums).expect("plain data");
    let mut next: WaitSums = serde_json::from_str(&text).expect("it was written so");
    next.add(&[counts("a", 1_500, &[1.0, 60.0, 60.0])], 5.0, 9_000);
    assert_eq!(next.sums(), Some(Waits { started: 2, late: 1 }), "what was between is lost, not counted twice");
    next.add(&[counts("a", 1_500, &[1.0, 60.0, 60.0, 60.0])], 5.0, 10_000);
    assert_eq!(next.sums(), Some(Waits { started: 3, late: 2 }));
}

#[test]
fn each_start_is_measured_once_also_by_the_next_leader() {
    let mut starts = Starts::default();
    starts.look(&[ready("a"), pod("b")]);
    starts.look(&[ready("a"), SeenPod { ready_since: Some(110.0), ..pod("b") }]);
    starts.look(&[SeenPod { ready_since: Some(500.0), ..pod("a") }]);
    let measured = starts.distribution().expect("two starts");
    assert_eq!(
        (measured.count, measured.quantiles),
        (2, vec![4.0, 10.0]),
        "a pod that was unready for a while is no start"
    );
    let text = serde_json::to_string(&starts).expect("plain data");
    let mut next: Starts = serde_json::from_str(&text).expect("it was written so");
    next.look(&[SeenPod { ready_since: Some(110.0), ..pod("b") }, SeenPod { ready_since: Some(120.0), ..pod("c") }]);
    assert_eq!(next.distribution().expect("three").count, 3);
    next.look(&[SeenPod { ready_since: Some(9_000.0), ..pod("stuck") }]);
    assert_eq!(next.distribution().expect("three").count, 3, "hours without a node say nothing of the next start");
    next.look(&[SeenPod { ready_since: Some(900.0), restarted: true, ..pod("again") }]);
    assert_eq!(next.distribution().expect("three").count, 3, "it may have been ready long before");
}

// Who rests and who goes.

fn member(name: &str, load: u32, cordoned: bool) -> Member {
    Member { name: name.to_owned(), ready: true, ready_in_cluster: true, load: Some(load), cordoned }
}

/// An agent that says that it is ready, of a pod that the cluster does not call ready.
fn unprobed(name: &str, load: u32, cordoned: bool) -> Member {
    Member { ready_in_cluster: false, ..member(name, load, cordoned) }
}

/// A pod whose agent has not spoken yet.
fn starting(name: &str) -> Member {
    Member { ready: false, load: None, ..unprobed(name, 0, false) }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_emptiest_rest_and_those_that_rest_go_on_resting() {
    let members = [member("a", 1, false), member("b", 3, false), member("c", 0, false)];
    assert_eq!(choose(&members, 9, 2, &names(&[])).resting, names(&["c"]));
    assert_eq!(choose(&members, 9, 1, &names(&["a"])).resting, names(&["a", "c"]), "a still finishes what it holds");
    // One more is needed: the one that still holds something comes back, so that the empty one can go.
    assert_eq!(choose(&members, 9, 2, &names(&["a", "c"])).resting, names(&["c"]));
    assert_eq!(choose(&members, 9, 5, &names(&["a", "c"])), Choice { least: 3, ..Choice::default() });
}

#[test]
fn nobody_goes_who_holds_a_task_or_may_take_one() {
    let at_work = [member("a", 1, true), member("b", 3, false), member("c", 0, false)];
    let choice = choose(&at_work, 1, 1, &names(&[]));
    assert_eq!((choice.resting, choice.going, choice.least), (names(&["a", "c"]), names(&[]), 3));
    let silent = [Member { load: None, ..member("a", 0, true) }, member("b", 0, true)];
    let choice = choose(&silent, 0, 0, &names(&["a", "b"]));
    assert_eq!((choice.going, choice.least), (names(&["b"]), 1), "what a silent one holds is not known");
}

#[test]
fn those_that_are_empty_go_first_and_the_number_follows_them() {
    let members = [member("a", 0, true), member("b", 2, true), member("c", 0, true), member("d", 1, false)];
    let choice = choose(&members, 1, 1, &names(&["a", "b", "c"]));
    assert_eq!((choice.resting, choice.going, choice.least), (names(&["a", "b", "c"]), names(&["a", "c"]), 2));
    let choice = choose(&members, 3, 1, &names(&["a", "b", "c"]));
    assert_eq!((choice.going.len(), choice.least), (1, 3));
}

#[test]
fn pods_that_are_not_ready_go_before_ready_ones_as_a_replica_set_takes_them() {
    let members = [starting("a"), starting("b"), member("c", 0, true), member("d", 0, false)];
    let choice = choose(&members, 2, 2, &names(&[]));
    assert_eq!((choice.resting, choice.going, choice.least), (names(&[]), names(&[]), 2));
    let choice = choose(&members, 1, 1, &names(&["c"]));
    assert_eq!((choice.resting, choice.going, choice.least), (names(&["c"]), names(&["c"]), 1));
}

#[test]
fn a_busy_agent_that_the_cluster_calls_not_ready_is_not_taken_in_the_place_of_an_idle_one() {
    let choice = choose(&[unprobed("a", 2, false), member("b", 0, true)], 1, 1, &names(&["b"]));
    assert_eq!((choice.resting, choice.going, choice.least), (names(&["a"]), names(&[]), 2));
    // Once it is empty and rests it is the one that goes, so that no pool waits for it without end.
    let choice = choose(&[unprobed("a", 0, true), member("b", 3, false)], 1, 1, &names(&["a"]));
    assert_eq!((choice.going, choice.least), (names(&["a"]), 1));
    // Of several, the marked one is taken before the others.
    let choice = choose(&[unprobed("a", 0, true), unprobed("b", 3, false)], 1, 1, &names(&["a"]));
    assert_eq!((choice.going, choice.least), (names(&["a"]), 1));
    let choice = choose(&[unprobed("a", 2, false), starting("b")], 1, 1, &names(&[]));
    assert_eq!(choice.least, 2, "whose process runs already is no earlier than the other");
}

/// All pods that a pool may have: of the cluster's word and the agent's, and what it holds.
fn kinds(name: &str) -> Vec<Member> {
    let silent = Member { load: None, ..member(name, 0, true) };
    let not_ready_at_work = Member { ready: false, ..unprobed(name, 1, false) };
    vec![
        member(name, 0, true),
        member(name, 0, false),
        member(name, 2, true),
        silent,
        unprobed(name, 0, true),
        unprobed(name, 0, false),
        unprobed(name, 2, true),
        starting(name),
        not_ready_at_work,
    ]
}

/// A ReplicaSet that among equals takes whom it should not.
fn takes_nobody_at_work(members: &[Member], wanted: u32, pulling: u32, resting: &BTreeSet<String>) {
    let choice = choose(members, wanted, pulling, resting);
    let is_free = |member: &Member| match member.ready {
        true => member.load == Some(0) && member.cordoned && choice.resting.contains(&member.name),
        false => member.load.is_none(),
    };
    let mut order: Vec<&Member> = members.iter().collect();
    order.sort_by_key(|member| (member.ready_in_cluster, !choice.going.contains(&member.name), is_free(member)));
    let least = choice.least as usize;
    let taken = &order[..members.len() - least];
    assert!(taken.iter().all(|member| is_free(member)), "{members:#?}: {taken:#?} for {choice:#?}");
    assert!(least >= members.len().min(wanted as usize), "{members:#?}: {choice:#?}");
}

#[test]
fn no_replica_set_takes_who_is_at_work_or_may_begin_to() {
    let (first, second, third) = (kinds("a"), kinds("b"), kinds("c"));
    for (a, b) in first.iter().flat_map(|a| second.iter().map(move |b| (a, b))) {
        for c in &third {
            let members = [a.clone(), b.clone(), c.clone()];
            for (wanted, pulling) in (0..4).flat_map(|wanted| (0..4).map(move |pulling| (wanted, pulling))) {
                for resting in [names(&[]), names(&["a"]), names(&["b", "c"])] {
                    takes_nobody_at_work(&members, wanted, pulling, &resting);
                }
            }
        }
    }
}
