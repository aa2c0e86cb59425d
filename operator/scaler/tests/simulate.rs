//! The simulator: what it reads and refuses, that it is deterministic, and that each autoscaler does what it is described to do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

use std::{cell::RefCell, rc::Rc};

use scaler::{
    ColdStart, History, Settings,
    simulate::{
        chain::{Chain, Pipeline},
        clairvoyant::floor,
        docket::Docket,
        engine::{World, run},
        faults::Fault,
        generate::{Shape, trace},
        outcome::Outcome,
        policy::{Broker, Class, Command, Policy, View},
        rivals::Rival,
        search,
        service::Service,
        trace::{Job, Trace, parse, read, read_cold_start},
        variations,
    },
};

fn world(slo: f64, slots: u32) -> World {
    World {
        slo,
        max_replicas: 40,
        slots,
        cold_start: ColdStart::known(vec![5.0, 15.0, 40.0]),
        faults: Vec::new(),
        seed: 3,
    }
}

fn docket(world: &World) -> Vec<Box<dyn Policy>> {
    let mut settings = Settings::between(0, world.max_replicas);
    settings.target.wait = world.slo;
    vec![Box::new(Docket::new(settings))]
}

/// So many tasks at once, then one an hour later.
fn burst(tasks: usize) -> Trace {
    let job = |arrival: f64| Job { arrival, service: 20.0, size: 0 };
    let mut jobs = vec![job(10.0); tasks];
    jobs.push(job(3_600.0));
    Trace { name: "burst".to_owned(), began: 0.0, jobs }
}

#[test]
fn an_allowance_that_is_not_used_puts_starts_off_and_the_promise_is_kept() {
    let (trace, world) = (trace(Shape::Poisson, 5), world(15.0, 8));
    let of = |credit: f64| {
        let mut settings = Settings::between(0, world.max_replicas);
        (settings.target.wait, settings.target.attainment, settings.tuning.credit) = (15.0, 0.97, credit);
        run(&Chain::single(&trace), &world, vec![Box::new(Docket::new(settings))], false).outcome
    };
    let (used, unused) = (of(Settings::between(0, 1).tuning.credit), of(0.0));
    assert!(used.slo_attainment >= 0.97, "{used:?}");
    assert!(
        used.pod_seconds < unused.pod_seconds && used.cold_starts < 0.8 * unused.cold_starts,
        "{used:?} {unused:?}"
    );
}

#[test]
fn a_share_for_calm_turns_less_often_and_costs_no_more_than_that() {
    let world = world(15.0, 2);
    let trace = trace(Shape::Sawtooth, 2);
    let with = |share: f64| {
        let mut settings = Settings::between(0, world.max_replicas);
        settings.target.wait = world.slo;
        settings.stabilization.cost_share = share;
        run(&Chain::single(&trace), &world, vec![Box::new(Docket::new(settings))], false).outcome
    };
    let (cheapest, calmer, calmest) = (with(0.0), with(0.05), with(0.2));
    assert!(calmer.reversals_per_hour < cheapest.reversals_per_hour, "{calmer:?}");
    assert!(calmest.reversals_per_hour < 0.5 * cheapest.reversals_per_hour, "{calmest:?}");
    // What is kept is learned from as well, so that the share is not exact.
    assert!(calmest.pod_seconds < 1.3 * cheapest.pod_seconds, "{calmest:?}");
    assert!(calmest.slo_attainment >= cheapest.slo_attainment - 0.005, "{calmest:?}");
    assert!(calmest.interrupted == 0.0, "{calmest:?}");
}

#[test]
fn a_steady_load_keeps_the_pods_that_it_fills() {
    // Fifteen tasks in work on average fill seven pods. Were tasks to gather for two pods, ten would be needed afterwards.
    let world = world(60.0, 2);
    let trace = trace(Shape::Poisson, 4);
    let last = trace.jobs.last().map_or(0.0, |job| job.arrival);
    let course = run(&Chain::single(&trace), &world, docket(&world), true).course;
    let least = course.iter().filter(|seen| (900.0..last).contains(&seen.0)).map(|seen| seen.2).min();
    assert!(least.is_some_and(|pods| pods >= 5), "{least:?} pods");
}

