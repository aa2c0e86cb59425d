//! Documents that must be there at a time, and the pods that they need.

mod support;

use scaler::{
    Deadline, DeadlineAhead, Decision, History, Observation, Place, Reason, Settings, Term, decide, start_by,
};
use support::{MONDAY, Pool, settings};

fn terms(decision: &Decision) -> Vec<Term> {
    decision.terms.iter().map(|term| term.term).collect()
}

#[test]
fn a_deadline_starts_pods_that_the_wait_alone_would_not() {
    let mut observation = Pool::new(20.0, 5.0, 4).observation();
    let settings = settings(600.0);
    assert_eq!(decide(&settings, &mut History::default(), &observation, MONDAY).replicas, 0);
    observation.deadlines = vec![Deadline { start_by: MONDAY + 22.0, tasks: 8.0 }];
    let decision = decide(&settings, &mut History::default(), &observation, MONDAY);
    assert_eq!(terms(&decision), [Term::Deadline]);
    // Two pods hold the eight tasks; a third may be started against one that is slow.
    assert!((2..=3).contains(&decision.replicas), "{decision:?}");
}

/// A sleeping pool to which a document comes in 60 s at the earliest, and which must start it within so many seconds.
fn awaits(start_by: f64, tasks: f64, probability: f64) -> Observation {
    let mut observation = Pool::new(20.0, 5.0, 4).observation();
    let start_by = MONDAY + start_by;
    observation.deadlines_ahead = vec![DeadlineAhead { at: MONDAY + 60.0, start_by, tasks, probability }];
    observation
}

/// The first second in which pods are asked for, and the decision.
fn first_start(settings: &Settings, observation: &Observation) -> Option<(f64, Decision)> {
    let mut history = History::default();
    (0..120).map(f64::from).find_map(|second| {
        let now = MONDAY + second;
        let decision = decide(settings, &mut history, &Observation { at: now, ..observation.clone() }, now);
        (decision.replicas > 0).then_some((second, decision))
    })
}

#[test]
fn pods_are_there_when_a_document_comes_that_must_start_by_its_deadline_and_the_decision_says_so() {
    let settings = settings(600.0);
    let (second, decision) = first_start(&settings, &awaits(70.0, 1.0, 1.0)).expect("a pod is started");
    // Starts take 20 s, and one that is slow 26 s: neither much too early nor too late.
    assert!((30.0..=48.0).contains(&second), "after {second} s");
    assert_eq!((decision.replicas, decision.reason), (1, Reason::Up(Term::DeadlineAhead)));
    assert_eq!(
        decision.reason.to_string(),
        "more replicas: documents at earlier stages must start here by their deadlines"
    );
    let without = Settings { pre_warm: false, ..settings.clone() };
    assert!(first_start(&without, &awaits(70.0, 1.0, 1.0)).is_none(), "pods are not to start before the work is there");
    assert!(first_start(&settings, &awaits(70.0, 1.0, 0.2)).is_none(), "it will hardly come");
}

#[test]
fn documents_that_come_late_cannot_use_the_time_before() {
    let settings = settings(600.0);
    // Of tasks that were never measured, which count as 10 s, a pod starts four at once and four ten seconds later. The minute
    // before is of no use.
    let pods = |start_by: f64, tasks: f64| {
        let (_, decision) = first_start(&settings, &awaits(start_by, tasks, 1.0)).expect("pods are started");
        decision.replicas
    };
    assert!((4..=6).contains(&pods(62.0, 16.0)), "{}", pods(62.0, 16.0));
    assert!((2..=3).contains(&pods(71.0, 16.0)), "{}", pods(71.0, 16.0));
}

#[test]
fn pods_that_wait_for_a_document_with_a_deadline_stay_until_it_has_come() {
    let settings = settings(600.0);
    let mut pool = Pool::new(20.0, 5.0, 4);
    let (at, start_by) = (MONDAY + 160.0, MONDAY + 161.0);
    let mut left = None;
    for _ in 0..160 {
        pool.ahead = vec![DeadlineAhead { at, start_by, tasks: 1.0, probability: 1.0 }];
        let before = pool.replicas;
        let decision = pool.second(&settings, 0);
        left = left.or((decision.replicas < before).then_some(pool.now - MONDAY));
    }
    assert_eq!((left, pool.working.len()), (None, 1));
    pool.ahead.clear();
    pool.second(&settings, 1);
    assert_eq!(pool.in_work(), 1, "it starts at once");
}

