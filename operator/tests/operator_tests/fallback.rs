//! Falling back to the CPU and coming back: only for want of the device, never twice in a while, and never from memory alone.

use crate::support::{pool, validated};
use crds::{AgentPool, AgentPoolStatus, FallbackStatus};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    jiff::Timestamp,
};
use operator::{
    agent_pool::{
        build,
        fallback::{self, Placement},
        status::{self, Applied},
        want,
    },
    condition::{State, state},
};
use serde_json::{Value, json};

const WANT: &str = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available: 1 No \
                    preemption victims found for incoming pod.";
const PAUSE: i64 = 30 * 60;
const TRIAL: i64 = 5 * 60;

/// A pool as it passes through time: each pass sees the Deployment and pods that the test says, and remembers in its status.
struct World {
    pool: AgentPool,
}

impl World {
    fn new() -> Self {
        Self { pool: pool(json!({"replicas": 1, "device": {"kind": "Gpu", "fallback": "Cpu"}})) }
    }

    fn placement(&self, second: i64) -> Placement {
        fallback::placement(&self.pool, at(second))
    }

    /// A pass at a time that sees these pods; what it built for.
    fn pass(&mut self, second: i64, pods: &[Value]) -> Placement {
        let placement = self.placement(second);
        let ready = pods.iter().filter(|pod| pod["status"]["conditions"][0]["type"] == "Ready").count();
        let is_whole = ready == 1 && pods.len() == 1;
        let status = json!({"observedGeneration": 5, "replicas": pods.len(), "readyReplicas": ready,
            "updatedReplicas": if is_whole { 1 } else { 0 }});
        let deployment = json!({"metadata": {"generation": 5}, "spec": {"replicas": 1, "selector": {}, "template": {}},
            "status": status});
        let deployment: Deployment = serde_json::from_value(deployment).expect("a Deployment");
        let seen = if is_whole { json!([]) } else { json!(pods) };
        let pods: Vec<Pod> = serde_json::from_value(seen).expect("pods");
        let status =
            status::after(&self.pool, &Ok(Applied { deployment, pods: pods.iter().collect(), placement }), at(second));
        self.pool.status = Some(status);
        placement
    }

    fn status(&self) -> &AgentPoolStatus {
        self.pool.status.as_ref().expect("a pass was made")
    }

    fn fallback(&self) -> Option<&FallbackStatus> {
        self.status().fallback.as_ref()
    }

    fn schedulable(&self) -> (State, String, String) {
        let conditions = &self.status().conditions;
        let said = conditions.iter().find(|condition| condition.type_ == "Schedulable").expect("always there");
        (state(conditions, "Schedulable"), said.reason.clone(), said.message.clone())
    }

    /// Fallen back at second 31, with an agent that works on the CPU.
    fn fallen() -> Self {
        let mut world = Self::new();
        world.pass(31, &[waiting(1, WANT)]);
        assert_eq!(world.pass(32, &[on_cpu()]), Placement::Cpu);
        world
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn pod(limits: Value, node: bool, condition: Value) -> Value {
    let spec = json!({"containers": [{"name": "agent", "resources": {"limits": limits}}],
        "nodeName": node.then_some("node-1")});
    json!({"metadata": {"name": "p"}, "spec": spec, "status": {"conditions": [condition]}})
}

/// An agent that has waited for the device since a time.
fn waiting(since: i64, message: &str) -> Value {
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "lastTransitionTime": at(since).to_string()});
    pod(json!({"cpu": "1", "nvidia.com/gpu": "1"}), false, condition)
}

fn on_gpu(ready: bool) -> Value {
    let kind = if ready { "Ready" } else { "PodScheduled" };
    pod(json!({"nvidia.com/gpu": "1"}), true, json!({"type": kind, "status": "True"}))
}

/// An agent on the device that has ended: the kubelet did not admit it, or evicted it. Its ReplicaSet leaves it on the list.
fn failed_on_gpu() -> Value {
    let mut pod = on_gpu(false);
    pod["status"]["phase"] = json!("Failed");
    pod
}

fn on_cpu() -> Value {
    pod(json!({"cpu": "1"}), true, json!({"type": "Ready", "status": "True"}))
}

