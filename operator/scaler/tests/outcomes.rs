//! What is counted of a run: its pod-seconds, waits and changes of direction, whatever the trace.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

use scaler::{
    ColdStart, Settings,
    simulate::{
        chain::Chain,
        docket::Docket,
        engine::{World, run},
        policy::Policy,
        rivals::Rival,
        trace::{Job, Trace},
    },
};

fn world() -> World {
    let cold_start = ColdStart::constant(10.0);
    World { slo: 60.0, max_replicas: 40, slots: 4, cold_start, faults: Vec::new(), seed: 3 }
}

/// Tasks by (arrival, service).
fn trace(jobs: &[(f64, f64)]) -> Trace {
    let jobs = jobs.iter().map(|&(arrival, service)| Job { arrival, service, size: 0 }).collect();
    Trace { name: "trace".to_owned(), began: 0.0, jobs }
}

#[test]
fn a_task_of_hours_costs_every_autoscaler_its_hours() {
    let (chain, world) = (Chain::single(&trace(&[(0.0, 18_000.0)])), world());
    let check = |name: &str, policies: Vec<Box<dyn Policy>>| {
        let outcome = run(&chain, &world, policies, false).outcome;
        assert!(outcome.pod_seconds >= 18_000.0, "{name}: {outcome:?}");
    };
    check("docket", vec![Box::new(Docket::new(Settings::between(0, world.max_replicas)))]);
    for rival in Rival::ALL {
        check(rival.name(), rival.policies(&rival.defaults(), &chain, &world));
    }
}
