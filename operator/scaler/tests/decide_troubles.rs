//! What goes wrong around a pool, and what is not to be decided for it: tasks that nobody holds or that all fail, numbers that
//! nobody acts upon, clocks, bounds that change under load.

mod support;

use scaler::{
    ColdStart, Decision, History, Hold, Observation, Pods, Reason, ServiceTime, Settings, Term, Thresholds, Work,
    decide,
};
use support::{MONDAY, Pool, settings};

fn work(stage: &str, (pending, in_work): (u64, u64), seconds: f64) -> Work {
    let service = ServiceTime { mean: seconds, deviation: seconds / 10.0, count: 100 };
    Work { stage: stage.to_owned(), size: 0, pending, in_work, service: Some(service), share: None }
}

/// So many ready pods of four slots, with that work.
fn seen(at: f64, (busy, idle): (u32, u32), work: Vec<Work>) -> Observation {
    Observation {
        work: Some(work),
        pods: Some(Pods { busy, idle, ..Pods::default() }),
        replicas: busy + idle,
        cold_start: Some(ColdStart { count: 100, ..ColdStart::constant(20.0) }),
        ..Observation::empty_at(at, 4)
    }
}

/// A second each, so many times; the last decision.
fn over(settings: &Settings, history: &mut History, seconds: u32, look: impl Fn(u32) -> Observation) -> Decision {
    let decide = |second: u32, history: &mut History| {
        let observation = look(second);
        decide(settings, history, &observation, observation.at)
    };
    let last = (0..seconds).map(|second| decide(second, history)).last();
    last.expect("at least one second")
}

#[test]
fn tasks_whose_agents_are_gone_bring_agents_back() {
    let mut history = History::default();
    let look = |second: u32| seen(MONDAY + f64::from(second), (0, 0), vec![work("draft", (0, 8), 5.0)]);
    let decision = over(&settings(30.0), &mut history, 300, look);
    assert_eq!((decision.replicas > 0, decision.reason), (true, Reason::Up(Term::Backlog)), "{decision:?}");
    // One that leaves still holds them.
    let draining = Observation {
        pods: Some(Pods { draining: 2, ..Pods::default() }),
        ..seen(MONDAY, (0, 0), vec![work("draft", (0, 8), 5.0)])
    };
    assert_eq!(decide(&settings(30.0), &mut History::default(), &draining, MONDAY).replicas, 0);
}

#[test]
fn tasks_that_all_fail_and_are_tried_again_do_not_ask_for_the_maximum() {
    let mut history = History::default();
    // One comes each second, so the counters do not stand still; none is ever done.
    let look = |second: u32| Observation {
        arrivals: Some(100 + u64::from(second)),
        finished: Some(80),
        ..seen(MONDAY + f64::from(second), (5, 0), vec![work("draft", (u64::from(second), 20), 2.0)])
    };
    let decision = over(&settings(30.0), &mut history, 120, look);
    assert!(decision.replicas < 25, "{decision:?}");
}

#[test]
fn short_tasks_that_wait_say_nothing_of_the_long_ones_in_work() {
    let mut history = History::default();
    // Eight long ones are at work, and a thousand short ones came before anything was seen.
    let look = |second: u32| Observation {
        arrivals: Some(1_100),
        finished: Some(92),
        ..seen(MONDAY + f64::from(second), (2, 0), vec![work("draft", (0, 8), 300.0), work("sign", (1_000, 0), 1.0)])
    };
    let decision = over(&settings(30.0), &mut history, 100, look);
    assert!(!matches!(decision.reason, Reason::Held(_)), "{decision:?}");
}

#[test]
fn a_maximum_that_is_lowered_under_load_takes_effect_without_interrupting_anybody() {
    let mut pool = Pool::new(20.0, 5.0, 2);
    for _ in 0..600 {
        pool.second(&settings(10.0), 3);
    }
    assert!(pool.replicas > 6, "{} pods", pool.replicas);
    let mut lowered = settings(10.0);
    lowered.max_replicas = 2;
    // The pool's model refuses to take a busy pod away.
    for _ in 0..60 {
        assert!(pool.second(&lowered, 3).pulling <= 2);
    }
    assert_eq!(pool.replicas, 2);
}

