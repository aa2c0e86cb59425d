//! The autoscaler's steps against a played cluster, second by second: agents with slots, pods that take time to start, a
//! ReplicaSet that takes pods away in its order. Nobody with a task in hand is ever taken.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use flow::{PodStatus, ServiceTime, WaitCounts};
use operator::scaling::{
    observe::Sight,
    pool::{Memory, Outlook, PoolScaler, Step, is_asleep},
    seen::{SeenDeployment, SeenPod},
    told::{KEPT, Told},
};
use queue::Depth;
use scaler::{Hold, Reason, Settings, Thresholds};

/// Seconds from a pod's creation to ready, and in work a task, unless a world has others.
const START: u64 = 4;
const SERVICE: u64 = 3;
pub(crate) const SLOTS: u32 = 2;
/// The broker keeps what an agent said for so long, in seconds.
const SAID: u64 = 5;

struct Agent {
    name: String,
    created: u64,
    /// Seconds from its own word that it is ready to the cluster's.
    probe: u64,
    /// When its tasks are done.
    tasks: Vec<u64>,
    rests: bool,
    waits: WaitCounts,
    marked: bool,
}

/// A pool, its queue and its pods.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) start: u64,
    pub(crate) service: u64,
    pub(crate) waiting: VecDeque<u64>,
    pub(crate) arrived: u64,
    pub(crate) finished: u64,
    replicas: u32,
    agents: Vec<Agent>,
    made: u32,
    /// Documents that were in work in a pod that was taken.
    pub(crate) interrupted: usize,
    /// Pods that find a node.
    room: usize,
    /// Seconds from the word of an agent, the first of them being 1, that it is ready to the cluster's.
    probe: fn(u32) -> u64,
    /// Whether the broker says how much waits.
    depth: bool,
    /// Whether it says what agents say.
    statuses: bool,
    /// Whether orders do not reach agents.
    deaf: bool,
    ordered: BTreeSet<String>,
    most: u32,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: 1_000_000,
            start: START,
            service: SERVICE,
            waiting: VecDeque::new(),
            arrived: 0,
            finished: 0,
            replicas: 0,
            agents: Vec::new(),
            made: 0,
            interrupted: 0,
            room: 1_000,
            probe: |_| 0,
            depth: true,
            statuses: true,
            deaf: false,
            ordered: BTreeSet::new(),
            most: 0,
        }
    }

    pub(crate) fn arrive(&mut self, tasks: u64) {
        self.arrived += tasks;
        (0..tasks).for_each(|_| self.waiting.push_back(self.now));
    }

    fn is_ready(&self, agent: &Agent) -> bool {
        self.has_node(agent) && self.now >= agent.created + self.start
    }

    fn is_ready_in_cluster(&self, agent: &Agent) -> bool {
        self.is_ready(agent) && self.now >= agent.created + self.start + agent.probe
    }

    fn has_node(&self, agent: &Agent) -> bool {
        self.agents.iter().take(self.room).any(|placed| placed.name == agent.name)
    }

    /// A second of agents and of the cluster.
    pub(crate) fn live(&mut self) {
        self.now += 1;
        let (now, service) = (self.now, self.service);
        let ready: Vec<bool> = self.agents.iter().map(|agent| self.is_ready(agent)).collect();
        for (agent, ready) in self.agents.iter_mut().zip(ready) {
            let before = agent.tasks.len();
            agent.tasks.retain(|done| *done > now);
            self.finished += (before - agent.tasks.len()) as u64;
            // Heard since the second before.
            agent.rests = !self.deaf && self.ordered.contains(&agent.name);
            while ready && !agent.rests && agent.tasks.len() < SLOTS as usize {
                let Some(since) = self.waiting.pop_front() else { break };
                agent.waits.start((now - since) as f64);
                agent.tasks.push(now + service);
            }
        }
        while self.agents.len() < self.replicas as usize {
            self.made += 1;
            let name = format!("pod-{}", self.made);
            self.agents.push(Agent {
                name,
                created: now,
                probe: (self.probe)(self.made),
                tasks: Vec::new(),
                rests: false,
                waits: WaitCounts::default(),
                marked: false,
            });
        }
        while self.agents.len() > self.replicas as usize {
            // Without a node first, then not ready in the cluster's words, then the lowest mark, then the youngest.
            let order = |index: &usize| {
                let agent = &self.agents[*index];
                (self.has_node(agent), self.is_ready_in_cluster(agent), !agent.marked, std::cmp::Reverse(agent.created))
            };
            let first = (0..self.agents.len()).min_by_key(order).expect("there are some");
            self.interrupted += self.agents.remove(first).tasks.len();
        }
        self.most = self.most.max(self.replicas);
    }

    pub(crate) fn sight(&self) -> Sight {
        let pods = self.agents.iter().map(|agent| SeenPod {
            name: agent.name.clone(),
            uid: agent.name.clone(),
            created: agent.created as f64,
            ready_since: self.is_ready_in_cluster(agent).then_some((agent.created + self.start + agent.probe) as f64),
            has_node: self.has_node(agent),
            leaving: false,
            marked: agent.marked,
            ..SeenPod::default()
        });
        let pods = Some(pods.collect());
        let seconds = self.service as f64;
        let service = vec![ServiceTime { count: 5, mean: seconds, p95: seconds, ..Default::default() }];
        let agents = self.agents.iter().filter(|agent| self.is_ready(agent)).map(|agent| PodStatus {
            name: agent.name.clone(),
            slots: SLOTS,
            in_work: agent.tasks.len() as u32,
            ready: true,
            cordoned: agent.rests,
            service_times: service.clone(),
            waits: Some(agent.waits.clone()),
            began: agent.created * 1_000,
            ..PodStatus::default()
        });
        let depth = Depth {
            pending: [0, 0, self.waiting.len() as u64, 0],
            in_work: self.agents.iter().map(|agent| agent.tasks.len() as u64).sum(),
            oldest: None,
            oldest_wait: self.waiting.front().map(|since| Duration::from_secs(self.now - since)),
            arrived: self.arrived,
            finished: self.finished,
        };
        Sight {
            at: self.now as f64,
            depth: self.depth.then_some(depth),
            agents: self.statuses.then(|| agents.collect()),
            pods,
            ..Sight::default()
        }
    }

    fn deployment(&self) -> SeenDeployment {
        SeenDeployment { replicas: self.replicas, ..SeenDeployment::default() }
    }

    /// A second with the autoscaler.
    fn second(&mut self, scaler: &mut PoolScaler, settings: &Settings) -> Step {
        self.live();
        self.step(scaler, settings, &self.sight(), Outlook::default())
    }

    /// What the autoscaler decides by that is done.
    pub(crate) fn step(
        &mut self,
        scaler: &mut PoolScaler,
        settings: &Settings,
        sight: &Sight,
        outlook: Outlook,
    ) -> Step {
        let now = self.now as f64;
        let step = scaler.step(settings, sight, Some(&self.deployment()), SLOTS, outlook, now);
        self.ordered = step.choice.resting.clone();
        if let Some(replicas) = step.replicas {
            for agent in &mut self.agents {
                agent.marked |= replicas < self.replicas && step.choice.going.contains(&agent.name);
            }
            self.replicas = replicas;
        }
        for agent in &mut self.agents {
            agent.marked &= !step.unmark.contains(&agent.name);
        }
        step
    }

    /// Seconds until it is so.
    fn until(
        &mut self,
        scaler: &mut PoolScaler,
        settings: &Settings,
        longest: u64,
        what: &str,
        is_so: impl Fn(&Self, &Step) -> bool,
    ) -> u64 {
        let mut last = None;
        for second in 1..=longest {
            let step = self.second(scaler, settings);
            last = Some(step.clone());
            if is_so(self, &step) {
                return second;
            }
        }
        panic!("{what} took more than {longest} s: {} pods, {} wait: {last:#?}", self.replicas, self.waiting.len())
    }
}

