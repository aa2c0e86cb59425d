//! Devices of which several pools want more than there are: who counts, what they wish, and what they get. Pure.

use crds::{AgentPool, AgentPoolStatus, FallbackStatus};
use flow::{PodStatus, ServiceTime};
use operator::scaling::{
    devices::{Wish, benefit, grants},
    observe::Sight,
    pool::{Outlook, PoolScaler, Step},
    seen::{SeenDeployment, SeenPod},
};
use queue::Depth;
use scaler::{Clamp, Reason, Settings};
use serde_json::json;

fn depth(pending: u64, in_work: u64) -> Depth {
    Depth { pending: [0, 0, pending, 0], in_work, arrived: 50, finished: 40, ..Depth::default() }
}

fn wish(pool: &str, held: u32, lacking: u32, wanted: u32) -> Wish {
    let resource = "nvidia.com/gpu".to_owned();
    let pool = ("documents".to_owned(), pool.to_owned());
    Wish { pool, resource, held, leaving: 0, lacking, priority: 0, wanted, benefit: f64::from(wanted) }
}

fn granted(wishes: &[Wish], pool: &str) -> Option<u32> {
    grants(wishes).get(&("documents".to_owned(), pool.to_owned())).copied()
}

#[test]
fn pools_are_free_while_no_device_is_missing() {
    assert!(grants(&[wish("a", 2, 0, 5), wish("b", 1, 0, 9)]).is_empty());
    assert!(
        grants(&[wish("a", 2, 3, 5)]).is_empty(),
        "a pool alone takes what there is, and its pods wait for the rest"
    );
    let other = Wish { resource: "amd.com/gpu".to_owned(), ..wish("b", 1, 0, 9) };
    assert!(grants(&[wish("a", 2, 3, 5), other]).is_empty());
}

#[test]
fn the_next_device_is_for_the_pool_that_it_helps_most_and_the_others_do_not_ask_for_it() {
    let few = wish("few", 2, 2, 4);
    let many = Wish { benefit: 1_000.0, ..wish("many", 2, 2, 4) };
    let both = [few.clone(), many.clone()];
    assert_eq!((granted(&both, "few"), granted(&both, "many")), (Some(2), Some(3)));
    let urgent = [Wish { priority: 100, ..few }, many];
    assert_eq!((granted(&urgent, "few"), granted(&urgent, "many")), (Some(3), Some(2)));
}

#[test]
fn who_asks_for_the_next_device_goes_on_asking_while_others_need_it_about_as_much() {
    let asks = |benefit: f64| Wish { benefit, ..wish("asks", 2, 1, 4) };
    let other = Wish { benefit: 100.0, ..wish("other", 2, 0, 4) };
    assert_eq!(granted(&[asks(90.0), other.clone()], "asks"), Some(3));
    assert_eq!(granted(&[other.clone(), asks(90.0)], "asks"), Some(3));
    assert_eq!(granted(&[asks(50.0), other.clone()], "asks"), Some(2));
    let alike = |pool: &str| wish(pool, 2, 1, 4);
    for pools in [["a", "b"], ["b", "a"]] {
        assert_eq!(granted(&pools.map(alike), "a"), Some(3), "whoever is looked at first");
    }
}

#[test]
fn what_a_pool_holds_it_keeps_and_one_without_any_goes_on_asking() {
    let holder = wish("holder", 4, 0, 4);
    let urgent = Wish { priority: 100, ..wish("urgent", 0, 3, 3) };
    let idle = wish("idle", 0, 1, 2);
    let all = [holder, urgent, idle];
    assert_eq!(granted(&all, "holder"), None, "it has what it wants");
    assert_eq!((granted(&all, "urgent"), granted(&all, "idle")), (Some(1), Some(1)));
    let leaving = [Wish { held: 2, leaving: 2, wanted: 2, ..all[0].clone() }, all[1].clone()];
    assert_eq!(granted(&leaving, "urgent"), None, "what becomes free is enough");
}

#[test]
fn urgent_documents_count_for_more() {
    let pending = |pending: [u64; 4]| Depth { pending, ..Depth::default() };
    assert_eq!(benefit(&pending([0, 0, 10, 0]), 3.0), 30.0);
    assert_eq!(benefit(&pending([10, 0, 0, 10]), 3.0), 135.0);
}