#[test]
fn thresholds_let_pods_become_empty_that_hold_one_task_each() {
    let thresholds = Thresholds { up_at: 1_000, down_at: 100, ..Thresholds::default() };
    let settings = Settings { queue: Some(thresholds), ..settings(30.0) };
    let observation = seen(MONDAY, (10, 0), vec![work("draft", (0, 10), 5.0)]);
    let decision = decide(&settings, &mut History::default(), &observation, MONDAY);
    assert_eq!((decision.replicas, decision.pulling), (10, 9));
    let last = seen(MONDAY, (1, 0), vec![work("draft", (3, 4), 5.0)]);
    assert_eq!(decide(&settings, &mut History::default(), &last, MONDAY).pulling, 1, "somebody works what waits");
}

#[test]
fn what_an_owner_does_not_do_is_one_step_and_not_one_each_second() {
    let settings = settings(10.0);
    let mut history = History::default();
    let waits = |at: f64, waiting: u64| Observation {
        arrivals: Some(waiting),
        oldest_wait: Some(1.0),
        ..seen(at, (0, 5), if waiting > 0 { vec![work("draft", (waiting, 0), 5.0)] } else { Vec::new() })
    };
    // Five stay, though nothing is to be done for hours.
    let quiet = over(&settings, &mut history, 7_200, |second| waits(MONDAY + f64::from(second), 0));
    assert_eq!(quiet.replicas, 0);
    let burst = decide(&settings, &mut history, &waits(MONDAY + 7_201.0, 400), MONDAY + 7_201.0);
    assert!(burst.replicas > 5, "a step down that nobody took is no reason to wait: {burst:?}");
}

#[test]
fn a_latency_that_services_alone_exceed_asks_for_nobody() {
    let mut settings = settings(60.0);
    settings.target.latency_p95 = Some(10.0);
    let slow = |latency: f64, wait: f64| {
        let observation = Observation {
            latency_p95: Some(latency),
            oldest_wait: Some(wait),
            ..seen(MONDAY, (4, 0), vec![work("draft", (2, 16), 8.0)])
        };
        decide(&settings, &mut History::default(), &observation, MONDAY)
    };
    let asks =
        |decision: &Decision| decision.terms.iter().find(|term| term.term == Term::Latency).map(|it| it.replicas);
    assert_eq!(asks(&slow(15.0, 2.0)), None, "they take 13 s");
    let waited = slow(12.0, 6.0);
    assert_eq!((asks(&waited), waited.pulling), (Some(6), 4), "six seconds of waiting are to become four");
    assert_eq!(asks(&slow(9.0, 2.0)), None);
}

#[test]
fn a_leader_whose_clock_is_behind_goes_on_after_half_a_minute() {
    let settings = settings(10.0);
    let mut history = History::default();
    let ahead = MONDAY + 3_600.0;
    over(&settings, &mut history, 60, |second| seen(ahead + f64::from(second), (0, 0), Vec::new()));
    let waits = |second: u32| Observation {
        arrivals: Some(8),
        oldest_wait: Some(5.0),
        ..seen(MONDAY + f64::from(second), (0, 0), vec![work("draft", (8, 0), 5.0)])
    };
    let first = decide(&settings, &mut history, &waits(0), MONDAY);
    assert_eq!(first.reason, Reason::Held(Hold::Stale), "it may be an old number");
    let later = over(&settings, &mut history, 40, |second| waits(second + 1));
    assert!(later.replicas > 0, "{later:?}");
}

