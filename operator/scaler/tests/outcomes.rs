//! What is counted of a run: its pod-seconds, waits and changes of direction, whatever the trace.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

use scaler::{
    ColdStart, Settings,
    simulate::{
        chain::Chain,
        clairvoyant::{self, Limits},
        docket::Docket,
        engine::{World, run},
        generate::{self, Shape},
        outcome::Outcome,
        policy::{Command, Policy, View},
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

fn course(trace: &Trace) -> Vec<(f64, u64, u32)> {
    let (chain, world) = (Chain::single(trace), world());
    run(&chain, &world, Rival::StaticPeak.policies(&[], &chain, &world), true).course
}

#[test]
fn the_course_of_pods_that_never_change_goes_on_to_the_end_and_follows_demand() {
    let trace = generate::trace(Shape::Poisson, 1);
    let last = trace.jobs.last().map_or(0.0, |job| job.arrival);
    let course = course(&trace);
    let end = course.last().map_or(0.0, |point| point.0);
    assert!((end / last - 1.0).abs() < 0.01, "{end} s of {last} s");
    let tasks = |part: std::ops::Range<f64>| course.iter().filter(move |point| part.contains(&point.0)).map(|it| it.1);
    // Fifteen tasks are in work on average.
    for hour in 1..6 {
        let from = f64::from(hour) * 3_600.0;
        assert!(tasks(from..from + 300.0).max() > Some(15) && tasks(from..from + 300.0).min() < Some(15), "{hour}");
    }
}

#[test]
fn the_course_of_many_tasks_is_bounded_and_keeps_the_most_at_once() {
    // A hundred thousand tasks, one after another, and once twenty together.
    let mut jobs: Vec<(f64, f64)> = (0..100_000).map(|task| (100.0 + f64::from(task) * 0.1, 0.05)).collect();
    jobs.splice(50_000..50_000, [(jobs[50_000].0, 0.05); 20]);
    let course = course(&trace(&jobs));
    assert!((10_000..70_000).contains(&course.len()), "{} points", course.len());
    assert_eq!(course.iter().map(|point| point.1).max(), Some(21));
}

/// One pod more or less at every look, six times an hour.
struct ToAndFro;

impl Policy for ToAndFro {
    fn tick(&mut self, view: &View) -> Command {
        view.to(if view.desired == 2 { 3 } else { 2 }, 600.0)
    }

    fn restart(&mut self) {}
}

#[test]
fn changes_of_direction_fall_into_the_hours_since_a_clock_s_trace_began() {
    let jobs: Vec<(f64, f64)> = (0..6).map(|hour| (140_400.0 + 3_600.0 * f64::from(hour), 5.0)).collect();
    let chain = Chain::single(&Trace { began: 140_400.0, ..trace(&jobs) });
    let outcome = run(&chain, &world(), vec![Box::new(ToAndFro)], false).outcome;
    assert_eq!(outcome.reversals_median_hour, 6.0);
}

fn planned(jobs: &[(f64, f64)]) -> Outcome {
    let trace = trace(jobs);
    let limits = Limits { slo: 60.0, slots: 4, max_replicas: 40, began: 0.0 };
    clairvoyant::plan(&trace.jobs, &limits, &ColdStart::constant(10.0), 1).outcome(&trace, 60.0, 10.0)
}

#[test]
fn the_plan_that_knows_all_has_its_hours_without_pods_and_its_changes_of_direction() {
    let of = planned(&[(0.0, 1.0), (10_000.0, 1.0)]);
    assert!(of.time_at_zero > 9_000.0 && of.time_at_zero < 10_000.0, "{of:?}");
    // Up, down, and up again; that the run is over is no change.
    assert_eq!(of.changes, 3.0);
    assert!((of.reversals_per_hour - 2.0 / (10_000.0 / 3_600.0)).abs() < 0.01, "{of:?}");
    // Two pods for eight tasks that come at once are one change.
    assert_eq!(planned(&[(100.0, 200.0); 8]).changes, 1.0);
}

#[test]
fn a_pod_that_takes_the_place_of_another_within_a_second_is_no_change() {
    // As an autoscaler, which looks once a second, would see it: two, and one from 300 s on.
    let lives = vec![(100.0, 200.2), (200.6, 300.0), (100.0, 400.0)];
    let plan = clairvoyant::Plan { lives, starts: vec![100.0], ..clairvoyant::Plan::default() };
    assert_eq!(plan.outcome(&trace(&[(100.0, 1.0)]), 60.0, 10.0).changes, 2.0);
}