#[test]
fn a_deadline_is_worth_pods_however_cheap_late_tasks_have_become() {
    let settings = settings(600.0);
    let mut pool = Pool::new(20.0, 5.0, 4);
    for second in 0..20_000 {
        pool.second(&settings, u64::from(second % 3 == 0));
    }
    while pool.replicas > 0 {
        pool.second(&settings, 0);
    }
    (0..60).for_each(|_| drop(pool.second(&settings, 0)));
    assert_eq!((pool.late, pool.replicas), (0, 0), "late tasks are cheap");
    let (at, start_by) = (pool.now + 60.0, pool.now + 70.0);
    pool.ahead = vec![DeadlineAhead { at, start_by, tasks: 1.0, probability: 1.0 }];
    (0..68).for_each(|_| drop(pool.second(&settings, 0)));
    assert_eq!(pool.working.len(), 1, "a pod is ready before the document must start");
}

#[test]
fn tasks_that_must_start_by_a_deadline_do_not_queue_for_slots_while_pods_rest() {
    let settings = settings(600.0);
    let mut pool = Pool::new(20.0, 40.0, 4);
    pool.replicas = 4;
    pool.working = vec![vec![MONDAY + 40.0; 4], Vec::new(), Vec::new(), Vec::new()];
    pool.arrivals = 16;
    pool.waiting = vec![MONDAY; 12];
    let mut observation = pool.observation();
    let patient = decide(&settings, &mut History::default(), &observation, MONDAY);
    assert_eq!(patient.pulling, 1, "they may wait for the slots of one");
    observation.deadlines = vec![Deadline { start_by: MONDAY + 5.0, tasks: 12.0 }];
    assert_eq!(decide(&settings, &mut History::default(), &observation, MONDAY).pulling, 4);
}

#[test]
fn slack_is_split_over_the_critical_path_by_service() {
    // 100 s until the deadline, 40 s of service: 60 s of slack, of which the first stage has a quarter.
    let first = Place { before: 0.0, own: 10.0, service: 10.0, after: 30.0 };
    assert!((start_by(100.0, 0.0, &first) - 15.0).abs() < 1e-9);
    assert!((start_by(30.0, 0.0, &first) - 0.0).abs() < 1e-9, "no slack: at once");
    // The second one has the rest, after the first one's end.
    let second = Place { before: 10.0, own: 30.0, service: 30.0, after: 0.0 };
    assert!((start_by(100.0, 0.0, &second) - 70.0).abs() < 1e-9);
    // A start of its pool, which takes 20 s, leaves the first one less.
    let first = Place { after: 50.0, ..first };
    assert!((start_by(90.0, 0.0, &first) - 5.0).abs() < 1e-9);
    let second = Place { own: 50.0, ..second };
    assert!((start_by(90.0, 0.0, &second) - 60.0).abs() < 1e-9);
    assert_eq!(start_by(100.0, 0.0, &Place::default()), 0.0, "nobody knows anything");
}

#[test]
fn what_late_tasks_left_unused_puts_off_no_start_for_a_deadline() {
    let settings = settings(15.0);
    let mut pool = Pool::new(20.0, 5.0, 4);
    (0..40_000).for_each(|_| drop(pool.second(&settings, 1)));
    while pool.replicas > 0 {
        pool.second(&settings, 0);
    }
    (0..60).for_each(|_| drop(pool.second(&settings, 0)));
    let start_by = pool.now + 120.0;
    pool.ahead = vec![DeadlineAhead { at: pool.now + 110.0, start_by, tasks: 1.0, probability: 1.0 }];
    while pool.replicas == 0 {
        pool.second(&settings, 0);
    }
    // A start that is longer than any before is reckoned with.
    assert!(start_by - pool.now >= 1.2 * 20.0, "{} s before", start_by - pool.now);
}