#[test]
fn a_pool_falls_back_when_its_agents_have_waited_for_the_device_alone() {
    let mut world = World::new();
    world.pass(30, &[waiting(1, WANT)]);
    assert_eq!((world.fallback(), world.schedulable().0), (None, State::False), "29 s are too short");
    assert_eq!(world.pass(31, &[waiting(1, WANT)]), Placement::Device);
    let fallen = world.fallback().expect("it has waited for 30 s");
    assert!(fallen.missing.ends_with("1 Insufficient nvidia.com/gpu"), "{}", fallen.missing);
    assert_eq!(world.schedulable().0, State::Unknown, "nobody is placed yet");

    assert_eq!(world.pass(32, &[on_cpu()]), Placement::Cpu);
    let (state, reason, message) = world.schedulable();
    assert_eq!((state, reason.as_str()), (State::True, "FellBack"));
    assert!(message.contains("Insufficient nvidia.com/gpu") && message.contains("1970-01-01T00:30:31Z"), "{message}");
}

#[test]
fn only_who_asks_falls_back() {
    for device in [json!({"kind": "Gpu"}), json!({"kind": "Cpu"})] {
        let mut world = World { pool: pool(json!({"device": device})) };
        world.pass(500, &[waiting(1, WANT)]);
        assert_eq!((world.fallback(), world.schedulable().1.as_str()), (None, "NoNodeFits"));
    }
}

#[test]
fn nothing_else_that_is_missing_is_a_reason() {
    for message in [
        "0/1 nodes are available: 1 Insufficient cpu.",
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient nvidia.com/gpu.",
    ] {
        let mut world = World::new();
        world.pass(500, &[waiting(1, message)]);
        assert_eq!((world.fallback(), world.schedulable().0), (None, State::False), "{message}");
    }
}

#[test]
fn a_pool_of_which_one_agent_has_the_device_waits_for_more() {
    let mut world = World::new();
    world.pass(500, &[on_gpu(false), waiting(1, WANT)]);
    assert_eq!(world.fallback(), None);
}

#[test]
fn an_agent_that_has_ended_holds_no_device() {
    let mut world = World::new();
    world.pass(31, &[failed_on_gpu(), waiting(1, WANT)]);
    assert!(world.fallback().is_some());

    let mut world = World::fallen();
    let begun = 31 + PAUSE;
    let seen = |since| [on_cpu(), failed_on_gpu(), waiting(since, WANT)];
    assert_eq!(world.pass(begun, &seen(begun)), Placement::Trial);
    world.pass(begun + TRIAL, &seen(begun));
    assert_eq!(world.placement(begun + TRIAL + 1), Placement::Cpu, "the trial is over");
}

#[test]
fn agents_that_have_ended_are_not_scheduled() {
    let mut world = World::new();
    world.pool.spec.device.fallback = None;
    world.pass(1, &[failed_on_gpu()]);
    assert_eq!(world.schedulable().1, "Pending", "its successor may fit nowhere");
    let mut refused = waiting(1, WANT);
    refused["status"]["phase"] = json!("Failed");
    world.pass(2, &[refused, on_gpu(false)]);
    assert_eq!(world.schedulable().1, "Scheduled", "nobody who stays was refused a node");
}

#[test]
fn another_process_goes_on_from_the_status_and_nothing_changes_in_between() {
    let world = World::fallen();
    // Nothing but the object is left.
    let text = serde_json::to_string(&world.pool).expect("plain data");
    let mut world = World { pool: serde_json::from_str(&text).expect("a pool") };
    let before = world.status().clone();
    for second in [40, 500, 31 + PAUSE - 1] {
        assert_eq!(world.pass(second, &[on_cpu()]), Placement::Cpu);
        assert_eq!(*world.status(), before, "time alone changes nothing");
    }
}

#[test]
fn the_device_is_tried_after_a_while_and_agents_on_the_cpu_stay_meanwhile() {
    let mut world = World::fallen();
    let begun = 31 + PAUSE;
    assert_eq!(world.pass(begun, &[on_cpu(), waiting(begun, WANT)]), Placement::Trial);
    assert_eq!(world.schedulable().1, "FellBack");
    assert_eq!(world.pass(begun + TRIAL - 1, &[on_cpu(), waiting(begun, WANT)]), Placement::Trial);
    // It is over, without the device: the next is as far away as the first.
    world.pass(begun + TRIAL, &[on_cpu(), waiting(begun, WANT)]);
    assert_eq!(world.pass(begun + TRIAL + 1, &[on_cpu()]), Placement::Cpu);
    assert_eq!(world.placement(begun + TRIAL + PAUSE - 1), Placement::Cpu);
    assert_eq!(world.placement(begun + TRIAL + PAUSE), Placement::Trial);
}

