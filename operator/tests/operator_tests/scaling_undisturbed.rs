//! The broker is away for some seconds, and the tasks that were in work meanwhile took as long as that: no reason to grow.

use flow::{PodStatus, ServiceTime};
use operator::scaling::{
    observe::Sight,
    pool::{Outlook, PoolScaler, Step},
    seen::{SeenDeployment, SeenPod},
};
use queue::Depth;
use scaler::{Hold, Reason, Settings};

const SLOTS: u32 = 4;
/// Seconds that a task takes.
const QUICK: f64 = 0.02;
/// The mean of twenty, four of which took as long as the broker was away.
const DISTURBED: f64 = 2.0;
/// Seconds for which it is away.
const AWAY: u64 = 10;

/// A pool of one agent, which has time for all that comes.
struct World {
    now: u64,
    arrived: u64,
    /// The mean that the agent tells.
    mean: f64,
}

impl World {
    fn new() -> Self {
        Self { now: 1_000_000, arrived: 0, mean: QUICK }
    }

    /// A second in which so many tasks come. The last of them waits, another is in work.
    fn second(&mut self, scaler: &mut PoolScaler, tasks: u64) -> Step {
        self.now += 1;
        self.arrived += tasks;
        let time = ServiceTime { count: 20, mean: self.mean, p50: QUICK, p95: self.mean, ..ServiceTime::default() };
        let agent = PodStatus {
            name: "a".to_owned(),
            slots: SLOTS,
            in_work: 1,
            ready: true,
            service_times: vec![time],
            ..PodStatus::default()
        };
        let depth = Depth {
            pending: [0, 0, 1, 0],
            in_work: 1,
            arrived: self.arrived,
            finished: self.arrived.saturating_sub(2),
            ..Depth::default()
        };
        self.step(scaler, Sight { depth: Some(depth), agents: Some(vec![agent]), ..Sight::default() })
    }

    fn step(&self, scaler: &mut PoolScaler, sight: Sight) -> Step {
        let pod = SeenPod {
            name: "a".to_owned(),
            uid: "a".to_owned(),
            created: 999_000.0,
            ready_since: Some(999_002.0),
            has_node: true,
            ..SeenPod::default()
        };
        let sight = Sight { at: self.now as f64, pods: Some(vec![pod]), ..sight };
        let deployment = SeenDeployment { replicas: 1, ..SeenDeployment::default() };
        let settings = Settings::between(0, 12);
        scaler.step(&settings, &sight, Some(&deployment), SLOTS, Outlook::default(), self.now as f64)
    }

    /// Five tasks a second for half a minute, and then nothing is known for a while.
    fn until_the_gap_is_over(&mut self, scaler: &mut PoolScaler) {
        for _ in 0..30 {
            assert_eq!(self.second(scaler, 5).decision.replicas, 1);
        }
        for _ in 0..AWAY {
            self.now += 1;
            assert_eq!(self.step(scaler, Sight::default()).decision.reason, Reason::Held(Hold::Missing));
        }
        self.mean = DISTURBED;
    }
}

#[test]
fn tasks_that_took_as_long_as_the_broker_was_away_are_no_reason_to_grow() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.until_the_gap_is_over(&mut scaler);
    for _ in 0..50 {
        assert_eq!(world.second(&mut scaler, 5).decision.replicas, 1);
    }
    // Whoever knows nothing of before has to believe what is told.
    let mut other = PoolScaler::new(scaler.memory.clone(), Vec::new());
    assert!(world.second(&mut other, 5).decision.replicas > 2, "else this shows nothing");
}

#[test]
fn tasks_that_still_take_longer_a_minute_later_are_believed() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.until_the_gap_is_over(&mut scaler);
    let grown = (0..90).find(|_| world.second(&mut scaler, 5).decision.replicas > 2);
    assert!(grown.is_some_and(|second| second >= 58), "{grown:?}");
}

#[test]
fn tasks_that_take_longer_without_a_gap_are_believed_at_once() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    for _ in 0..30 {
        world.second(&mut scaler, 5);
    }
    world.mean = DISTURBED;
    assert!(world.second(&mut scaler, 5).decision.replicas > 2);
}

#[test]
fn after_a_long_gap_tasks_that_took_as_long_are_no_reason_to_grow_either() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.until_the_gap_is_over(&mut scaler);
    for _ in 0..400 {
        world.now += 1;
        world.step(&mut scaler, Sight::default());
    }
    let grown = (0..50).find(|_| world.second(&mut scaler, 5).decision.replicas > 1);
    assert_eq!(grown, None);
}

#[test]
fn gaps_that_do_not_end_hide_for_some_minutes_that_tasks_take_longer_and_no_more() {
    let (mut world, mut scaler) = (World::new(), PoolScaler::default());
    world.until_the_gap_is_over(&mut scaler);
    let grown = (0..420).find(|second| {
        if second % 30 == 0 {
            world.now += 1;
            world.step(&mut scaler, Sight { at: world.now as f64, ..Sight::default() });
        }
        world.second(&mut scaler, 5).decision.replicas > 2
    });
    assert!(grown.is_some_and(|second| second >= 240), "{grown:?}");
}