#[test]
fn a_pod_lacks_a_device_only_after_the_scheduler_had_its_time() {
    let pod = |created: f64, has_node: bool| SeenPod {
        name: created.to_string(),
        created,
        has_node,
        lacks_device: !has_node,
        priority: 5,
        ..SeenPod::default()
    };
    let pods = [pod(900.0, true), pod(980.0, false), pod(995.0, false), SeenPod { leaving: true, ..pod(800.0, true) }];
    let pool = ("documents".to_owned(), "readers".to_owned());
    let wish = Wish::of(pool, "nvidia.com/gpu".to_owned(), &pods, 1_000.0);
    assert_eq!((wish.held, wish.leaving, wish.lacking, wish.priority), (1, 1, 1, 5));
}

/// What a pool of three agents wants, of which one has found no device.
fn wish_of(pool: &AgentPool) -> Option<Wish> {
    let pod = |name: &str, has_node: bool| SeenPod {
        name: name.to_owned(),
        created: 900.0,
        has_node,
        lacks_device: !has_node,
        ..SeenPod::default()
    };
    let pods = vec![pod("a", true), pod("b", true), pod("c", false)];
    let times = vec![ServiceTime { count: 4, mean: 2.0, p95: 2.0, ..ServiceTime::default() }];
    let agents = vec![PodStatus { service_times: times, ..PodStatus::default() }];
    let sight = Sight { depth: Some(depth(6, 2)), agents: Some(agents), pods: Some(pods), ..Sight::default() };
    Wish::of_pool(pool, &sight, 5, 1_000.0)
}

#[test]
fn a_pool_wants_the_device_that_each_of_its_agents_asks_for() {
    let wish = wish_of(&crate::support::pool(json!({"device": {"kind": "Gpu"}, "scaling": {"maxReplicas": 9}})))
        .expect("a wish");
    assert_eq!(
        (wish.pool.0.as_str(), wish.pool.1.as_str(), wish.resource.as_str()),
        ("documents", "readers", "nvidia.com/gpu")
    );
    assert_eq!((wish.held, wish.lacking, wish.wanted, wish.benefit), (2, 1, 5, 12.0));
}

#[test]
fn who_asks_for_no_device_or_is_scaled_by_another_wants_none() {
    for spec in [
        json!({"scaling": {"maxReplicas": 9}}),
        json!({"device": {"kind": "Gpu"}}),
        json!({"device": {"kind": "Gpu"}, "scaling": {"maxReplicas": 9, "mode": "External"}}),
        json!({"device": {"kind": "Gpu"}, "scaling": {"maxReplicas": 9, "mode": "Advise"}}),
    ] {
        assert_eq!(wish_of(&crate::support::pool(spec.clone())), None, "{spec}");
    }
}

/// What a pool wants whose agents claim devices by these templates.
fn claims(name: &str, namespace: &str, templates: &[&str]) -> Wish {
    let claim = |(index, template): (usize, &&str)| json!({"name": format!("c{index}"), "template": template});
    let claims: Vec<_> = templates.iter().enumerate().map(claim).collect();
    let spec = json!({"device": {"kind": "Gpu", "claims": claims}, "scaling": {"maxReplicas": 9}});
    let mut pool = crate::support::pool(spec);
    (pool.metadata.name, pool.metadata.namespace) = (Some(name.to_owned()), Some(namespace.to_owned()));
    wish_of(&pool).expect("a wish")
}

#[test]
fn pools_that_claim_by_the_same_templates_share_what_there_is() {
    let few = Wish { benefit: 1.0, ..claims("few", "documents", &["half-a-gpu", "link"]) };
    let many = Wish { benefit: 100.0, ..claims("many", "documents", &["link", "half-a-gpu"]) };
    assert_eq!((few.held, few.lacking, few.wanted), (2, 1, 5));
    let both = [few.clone(), many];
    assert_eq!((granted(&both, "few"), granted(&both, "many")), (Some(2), Some(3)));
    for other in [
        claims("many", "documents", &["half-a-gpu"]),
        claims("many", "elsewhere", &["half-a-gpu", "link"]),
        wish("many", 2, 1, 5),
    ] {
        assert!(grants(&[few.clone(), other]).is_empty(), "nobody knows that they want the same");
    }
}

