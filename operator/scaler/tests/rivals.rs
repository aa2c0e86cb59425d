//! What faults do to other autoscalers, and what they do not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

use scaler::{
    ColdStart,
    simulate::{
        chain::Chain,
        engine::{World, run},
        faults::Fault,
        policy::{Broker, Policy, View},
        rivals::Rival,
        trace::{Job, Trace},
    },
};

fn world(faults: Vec<Fault>) -> World {
    World { slo: 60.0, max_replicas: 40, slots: 4, cold_start: ColdStart::constant(10.0), faults, seed: 3 }
}

#[test]
fn a_broker_that_tells_nothing_new_of_a_steady_load_changes_no_mean_of_it() {
    // Ten tasks in work at any time but the last part of a second; looks are at whole seconds.
    let job = |second: u32| Job { arrival: f64::from(second) + 0.5, service: 9.7, size: 0 };
    let trace = Trace { name: "steady".to_owned(), began: 0.0, jobs: (0..7_200).map(job).collect() };
    let chain = Chain::single(&trace);
    for rival in [Rival::Hpa, Rival::Knative, Rival::Aibrix] {
        let of = |faults: Vec<Fault>| {
            let world = world(faults);
            let outcome = run(&chain, &world, rival.policies(&rival.defaults(), &chain, &world), false).outcome;
            (outcome.changes, outcome.pod_seconds)
        };
        assert_eq!(of(vec![Fault::Stale]), of(Vec::new()), "{rival:?}");
    }
}

/// What a rival on its own asks for as it looks, restarts and looks on.
struct Looks {
    rival: Box<dyn Policy>,
    now: f64,
    desired: u32,
    /// Of tasks in work, in task-seconds.
    integral: f64,
}

impl Looks {
    fn new(rival: Rival) -> Self {
        let trace = Trace { name: "none".to_owned(), began: 0.0, jobs: Vec::new() };
        let (chain, world) = (Chain::single(&trace), world(Vec::new()));
        let rival = rival.policies(&rival.defaults(), &chain, &world).remove(0);
        Self { rival, now: 0.0, desired: 4, integral: 0.0 }
    }

    /// Looks on for so many seconds with so many tasks in work, and all pods ready.
    fn on(&mut self, seconds: f64, in_work: u64) -> u32 {
        let until = self.now + seconds;
        while self.now < until {
            let broker = Broker {
                pending: 0,
                in_work,
                load: self.integral,
                working: self.integral,
                arrivals: 0,
                finished: 0,
                started: 0,
                late: 0,
                oldest_wait: None,
                classes: &[],
            };
            let view = View {
                now: self.now,
                broker: Some(broker),
                foreseen: &[],
                desired: self.desired,
                busy: self.desired,
                idle: 0,
                starting: &[],
                draining: 0,
                started_in: None,
                slots: 4,
                max_replicas: 40,
            };
            let command = self.rival.tick(&view);
            self.desired = command.replicas;
            self.integral += in_work as f64 * (command.again_at - self.now);
            self.now = command.again_at;
        }
        self.desired
    }
}

#[test]
fn an_hpa_that_restarts_removes_nothing_before_its_window_has_passed() {
    // Four pods are filled to the target by 12.8 tasks; KEDA's threshold is ten tasks for a pod.
    for (rival, filling, few) in [(Rival::Hpa, 13, 3), (Rival::Keda, 40, 10)] {
        let mut looks = Looks::new(rival);
        assert_eq!(looks.on(600.0, filling), 4, "{rival:?}");
        looks.rival.restart();
        assert_eq!(looks.on(285.0, few), 4, "{rival:?}");
        assert_eq!(looks.on(60.0, few), 1, "{rival:?}");
    }
}

#[test]
fn keda_knows_after_a_restart_when_there_was_work_last() {
    let mut looks = Looks::new(Rival::Keda);
    looks.on(60.0, 10);
    assert!(looks.on(240.0, 0) > 0);
    looks.rival.restart();
    // The cooldown of 300 s counts from the work, not from the restart.
    assert_eq!(looks.on(120.0, 0), 0);
}