#[test]
fn a_pool_that_grows_while_the_device_is_tried_gets_its_agents_first() {
    let mut world = World::fallen();
    let begun = 31 + PAUSE;
    world.pass(begun, &[on_cpu(), waiting(begun, WANT)]);
    world.pass(begun + 1, &[on_cpu(), waiting(begun, WANT), waiting(begun, WANT)]);
    assert_eq!(world.placement(begun + 2), Placement::Cpu);
}

#[test]
fn a_trial_that_is_placed_lasts_until_it_is_ready_and_ends_the_fallback() {
    let mut world = World::fallen();
    let begun = 31 + PAUSE;
    world.pass(begun, &[on_cpu(), waiting(begun, WANT)]);
    for second in [begun + 60, begun + 10 * TRIAL] {
        world.pass(second, &[on_cpu(), on_gpu(false)]);
        assert!(world.fallback().is_some(), "its models may take long");
    }
    world.pass(begun + 10 * TRIAL + 1, &[on_cpu(), on_gpu(true)]);
    assert_eq!(world.fallback(), None);
    assert_eq!(world.pass(begun + 10 * TRIAL + 2, &[on_gpu(true)]), Placement::Device);
    assert_eq!(world.schedulable().1, "Scheduled");
}

#[test]
fn another_device_is_tried_at_once_and_another_number_of_agents_is_no_other_device() {
    let mut world = World::fallen();
    world.pool.spec.replicas = 7;
    world.pool.metadata.generation = Some(9);
    assert_eq!(world.placement(100), Placement::Cpu);
    world.pool.spec.device.resource = Some("nvidia.com/mig-1g.10gb".to_owned());
    assert_eq!(world.pass(100, &[on_cpu(), waiting(100, WANT)]), Placement::Trial);
    assert_eq!(world.placement(100 + TRIAL - 1), Placement::Trial, "and it is remembered that it is");
    assert!(world.fallback().is_some_and(|fallback| fallback.trying));
}

#[test]
fn without_the_field_agents_are_placed_on_the_device_again() {
    let mut world = World::fallen();
    world.pool.spec.device.fallback = None;
    assert_eq!(world.pass(100, &[on_cpu()]), Placement::Device);
    assert_eq!(world.fallback(), None);
}

#[test]
fn a_pool_of_none_begins_where_it_was_and_tries_when_it_has_agents() {
    let mut world = World::fallen();
    world.pool.status.as_mut().expect("a status").replicas = 0;
    assert_eq!(world.placement(31 + PAUSE), Placement::Cpu);
    assert_eq!(fallback::until_next(world.fallback(), at(31 + PAUSE)), None, "nobody looks again for that alone");
    world.pool.spec.device.resource = Some("example.com/gpu".to_owned());
    assert_eq!(world.placement(100), Placement::Device);
}