fn settings() -> Settings {
    Settings { cooldown_to_zero: Some(30.0), ..Settings::between(0, 20) }
}

fn is_done(world: &World, _: &Step) -> bool {
    world.finished == world.arrived
}

#[test]
fn a_burst_wakes_a_pool_and_it_goes_back_to_sleep_without_interrupting_anything() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    let first = world.second(&mut scaler, &settings());
    assert!(is_asleep(&world.sight(), &first), "{first:#?}");
    world.arrive(100);
    let first = world.second(&mut scaler, &settings());
    assert!(first.replicas.is_some_and(|replicas| replicas > 1), "several at once: {first:#?}");
    assert!(first.is_news && !is_asleep(&world.sight(), &first));
    world.until(&mut scaler, &settings(), 120, "the burst", is_done);
    let asleep = |world: &World, step: &Step| is_asleep(&world.sight(), step);
    let seconds = world.until(&mut scaler, &settings(), 600, "falling asleep", asleep);
    assert!(seconds >= 30, "not before the cool-down: {seconds} s");
    assert_eq!((world.interrupted, world.agents.len()), (0, 0));
    assert!(world.most <= 20);
    let last = scaler.told.front().expect("decisions are kept");
    assert_eq!((last.to, last.reason.as_str()), (0, "ToZero"));
    assert!(scaler.told.len() <= 10 && scaler.told.back().is_some_and(|first| first.reason == "Up:Backlog"));
}