#[test]
fn a_pod_that_hangs_is_not_waited_for_while_tasks_are_late() {
    let settings = settings(10.0);
    let mut history = History::default();
    let look = |second: u32| {
        let mut observation = seen(MONDAY + f64::from(second), (0, 0), vec![work("draft", (4, 0), 5.0)]);
        observation.pods = Some(Pods { starting: vec![f64::from(second)], ..Pods::default() });
        observation.replicas = 1;
        observation.oldest_wait = Some(f64::from(second));
        observation.arrivals = Some(4);
        observation
    };
    let early = over(&settings, &mut history, 15, look);
    assert_eq!(early.replicas, 1, "it comes: {early:?}");
    let late = decide(&settings, &mut history, &look(600), MONDAY + 600.0);
    assert!(late.replicas > 1, "{late:?}");
}

/// A lone task of which the broker says nothing true from its hundredth second on, for two minutes. It may wait for three.
fn lone_task(spoil: impl Fn(&mut Observation, &Observation)) -> Pool {
    let mut pool = Pool::new(20.0, 5.0, 4);
    pool.second(&settings(180.0), 1);
    (1..100).for_each(|_| drop(pool.second(&settings(180.0), 0)));
    let before = pool.observation();
    (100..220).for_each(|_| drop(pool.second_seen(&settings(180.0), 0, |observation| spoil(observation, &before))));
    (220..400).for_each(|_| drop(pool.second(&settings(180.0), 0)));
    pool
}

#[test]
fn a_start_that_was_put_off_is_put_off_no_further_while_numbers_cannot_be_read() {
    let missing = lone_task(|observation, _| (observation.work, observation.arrivals) = (None, None));
    let stale = lone_task(|observation, before| observation.at = before.at);
    // Fresh by its time, and still what it was.
    let repeated = lone_task(|observation, before| {
        observation.work.clone_from(&before.work);
        (observation.arrivals, observation.finished) = (before.arrivals, before.finished);
        (observation.waits, observation.oldest_wait) = (before.waits, before.oldest_wait);
    });
    // How long tasks gather is learned of this start, too: a tenth of more than two minutes.
    let learned = serde_json::to_value(&repeated.history).expect("plain data");
    assert!(learned["idle"]["gathering"].as_f64() > Some(12.0), "{}", learned["idle"]["gathering"]);
    for pool in [missing, stale, repeated] {
        assert_eq!((pool.started, pool.late), (1, 0));
    }
}

#[test]
fn nothing_is_started_for_work_that_pods_may_have_taken_while_numbers_cannot_be_read() {
    // Nobody says whether a pod is there, or one is starting.
    for pods in [None, Some(Pods { starting: vec![5.0], ..Pods::default() })] {
        let pool = lone_task(|observation, _| {
            assert_eq!(observation.replicas, 0);
            (observation.work, observation.arrivals) = (None, None);
            observation.pods.clone_from(&pods);
        });
        assert_eq!((pool.started, pool.late), (1, 1));
    }
}

#[test]
fn what_is_known_to_wait_has_pods_started_by_the_users_word_and_not_for_ever() {
    // What is decided when the broker was last read so many seconds ago, just after a lone task had come.
    let decided = |seconds: f64, change: fn(&mut Settings)| {
        let mut settings = settings(180.0);
        let mut pool = Pool::new(20.0, 5.0, 4);
        pool.second(&settings, 1);
        pool.now += seconds;
        change(&mut settings);
        let observation = Observation { work: None, ..pool.observation() };
        let decision = decide(&settings, &mut pool.history, &observation, pool.now);
        (decision.replicas, decision.reason)
    };
    assert_eq!(decided(60.0, |_| {}), (0, Reason::Held(Hold::Missing)), "it can wait");
    assert_eq!(decided(170.0, |_| {}), (1, Reason::Up(Term::Backlog)));
    assert_eq!(decided(170.0, |settings| settings.min_replicas = 3), (3, Reason::Up(Term::Backlog)));
    assert_eq!(decided(170.0, |settings| settings.stabilization.up = 300.0), (0, Reason::Held(Hold::Missing)));
    assert_eq!(decided(3_600.0, |_| {}), (0, Reason::Held(Hold::Missing)), "nobody knows whether it is still there");
}