#[test]
fn agents_that_fell_back_ask_for_no_device_and_read_a_file_that_says_cpu() {
    let spec = json!({"device": {"kind": "Gpu", "fallback": "Cpu", "memoryFraction": 0.5, "nodeSelector": {"class": "a100"},
        "tolerations": [{"key": "nvidia.com/gpu"}], "claims": [{"name": "link", "template": "fast"}], "resource": "example.com/gpu"}});
    let mut built = validated(&pool(spec));
    let of = |built: &_| {
        let prepared = build::all(built);
        let find = |kind: &str| {
            prepared
                .before
                .iter()
                .chain([&prepared.deployment])
                .map(|child| child.object().clone())
                .find(|object| object["kind"] == kind)
        };
        (
            find("Deployment").expect("a Deployment")["spec"].clone(),
            find("ConfigMap").expect("a ConfigMap")["data"].clone(),
        )
    };
    let (device, files) = of(&built);
    assert_eq!(device["strategy"]["rollingUpdate"], json!({"maxSurge": 0, "maxUnavailable": 1}));
    built.placement = Placement::Trial;
    let (trial, files_of_trial) = of(&built);
    assert_eq!(trial["template"], device["template"]);
    assert_eq!(trial["strategy"]["rollingUpdate"], json!({"maxSurge": 1, "maxUnavailable": 0}));
    built.placement = Placement::Cpu;
    let (cpu, files_of_cpu) = of(&built);
    assert_eq!(cpu["strategy"]["rollingUpdate"], json!({"maxSurge": 1, "maxUnavailable": 0}));
    let pod = &cpu["template"]["spec"];
    for field in ["nodeSelector", "tolerations", "resourceClaims"] {
        assert!(!device["template"]["spec"][field].is_null() && pod[field].is_null(), "{field}");
    }
    let agent = &pod["containers"][0];
    assert_eq!(
        agent["resources"]["limits"].as_object().map(|limits| limits.keys().collect::<Vec<_>>()),
        Some(vec![&"memory".to_owned()])
    );
    assert!(agent["resources"]["claims"].is_null());
    let read = |agent: &Value| -> Value {
        let path = agent["args"][2].as_str().expect("--config FILE").to_owned();
        let worker: Value =
            serde_json::from_str(files[path.trim_start_matches("/etc/docket/")].as_str().expect("a file"))
                .expect("JSON");
        serde_json::from_str(files[worker["resources"][0].as_str().expect("a name")].as_str().expect("a file"))
            .expect("JSON")
    };
    assert_eq!(read(agent)["spec"]["device"], json!({"kind": "Cpu", "memoryFraction": 0.5}));
    let on_device = &device["template"]["spec"]["containers"][0];
    assert_eq!(read(on_device)["spec"]["device"], json!({"kind": "Gpu", "memoryFraction": 0.5}));
    // An agent that starts again, whatever is being tried, finds its own.
    assert_eq!((&files, &files), (&files_of_trial, &files_of_cpu));
}

fn is_wanting(device: Value, reasons: &str, expected: bool) {
    let pool: crds::AgentPoolSpec = serde_json::from_value(json!({"device": device})).expect("a pool");
    let after = "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
    for message in
        [format!("0/3 nodes are available: {reasons}. {after}"), format!("0/3 nodes are available: {reasons}.")]
    {
        assert_eq!(want::is_of_device_alone(&pool, &message), expected, "{message}");
    }
}

#[test]
fn the_device_is_what_some_node_lacks_alone() {
    let gpu = || json!({"kind": "Gpu"});
    is_wanting(gpu(), "3 Insufficient nvidia.com/gpu", true);
    is_wanting(gpu(), "1 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint {role: }", true);
    is_wanting(gpu(), "3 Insufficient nvidia.com/gpu, 3 Insufficient cpu", false);
    is_wanting(gpu(), "1 Insufficient cpu, 3 Insufficient nvidia.com/gpu", true);
    is_wanting(gpu(), "3 Insufficient cpu", false);
    is_wanting(gpu(), "3 Insufficient nvidia.com/gpu-memory", false);
    is_wanting(gpu(), "3 node(s) didn't match Pod's node affinity/selector", false);
    is_wanting(gpu(), "3 cannot allocate all claims", false);
    is_wanting(json!({"kind": "Gpu", "resource": "example.com/rare"}), "3 Insufficient example.com/rare", true);
    is_wanting(
        json!({"kind": "Gpu", "nodeSelector": {"class": "a100"}}),
        "3 node(s) didn't match Pod's node affinity/selector",
        true,
    );
    is_wanting(
        json!({"kind": "Gpu", "claims": [{"name": "a", "template": "b"}]}),
        "3 cannot allocate all claims",
        true,
    );
}

#[test]
fn other_messages_are_of_no_device() {
    let pool: crds::AgentPoolSpec = serde_json::from_value(json!({"device": {"kind": "Gpu"}})).expect("a pool");
    for message in
        ["", "no nodes available to schedule pods", "0/x nodes are available: 1 Insufficient nvidia.com/gpu."]
    {
        assert!(!want::is_of_device_alone(&pool, message), "{message}");
    }
    assert_eq!(
        want::reasons("0/1 nodes are available: 1 Insufficient a/b. preemption: 0/1"),
        "0/1 nodes are available: 1 Insufficient a/b"
    );
}
