//! What faults do to other autoscalers, and what they do not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

use scaler::{
    ColdStart,
    simulate::{
        chain::Chain,
        engine::{World, run},
        faults::Fault,
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