#[test]
fn a_trace_that_cannot_be_is_refused_with_its_line() {
    let check = |text: &str, expect: &str| {
        let error = parse("t.csv", text, None).expect_err("this cannot be").to_string();
        assert!(error.contains(expect), "{error}");
    };
    check("when,what\n", "line 1: the columns");
    check("arrival_s,service_s\n", "holds no lines");
    check("arrival_s,service_s\n1,2\n3,\n", "line 3: service_s is missing");
    check("arrival_s,service_s\n1,2\n3\n", "line 3: 1 columns, not 2");
    check("arrival_s,service_s\n5,2\n\n6,1\n", "line 3");
    check("arrival_s,service_s\n5,2\n4,2\n", "line 3: arrival_s 4 is before");
    check("arrival_s,service_s\n1,-2\n", "line 2: service_s is -2");
    check("arrival_s,service_s\n1,NaN\n", "line 2: service_s is NaN");
    check("arrival_s,service_s\ninf,1\n", "line 2: arrival_s is inf");
    check("arrival_s,service_s\n1,two\n", "line 2: service_s is \"two\"");
    check("arrival_s,input_tokens,output_tokens\n1,2,3\n", "--service");
    check("arrival_s,service_s\n1e300,2\n", "line 2: arrival_s 1");
    // Milliseconds since 1970.
    check("arrival_s,service_s\n1767625200000,2\n", "line 2: arrival_s 1767625200000");
    check("arrival_s,service_s\n0,2\n40000000,2\n", "line 3: arrival_s 40000000 is more than a year");
    check("arrival_s,service_s\n1700000000,2\n1740000000,2\n", "line 3: arrival_s 1740000000 is more than a year");
    check("arrival_s,service_s\n1,2\n1,1e39\n", "line 3");
    let service = Service::parse("1*output").expect("a formula");
    let error =
        parse("t.csv", "arrival_s,input_tokens,output_tokens\n0,1,1e39\n", Some(service)).expect_err("too long");
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn times_of_a_clock_count_from_the_monday_before_and_others_stay() {
    let read = |text: &str| parse("t.csv", &format!("arrival_s,service_s\n{text}"), None).expect("a trace");
    let arrivals = |trace: &Trace| -> Vec<f64> { trace.jobs.iter().map(|job| job.arrival).collect() };
    // A Tuesday, 15:00:00.5 and a minute later.
    let clock = read("1767711600.5,20\n1767711660.5,20\n");
    assert_eq!((arrivals(&clock), clock.began), (vec![140_400.5, 140_460.5], 140_400.5));
    let offset = read("5000000,20\n5000060,20\n");
    assert_eq!((arrivals(&offset), offset.began), (vec![5_000_000.0, 5_000_060.0], 0.0));
    // What was before the first arrival of a clock's times is not the trace's, and costs nobody anything.
    let (world, fixed) = (world(60.0, 4), Rival::StaticPeak);
    let cost = |trace: &Trace| {
        let chain = Chain::single(trace);
        run(&chain, &world, fixed.policies(&fixed.defaults(), &chain, &world), false).outcome.pod_seconds
    };
    assert!(cost(&clock) < 300.0, "{}", cost(&clock));
    assert!(cost(&offset) > 5_000_000.0, "{}", cost(&offset));
}

#[test]
fn tokens_become_seconds_by_the_formula() {
    let service = Service::parse("0.5+0.001*input + 0.02*output").expect("a formula");
    let jobs =
        parse("t.csv", "arrival_s,input_tokens,output_tokens\n0,1000,100\n", Some(service)).expect("a trace").jobs;
    assert!((jobs[0].service - 3.5).abs() < 1e-9);
    for bad in ["", "x", "1*tokens", "-1", "nan*input", "2*", "0", "0*input", "1e9"] {
        assert!(Service::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn quantiles_of_cold_starts_must_rise_evenly() {
    let folder = std::env::temp_dir().join(format!("docket-simulate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let check = |text: &str, expect: Option<&str>| {
        let file = folder.join("cold.csv");
        std::fs::write(&file, text).expect("a file");
        match (read_cold_start(&file), expect) {
            (Ok(cold), None) => assert!((cold.mean - 15.0).abs() < 1e-9 && (cold.quantile(0.75) - 20.0).abs() < 1e-9),
            (Err(error), Some(expect)) => assert!(error.to_string().contains(expect), "{error}"),
            (result, expect) => panic!("{result:?}, {expect:?}"),
        }
    };
    check("quantile,load_s\n0,5\n0.5,15\n1,25\n", None);
    check("quantile,load_s\n0,5\n0.5,4\n1,25\n", Some("line 3"));
    check("quantile,load_s\n0,5\n0.2,15\n1,25\n", Some("line 3"));
    check("quantile,load_s\n", Some("holds no lines"));
    check("q\n", Some("line 1"));
    std::fs::remove_dir_all(&folder).expect("the folder");
    assert!(read(std::path::Path::new("nowhere.csv"), None).is_err());
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_one_another() {
    let (trace, world) = (trace(Shape::FlashCrowd, 2), world(60.0, 4));
    let chain = Chain::single(&trace);
    let of = |world: &World| run(&chain, world, docket(world), false).outcome;
    assert_eq!(of(&world), of(&world));
    assert_ne!(of(&world), of(&World { seed: 4, ..world.clone() }));
}

#[test]
fn ours_interrupts_nothing_and_comes_near_its_promise_on_every_shape() {
    for shape in Shape::ALL {
        let world = world(60.0, 4);
        let chain = Chain::single(&trace(shape, 5));
        let outcome = run(&chain, &world, docket(&world), false).outcome;
        assert_eq!(outcome.interrupted, 0.0, "{shape:?}");
        // A day of some hundred tasks is too short to learn what late tasks are worth to one in a hundred.
        let least = if shape == Shape::Sparse { 0.98 } else { 0.99 };
        assert!(outcome.slo_attainment >= least, "{shape:?}: {}", outcome.slo_attainment);
    }
}

#[test]
fn pods_of_a_peak_are_not_kept_for_hours_however_many_levels_it_had() {
    // A target of minutes lets peaks of many levels gather at the beginning, while nothing is known yet.
    for seed in 1..=6 {
        let world = World { seed, ..world(180.0, 2) };
        let trace = trace(Shape::Poisson, 3);
        let outcome = run(&Chain::single(&trace), &world, docket(&world), false).outcome;
        let work = floor(&trace.jobs, 2);
        assert!(outcome.pod_seconds < 1.05 * work, "seed {seed}: {} for {work} of work", outcome.pod_seconds);
    }
}

#[test]
fn faults_neither_interrupt_work_nor_leave_any_undone() {
    let chain = Chain::single(&trace(Shape::OnOff, 5));
    for fault in Fault::ALL {
        let world = World { faults: vec![fault], ..world(60.0, 4) };
        let outcome = run(&chain, &world, docket(&world), false).outcome;
        assert_eq!(outcome.interrupted, 0.0, "{fault:?}");
        // Nobody decides for a fortieth of the time where the operator is killed over and over.
        let least = if fault == Fault::Restart { 0.95 } else { 0.97 };
        assert!(outcome.unstarted == 0.0 && outcome.slo_attainment > least, "{fault:?}: {}", outcome.slo_attainment);
    }
}

/// (time, pods that are asked for, pods that it then asks for), and `None` for a restart.
type Looks = Rc<RefCell<Vec<Option<(f64, u32, u32)>>>>;

/// Looks every second, asks for another number each time, and writes down what it sees.
struct Witness(Looks);

impl Policy for Witness {
    fn tick(&mut self, view: &View) -> Command {
        let wanted = 2 + self.0.borrow().len() as u32 % 2;
        self.0.borrow_mut().push(Some((view.now, view.desired, wanted)));
        view.to(wanted, 1.0)
    }

    fn restart(&mut self) {
        self.0.borrow_mut().push(None);
    }
}

#[test]
fn nobody_decides_between_a_kill_and_the_hand_over_and_the_number_stays() {
    let looks = Looks::default();
    let world = World { faults: vec![Fault::Restart], ..world(60.0, 4) };
    run(&Chain::single(&burst(30)), &world, vec![Box::new(Witness(Rc::clone(&looks)))], false);
    let looks = looks.borrow();
    let mut restarts = 0;
    for (before, after) in looks.iter().zip(&looks[1..]) {
        let (Some(before), Some(after)) = (before, after) else { continue };
        assert!(after.0 - before.0 < 1.001, "nobody looked from {} to {}", before.0, after.0);
    }
    for around in looks.windows(3) {
        let [Some(before), None, Some(after)] = around else { continue };
        restarts += 1;
        let gap = after.0 - before.0;
        assert!((15.0..16.001).contains(&gap), "{gap} s without a decision");
        assert_eq!(after.1, before.2, "the number changed while nobody decided");
    }
    assert!(restarts >= 5, "{restarts} restarts in an hour");
}

#[test]
fn a_restart_finds_what_was_kept_up_to_ten_seconds_before() {
    // Two pods, whatever comes: the number never changes, so that time alone says when the state is kept.
    let mut docket = Docket::new(Settings::between(2, 2));
    let classes = [Class { pending: 3, in_work: 2, count: 20.0, share: 1.0, mean: 10.0, variance: 4.0 }];
    let mut remembered = Vec::new();
    for second in 0..58_u64 {
        let now = second as f64;
        let broker = Broker {
            pending: 3,
            in_work: 2,
            load: 5.0 * now,
            working: 2.0 * now,
            arrivals: 5 + second,
            finished: second,
            started: 2 + second,
            late: 0,
            oldest_wait: Some(1.0),
            classes: &classes,
        };
        docket.tick(&View {
            now,
            broker: Some(broker),
            foreseen: &[],
            desired: 2,
            busy: 2,
            idle: 0,
            starting: &[],
            draining: 0,
            started_in: None,
            slots: 1,
            max_replicas: 40,
        });
        remembered.push(docket.history().clone());
    }
    let kept = |second: usize| -> History {
        let text = serde_json::to_string(&remembered[second]).expect("JSON");
        serde_json::from_str(&text).expect("the same")
    };
    docket.restart();
    assert_eq!(*docket.history(), kept(50));
    assert_ne!(*docket.history(), kept(57));
}

#[test]
fn every_rival_works_a_burst_off_with_some_setting_and_the_search_begins_with_the_defaults() {
    let (trace, world) = (burst(30), world(60.0, 4));
    let chain = Chain::single(&trace);
    for rival in Rival::ALL {
        let tried = search::settings(rival, 6, 1);
        assert_eq!(tried[0], rival.defaults());
        let done = |settings: &Vec<f64>| run(&chain, &world, rival.policies(settings, &chain, &world), false).outcome;
        let outcomes: Vec<_> = tried.iter().map(done).collect();
        assert!(outcomes.iter().any(|outcome| outcome.pod_seconds > 0.0 && outcome.unstarted == 0.0), "{rival:?}");
    }
}

#[test]
fn constants_are_chosen_on_other_traces_than_the_one_that_is_reported() {
    let outcome = |slo_attainment: f64, pod_seconds: f64| Outcome { slo_attainment, pod_seconds, ..Outcome::default() };
    // The third trace is attained by none and has no say; the fourth variation is cheapest on the first trace alone.
    let mut runs = vec![vec![outcome(0.995, 100.0), outcome(0.995, 100.0), outcome(0.5, 100.0)]; variations::ALL.len()];
    runs[2] = vec![outcome(0.992, 90.0), outcome(0.991, 98.0), outcome(0.4, 300.0)];
    runs[3] = vec![outcome(0.99, 50.0), outcome(0.98, 99.0), outcome(0.4, 10.0)];
    let chosen = variations::chosen_elsewhere(&runs, &[100.0; 3], 0.99);
    let name = |variation: usize| variations::ALL[variation].0;
    assert_eq!(chosen.iter().map(|chosen| chosen.name).collect::<Vec<_>>(), [name(2), name(3), name(2)]);
    assert_eq!(chosen[0].cost, 0.9);
    assert!((chosen[0].late - 0.003).abs() < 1e-9, "{:?}", chosen[0]);
    assert_eq!(chosen[1].cost, 0.99);
}

#[test]
fn every_variation_of_the_constants_but_the_first_changes_what_is_decided() {
    let shapes = [Shape::FlashCrowd, Shape::OnOff, Shape::Poisson];
    let traces = shapes.map(|shape| Chain::single(&trace(shape, 5)));
    // A wait shorter than a cold start and a longer one: some constants are about one of them.
    let worlds = [world(10.0, 2), world(60.0, 2)];
    let outcomes = |variation: &variations::Variation| -> Vec<Outcome> {
        let of = |world: &World, chain: &Chain| {
            let mut settings = Settings::between(0, world.max_replicas);
            settings.target.wait = world.slo;
            variation.1(&mut settings.tuning);
            run(chain, world, vec![Box::new(Docket::new(settings))], false).outcome
        };
        worlds.iter().flat_map(|world| traces.iter().map(move |chain| of(world, chain))).collect()
    };
    let there = outcomes(&variations::ALL[0]);
    for variation in &variations::ALL[1..] {
        assert_ne!(outcomes(variation), there, "\"{}\"", variation.0);
    }
}

#[test]
fn rivals_sleep_or_stay_as_their_descriptions_say() {
    let (trace, world) = (burst(30), world(60.0, 4));
    let chain = Chain::single(&trace);
    let of = |rival: Rival| run(&chain, &world, rival.policies(&rival.defaults(), &chain, &world), false).outcome;
    // KEDA polls every 30 s, so its first pod is asked for 20 s after the burst; it sleeps 300 s after the last task.
    let keda = of(Rival::Keda);
    assert!(keda.time_at_zero > 2_500.0 && keda.cold_starts >= 3.0, "{keda:?}");
    // Knative reacts within its tick and sleeps after its window.
    let knative = of(Rival::Knative);
    assert!(knative.wait_p50 < keda.wait_p50 && knative.time_at_zero > keda.time_at_zero, "{knative:?}");
    // An HPA cannot sleep, Seldon never goes below one, and a static number never changes.
    assert!(of(Rival::Hpa).time_at_zero < 1.0 && of(Rival::Seldon).time_at_zero < 1.0);
    let fixed = of(Rival::StaticPeak);
    assert_eq!((fixed.cold_starts, fixed.changes), (8.0, 1.0));
}

#[test]
fn a_task_whose_pod_is_taken_away_is_counted_and_done_again() {
    // Tasks of five minutes on pods that are given 30 seconds: a pool that shrinks by load alone interrupts them.
    let mut jobs: Vec<Job> = (0..40).map(|index| Job { arrival: f64::from(index), service: 300.0, size: 0 }).collect();
    jobs.iter_mut().step_by(2).for_each(|job| job.service = 20.0);
    let (trace, world) = (Trace { name: "long".to_owned(), began: 0.0, jobs }, world(600.0, 1));
    let chain = Chain::single(&trace);
    let outcome = run(&chain, &world, Rival::Keda.policies(&[1.0, 30.0, 2.0, 0.0], &chain, &world), false).outcome;
    assert!(outcome.interrupted > 0.0 && outcome.unstarted == 0.0, "{outcome:?}");
    assert_eq!(run(&chain, &world, docket(&world), false).outcome.interrupted, 0.0);
}

const CHAIN: &str = r#"{"stages": [
    {"name": "research", "seconds": 4},
    {"name": "draft", "after": ["research"], "times": 1, "variation": 0.5},
    {"name": "review", "after": ["draft"], "seconds": 8},
    {"name": "validate", "after": ["draft"], "seconds": 3, "probability": 0.8},
    {"name": "cite", "after": ["review", "validate"], "seconds": 2}]}"#;

#[test]
fn a_chain_joins_its_branches_and_every_document_comes_to_its_end() {
    let pipeline = Pipeline::parse("p.json", CHAIN).expect("a pipeline");
    let trace = trace(Shape::OnOff, 7);
    let world = world(30.0, 4);
    let chain = Chain::of(&pipeline, &trace, 1);
    let policies = || -> Vec<Box<dyn Policy>> { chain.stages.iter().flat_map(|_| docket(&world)).collect() };
    let outcome = run(&chain, &world, policies(), false).outcome;
    assert!(outcome.unstarted == 0.0 && outcome.interrupted == 0.0);
}

#[test]
fn a_pipeline_is_read_from_yaml_and_from_a_manifest_as_well() {
    let stages = |file: &str, text: &str| -> Vec<(String, Vec<usize>)> {
        let pipeline = Pipeline::parse(file, text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let chain = Chain::of(&pipeline, &trace(Shape::Sparse, 1), 1);
        chain.stages.into_iter().map(|stage| (stage.name, stage.after)).collect()
    };
    let yaml = "stages:\n- {name: a, seconds: 4}\n- {name: b, after: [a], times: 1, variation: 0.5}\n";
    let expected = vec![("a".to_owned(), vec![]), ("b".to_owned(), vec![0])];
    assert_eq!(stages("p.yaml", yaml), expected);
    assert_eq!(stages("p.yml", CHAIN), stages("p.json", CHAIN));
    let manifest = "apiVersion: docket.dev/v1alpha1\nkind: AgentPool\nmetadata: {name: pool}\nspec: {concurrency: 2}\n---\n\
        apiVersion: docket.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n  deadline: 10m\n  stages:\n  \
        - {name: b, pool: pool, after: [a], parse: {}}\n  - {name: a, pool: pool, parse: {}}\n";
    assert_eq!(stages("samples.yaml", manifest), expected);
    let check = |text: &str, expect: &str| {
        let error = Pipeline::parse("p.yaml", text).expect_err("this cannot be");
        let source = std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
        assert!(format!("{error}: {source}").contains(expect), "{error}: {source}");
    };
    check(&format!("{manifest}---\nkind: Pipeline\n"), "holds 2 resources of kind Pipeline");
    check(
        "kind: Pipeline\nspec: {stages: [{name: a, after: [b]}, {name: b, after: [a]}]}",
        "stages[0].after names \"b\"",
    );
    check("kind: Pipeline\n", "stages must be from 1 to 32");
    check("stages:\n- {name: a, second: 4}\n", "line 2");
    check("stages: [", "failed to understand");
}

#[test]
fn the_second_pool_is_ready_when_its_first_document_arrives() {
    let stages = r#"{"stages": [{"name": "a", "seconds": 90}, {"name": "b", "after": ["a"], "seconds": 5}]}"#;
    let pipeline = Pipeline::parse("p.json", stages).expect("a pipeline");
    // Far enough apart that the pools sleep in between, and enough of them to learn how long the first stage takes.
    let job = |index: u32| Job { arrival: 10.0 + 3_000.0 * f64::from(index), service: 1.0, size: 0 };
    let trace = Trace { name: "lone".to_owned(), began: 0.0, jobs: (0..40).map(job).collect() };
    let chain = Chain::of(&pipeline, &trace, 1);
    let late = |pre_warm: bool, seed: u64| {
        let mut settings = Settings::between(0, 40);
        settings.target.wait = 5.0;
        settings.pre_warm = pre_warm;
        settings.cooldown_to_zero = Some(60.0);
        settings.terms.keeping = false;
        let policies =
            chain.stages.iter().map(|_| Box::new(Docket::new(settings.clone())) as Box<dyn Policy>).collect();
        run(&chain, &World { seed, ..world(5.0, 4) }, policies, false).outcome.late
    };
    let of_five = |pre_warm: bool| (3..8).map(|seed| late(pre_warm, seed)).sum::<f64>();
    let (with, without) = (of_five(true), of_five(false));
    // The first pool has nobody to tell it: the forty of each run are late either way.
    assert!(with - 200.0 < 0.5 * (without - 200.0), "{with} late with, {without} without");
}

#[test]
fn a_pipeline_that_cannot_be_is_refused_with_its_field() {
    let check = |text: &str, expect: &str| {
        let error = Pipeline::parse("p.json", text).expect_err("this cannot be");
        assert!(error.to_string().contains(expect), "{error}");
    };
    check("{\"stages\": []}", "stages must be from 1 to 32");
    check("{\"stages\": [{\"name\": \"a\", \"seconds\": 1, \"after\": [\"b\"]}]}", "stages[0].after names \"b\"");
    check("{\"stages\": [{\"name\": \"a\", \"seconds\": -1}]}", "stages[0].seconds");
    check("{\"stages\": [{\"name\": \"a\"}]}", "stages[0].times");
    check("{\"stages\": [{\"name\": \"a\", \"seconds\": 1e39}]}", "stages[0].seconds");
    check("{\"stages\": [{\"name\": \"a\", \"times\": 1e39}]}", "stages[0].times");
    check("{\"stages\": [{\"name\": \"a\", \"seconds\": 1, \"probability\": 0}]}", "stages[0].probability");
    check("{\"stages\": [{\"name\": \"a\", \"second\": 1}]}", "failed to understand");
    let jobs = vec![Job { arrival: 0.0, service: 4e5, size: 0 }];
    let long = Trace { name: "t".to_owned(), began: 0.0, jobs };
    let pipeline = Pipeline::parse("p.json", "{\"stages\": [{\"name\": \"a\", \"times\": 100}]}").expect("sound alone");
    let error = pipeline.fits(std::path::Path::new("p.json"), &long).expect_err("longer than a year");
    assert!(error.to_string().contains("stages[0].times"), "{error}");
}

#[test]
fn a_manifest_is_read_as_json_too() {
    let manifest = r#"{"kind": "Pipeline", "spec": {"stages": [{"name": "b", "after": ["a"]}, {"name": "a"}]}}"#;
    let [json, yaml] =
        ["p.json", "p.yaml"].map(|file| format!("{:?}", Pipeline::parse(file, manifest).expect("a pipeline")));
    assert_eq!(json, yaml);
}