/// Load that comes and goes, until all of it is done.
fn comes_and_goes(world: &mut World, scaler: &mut PoolScaler) {
    for round in 0_u64..40 {
        world.arrive(1 + round * 37 % 60);
        for second in 0..(20 + round * 13 % 50) {
            if second % (3 + round % 5) == 0 {
                world.arrive(round % 4);
            }
            world.second(scaler, &settings());
        }
    }
    world.until(scaler, &settings(), 300, "the rest", is_done);
}

#[test]
fn agents_at_work_that_the_cluster_calls_ready_late_or_never_are_not_interrupted() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.probe = |number| if number % 3 == 0 { 1_000_000 } else { 10 };
    comes_and_goes(&mut world, &mut scaler);
    world.until(&mut scaler, &settings(), 900, "falling asleep", |world, _| world.agents.is_empty());
    assert_eq!(world.interrupted, 0);
}

#[test]
fn load_that_comes_and_goes_interrupts_nothing() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    comes_and_goes(&mut world, &mut scaler);
    let seconds = world.until(&mut scaler, &settings(), 900, "falling asleep", |world, _| world.agents.is_empty());
    assert!((30..=40).contains(&seconds), "the cool-down was 30 s: {seconds} s");
    assert_eq!(world.interrupted, 0);
    assert!(scaler.memory.waits.sums().is_some_and(|waits| waits.started == world.arrived), "{:?}", world.arrived);
}

#[test]
fn a_leader_that_follows_goes_on_where_the_one_before_stopped() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.arrive(60);
    for _ in 0..8 {
        world.second(&mut scaler, &settings());
    }
    let before = world.replicas;
    let kept = serde_json::to_string(&scaler.memory).expect("plain data");
    assert!(kept.len() < 8_192, "{} bytes", kept.len());
    // What is ordered holds no longer when nobody says it again.
    world.ordered.clear();
    (0..SAID).for_each(|_| world.live());
    let told = scaler.told.iter().cloned().collect();
    let mut next = PoolScaler::new(serde_json::from_str(&kept).expect("it was written so"), told);
    let step = world.second(&mut next, &settings());
    assert!(step.decision.replicas.abs_diff(before) <= 2, "from {before}: {:#?}", step.decision);
    world.until(&mut next, &settings(), 120, "the rest", is_done);
    world.until(&mut next, &settings(), 600, "falling asleep", |world, _| world.agents.is_empty());
    assert_eq!(world.interrupted, 0);
}