#[test]
fn a_pool_that_claims_beside_a_resource_shares_the_resource() {
    let device =
        json!({"kind": "Gpu", "resource": "nvidia.com/gpu", "claims": [{"name": "link", "template": "fast-link"}]});
    let wish =
        wish_of(&crate::support::pool(json!({"device": device, "scaling": {"maxReplicas": 9}}))).expect("a wish");
    assert_eq!(wish.resource, "nvidia.com/gpu");
}

#[test]
fn a_pool_that_fell_back_counts_for_no_device_until_it_is_back() {
    let spec = json!({"device": {"kind": "Gpu", "fallback": "Cpu"}, "scaling": {"maxReplicas": 9}});
    let mut pool = crate::support::pool(spec);
    assert!(wish_of(&pool).is_some());
    pool.status = Some(AgentPoolStatus { fallback: Some(FallbackStatus::default()), ..AgentPoolStatus::default() });
    assert_eq!(wish_of(&pool), None);
    pool.status = Some(AgentPoolStatus::default());
    assert!(wish_of(&pool).is_some());
    // So another pool that wants the same device has nobody to share it with.
    let other = wish("other", 1, 2, 4);
    let all = |pool: &AgentPool| -> Vec<Wish> { wish_of(pool).into_iter().chain([other.clone()]).collect() };
    assert_eq!(granted(&all(&pool), "other"), Some(1), "the next one helps the first pool more");
    pool.status = Some(AgentPoolStatus { fallback: Some(FallbackStatus::default()), ..AgentPoolStatus::default() });
    assert_eq!(granted(&all(&pool), "other"), None);
}

/// A pool of four agents, of which two have found no device.
struct Scarce {
    scaler: PoolScaler,
    sight: Sight,
}

impl Scarce {
    fn with(depth: Depth, in_work: u32) -> Self {
        let pods: Vec<SeenPod> = (0..4)
            .map(|number| SeenPod {
                name: format!("pod-{number}"),
                uid: format!("pod-{number}"),
                created: 100.0,
                ready_since: (number < 2).then_some(110.0),
                has_node: number < 2,
                lacks_device: number >= 2,
                ..SeenPod::default()
            })
            .collect();
        let agents = pods[..2]
            .iter()
            .map(|pod| PodStatus { name: pod.name.clone(), in_work, ready: true, ..PodStatus::default() })
            .collect();
        let sight = Sight { depth: Some(depth), agents: Some(agents), pods: Some(pods), ..Sight::default() };
        Self { scaler: PoolScaler::default(), sight }
    }

    fn at(&mut self, settings: &Settings, granted: Option<u32>, now: f64) -> Step {
        let deployment = SeenDeployment { replicas: 4, ..SeenDeployment::default() };
        let outlook = Outlook { granted, ..Outlook::default() };
        self.sight.at = now;
        self.scaler.step(settings, &self.sight, Some(&deployment), 2, outlook, now)
    }

    /// The step that takes back what was asked for in vain: not before a step down may follow a step up.
    fn limited(&mut self, settings: &Settings, granted: u32) -> Step {
        let mut steps = (1..120).map(|second| self.at(settings, Some(granted), 1_000.0 + f64::from(second)));
        steps.find(|step| step.decision.replicas < 4).expect("a step down within two minutes")
    }
}

#[test]
fn a_pool_that_may_have_fewer_takes_back_what_finds_no_device_and_says_why() {
    let settings = Settings::between(0, 20);
    let mut pool = Scarce::with(depth(300, 4), 2);
    let free = pool.at(&settings, None, 1_000.0);
    assert!(free.decision.replicas > 4 && free.wanted == free.decision.replicas, "{:?}", free.decision);
    let step = pool.limited(&settings, 2);
    assert_eq!((step.decision.replicas, step.decision.clamp, step.replicas), (2, Some(Clamp::Devices), Some(2)));
    assert_eq!(step.decision.reason, Reason::Down);
    assert!(step.wanted > 4, "what it would have is told all the same: {}", step.wanted);
    assert!(step.choice.going.is_empty(), "nobody at work goes");
}

#[test]
fn a_pool_that_has_fewer_than_its_least_for_want_of_devices_says_so() {
    let settings = Settings::between(4, 4);
    let mut pool = Scarce::with(depth(0, 0), 0);
    pool.at(&settings, None, 1_000.0);
    for granted in [3, 2] {
        let step = pool.limited(&settings, granted);
        let told = (step.decision.replicas, step.decision.clamp, step.wanted);
        assert_eq!(told, (granted, Some(Clamp::Devices), 4), "{:?}", step.decision);
    }
}