/// For a minute the broker does not say how much waits, or what agents say, or neither.
fn holds_without(depth: bool, statuses: bool) {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.arrive(60);
    for _ in 0..12 {
        world.second(&mut scaler, &settings());
    }
    let before = world.replicas;
    (world.depth, world.statuses) = (depth, statuses);
    for second in 0..60 {
        let step = world.second(&mut scaler, &settings());
        assert_eq!(step.decision.reason, Reason::Held(Hold::Missing));
        assert_eq!((world.replicas, step.choice.resting.len()), (before, 0));
        assert_eq!(step.is_news, second == 0, "a hold is told once");
    }
    assert_eq!(world.finished, 60, "all pull");
    (world.depth, world.statuses) = (true, true);
    world.until(&mut scaler, &settings(), 600, "falling asleep", |world, _| world.agents.is_empty());
    assert_eq!(world.interrupted, 0);
}

#[test]
fn a_hold_is_over_when_the_numbers_are_back_and_pushes_out_no_decision() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.arrive(60);
    for _ in 0..12 {
        world.second(&mut scaler, &settings());
    }
    let changes: Vec<Told> = scaler.told.iter().cloned().collect();
    assert!(!changes.is_empty() && changes.len() < KEPT, "{changes:?}");
    // Every other look finds no broker; there is always as much to do.
    let mut news = 0;
    for look in 0..40 {
        world.depth = look % 2 == 1;
        let (sight, now) = (world.sight(), world.now as f64 + f64::from(look) / 100.0);
        let step = scaler.step(&settings(), &sight, Some(&world.deployment()), SLOTS, Outlook::default(), now);
        assert_eq!(step.decision.reason == Reason::Held(Hold::Missing), !world.depth, "{:?}", step.decision);
        news += usize::from(step.is_news && !world.depth);
    }
    assert_eq!(news, 1, "it is the same hold");
    assert_eq!(scaler.told.iter().filter(|told| told.is_hold()).count(), 1);
    assert!(changes.iter().all(|change| scaler.told.contains(change)), "{:?}", scaler.told);
    let last = scaler.last_change().expect("there were changes");
    assert!(!last.message.contains("held"), "{last:?}");
}

#[test]
fn a_broker_that_does_not_answer_changes_nothing_and_lets_all_pull() {
    holds_without(false, false);
}

#[test]
fn agents_that_are_not_heard_change_nothing_though_the_work_is_seen() {
    holds_without(true, false);
}

#[test]
fn work_that_is_not_seen_changes_nothing_though_agents_are_heard() {
    holds_without(false, true);
}

#[test]
fn pods_that_find_no_node_do_not_keep_a_pool_awake() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.room = 3;
    world.arrive(100);
    world.until(&mut scaler, &settings(), 200, "the burst", is_done);
    world.until(&mut scaler, &settings(), 600, "falling asleep", |world, _| world.agents.is_empty());
    assert_eq!(world.interrupted, 0);
}

#[test]
fn plain_thresholds_step_up_and_down_and_interrupt_nothing() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    let queue = Thresholds { up_at: 10, down_at: 2, ..Thresholds::default() };
    let settings = Settings { queue: Some(queue), ..Settings::between(1, 9) };
    let step = world.second(&mut scaler, &settings);
    assert_eq!(step.replicas, Some(1), "the least comes without work");
    world.arrive(80);
    world.until(&mut scaler, &settings, 60, "a step up", |world, _| world.replicas == 3);
    world.until(&mut scaler, &settings, 300, "the burst", is_done);
    world.until(&mut scaler, &settings, 600, "the way down", |world, _| world.agents.len() == 1);
    assert_eq!(world.interrupted, 0);
}

#[test]
fn while_pods_are_replaced_none_are_taken_away() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.arrive(40);
    world.until(&mut scaler, &settings(), 120, "the burst", is_done);
    let (mut low, rolling) = (false, SeenDeployment { is_rolling: true, ..world.deployment() });
    for _ in 0..300 {
        world.live();
        let now = world.now as f64;
        let step = scaler.step(&settings(), &world.sight(), Some(&rolling), SLOTS, Outlook::default(), now);
        low |= step.decision.replicas < rolling.replicas;
        assert_eq!(step.replicas, None);
        assert_eq!(step.choice.going, BTreeSet::new());
    }
    assert!(low, "fewer were wanted all the same");
}

#[test]
fn an_agent_that_says_that_it_pulls_is_not_taken_however_long_ago_it_was_told_to_rest() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.arrive(40);
    world.until(&mut scaler, &settings(), 120, "the burst", is_done);
    let pods = world.agents.len();
    world.deaf = true;
    for _ in 0..300 {
        world.second(&mut scaler, &settings());
        assert_eq!(world.agents.len(), pods);
    }
    assert!(!world.ordered.is_empty(), "they are told to rest all the same");
    world.deaf = false;
    world.until(&mut scaler, &settings(), 60, "the end of all", |world, _| world.agents.is_empty());
}

#[test]
fn pods_that_a_watch_does_not_show_are_not_taken_with_the_others() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.arrive(40);
    world.until(&mut scaler, &settings(), 120, "the burst", is_done);
    let deployment = SeenDeployment { pods: world.replicas, ..world.deployment() };
    let (hidden, mut least) = (world.agents.len() - 2, world.replicas);
    for _ in 0..300 {
        world.live();
        let mut sight = world.sight();
        sight.pods.as_mut().expect("they are listed").drain(..hidden);
        let step = scaler.step(&settings(), &sight, Some(&deployment), SLOTS, Outlook::default(), world.now as f64);
        world.ordered = step.choice.resting.clone();
        least = least.min(step.replicas.unwrap_or(least));
    }
    assert!(least as usize == hidden && hidden > 0, "the two that are shown may go: {least}");
}

#[test]
fn what_took_long_to_read_is_old() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.arrive(40);
    let (sight, later) = (world.sight(), world.now as f64 + 20.0);
    let step = scaler.step(&settings(), &sight, Some(&world.deployment()), SLOTS, Outlook::default(), later);
    assert_eq!((step.replicas, step.decision.reason), (None, Reason::Held(Hold::Stale)));
}

#[test]
fn a_deployment_that_is_not_there_holds() {
    let (world, mut scaler) = (World::new(), PoolScaler::default());
    let step = scaler.step(&settings(), &world.sight(), None, SLOTS, Outlook::default(), world.now as f64);
    assert_eq!((step.replicas, step.decision.reason), (None, Reason::Held(Hold::Missing)));
}

#[test]
fn it_is_remembered_that_a_pool_had_tasks() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.second(&mut scaler, &settings());
    assert!(!scaler.memory.had_tasks);
    world.arrive(1);
    world.second(&mut scaler, &settings());
    let kept = serde_json::to_string(&scaler.memory).expect("plain data");
    world.until(&mut scaler, &settings(), 600, "falling asleep", |world, _| world.agents.is_empty());
    for memory in [&scaler.memory, &serde_json::from_str::<Memory>(&kept).expect("it was written so")] {
        assert!(memory.had_tasks);
    }
    let before: Memory = serde_json::from_str("{}").expect("a record of before");
    assert!(!before.had_tasks);
}

#[test]
fn a_pool_for_which_pods_are_wanted_that_may_not_start_yet_does_not_sleep() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    let step = world.second(&mut scaler, &settings());
    assert!(is_asleep(&world.sight(), &step));
    assert!(!is_asleep(&world.sight(), &Step { wanted: 1, ..step }));
}
