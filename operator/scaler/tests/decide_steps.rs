//! When a step may be taken: pauses, cool-downs, thresholds.

mod support;

use scaler::{
    Clamp, ColdStart, ColdStarts, Decision, History, Observation, Pods, Reason, Settings, Thresholds, decide,
};
use support::{MONDAY, Pool, settings};

#[test]
fn none_goes_while_pods_of_the_last_step_are_yet_to_come() {
    let mut history = History::default();
    let mut starts = ColdStarts::default();
    // The longest take three times as long as they do on average.
    (0..100).for_each(|start| starts.measured(if start % 10 == 0 { 60.0 } else { 15.0 }));
    let mut second = |second: u32, starting: Option<f64>, work: bool| {
        let now = MONDAY + f64::from(second);
        let mut observation = Observation::empty_at(now, 2);
        observation.cold_start = starts.distribution();
        observation.replicas = 5;
        // Somebody on the pool's own endpoint keeps one busy.
        observation.interactive = f64::from(u8::from(work));
        let (ready, starting) = if starting.is_some() { (4, starting.into_iter().collect()) } else { (5, Vec::new()) };
        let busy = u32::from(work);
        observation.pods = Some(Pods { busy, idle: ready - busy, starting, draining: 0 });
        decide(&settings(15.0), &mut history, &observation, now).replicas
    };
    for age in 0..50 {
        assert_eq!(second(age, Some(f64::from(age)), true), 5, "{age} s");
    }
    // Without work nothing is left that it was wanted for.
    assert_eq!(second(50, Some(50.0), false), 1);
    // One that is made again and again is always young, and nobody asked for it.
    assert_eq!(second(65, Some(2.0), true), 2);
}

#[test]
fn idle_pods_go_to_zero_after_work_and_say_so() {
    let settings = settings(60.0);
    let mut pool = Pool::new(10.0, 5.0, 4);
    pool.second(&settings, 20);
    let reasons: Vec<Reason> = (0..4_000).map(|_| pool.second(&settings, 0).reason).collect();
    assert!(reasons.contains(&Reason::ToZero));
    assert_eq!((pool.replicas, pool.late), (0, 0));
    assert_eq!(reasons.last(), Some(&Reason::Asleep));
}

#[test]
fn a_cooldown_that_is_set_is_kept_to_the_second() {
    let mut settings = settings(60.0);
    settings.cooldown_to_zero = Some(300.0);
    let mut pool = Pool::new(10.0, 5.0, 4);
    pool.second(&settings, 1);
    let (mut done, mut zero) = (None, None);
    for _ in 0..2_000 {
        pool.second(&settings, 0);
        if done.is_none() && pool.finished == 1 {
            done = Some(pool.now);
        }
        if zero.is_none() && done.is_some() && pool.replicas == 0 {
            zero = Some(pool.now);
        }
    }
    let waited = zero.zip(done).map(|(zero, done)| zero - done).expect("the pool went to zero");
    assert!((300.0..=310.0).contains(&waited), "{waited} s");
}

#[test]
fn a_cooldown_that_is_set_holds_whatever_the_gaps_have_taught() {
    // With a target of 5 s and starts of 20 s it would pay to keep the pod from one task to the next.
    let mut settings = settings(5.0);
    settings.cooldown_to_zero = Some(10.0);
    let mut pool = Pool::new(20.0, 15.0, 4);
    for _ in 0..40 {
        pool.second(&settings, 1);
        let (mut done, mut quiet) = (pool.finished, 0);
        for _ in 1..60 {
            pool.second(&settings, 0);
            quiet = if pool.finished > done { 0 } else { quiet + 1 };
            done = pool.finished;
        }
        assert!(pool.replicas == 0 || quiet < 12, "{} pods after {quiet} s without work", pool.replicas);
    }
}

#[test]
fn a_cooldown_that_is_set_does_not_wait_for_longer_starts_than_were_seen() {
    let mut settings = settings(5.0);
    settings.cooldown_to_zero = Some(10.0);
    let mut pool = Pool { measured: 3, ..Pool::new(2.0, 0.5, 4) };
    pool.second(&settings, 8);
    while pool.finished < 8 {
        pool.second(&settings, 0);
    }
    let done = pool.now;
    while pool.replicas > 0 {
        pool.second(&settings, 0);
    }
    assert!((10.0..=12.0).contains(&(pool.now - done)), "{} s", pool.now - done);
}

#[test]
fn a_cooldown_begins_when_the_last_request_on_the_pools_own_endpoint_ends() {
    let settings = Settings { cooldown_to_zero: Some(600.0), ..settings(5.0) };
    let mut history = History::default();
    let mut decided = |second: u32, interactive: f64| {
        let now = MONDAY + f64::from(second);
        let mut observation = Observation::empty_at(now, 4);
        observation.replicas = 1;
        let busy = u32::from(interactive > 0.0);
        observation.pods = Some(Pods { busy, idle: 1 - busy, ..Pods::default() });
        observation.cold_start = Some(ColdStart::constant(20.0));
        observation.interactive = interactive;
        decide(&settings, &mut history, &observation, now)
    };
    (0..3_600).for_each(|second| drop(decided(second, 1.0)));
    let after: Vec<Decision> = (3_600..4_200).map(|second| decided(second, 0.0)).collect();
    assert!(after.iter().all(|decision| decision.replicas == 1), "{after:?}");
    assert_eq!(after.last().and_then(|decision| decision.clamp), Some(Clamp::Cooldown));
    assert_eq!(decided(4_200, 0.0).replicas, 0);
}

#[test]
fn plain_thresholds_step_up_by_two_and_down_by_one() {
    let mut settings = settings(5.0);
    settings.queue = Some(Thresholds::default());
    let mut pool = Pool::new(5.0, 600.0, 1);
    pool.second(&settings, 1);
    assert_eq!(pool.replicas, 1, "from zero for the first");
    pool.second(&settings, 150);
    assert_eq!(pool.replicas, 1, "the first is still starting");
    (0..4).for_each(|_| drop(pool.second(&settings, 0)));
    assert_eq!(pool.replicas, 3);
    let mut quiet = Pool::new(5.0, 1.0, 4);
    quiet.replicas = 3;
    quiet.working = vec![Vec::new(); 3];
    let steps: Vec<u32> = (0..60).map(|_| quiet.second(&settings, 0).replicas).collect();
    let first = steps.iter().position(|&replicas| replicas < 3).expect("it steps down");
    assert_eq!(steps[first..first + 3], [2, 1, 0], "one a second, once the pods are not new");
}

#[test]
fn a_threshold_that_asks_for_a_large_step_is_no_burst() {
    let mut settings = settings(5.0);
    settings.queue = Some(Thresholds { step_up: 9, ..Thresholds::default() });
    let mut pool = Pool::new(20.0, 1.0, 4);
    (pool.replicas, pool.working) = (2, vec![Vec::new(); 2]);
    while pool.replicas == 2 {
        pool.second(&settings, 0);
    }
    let decision = pool.second(&settings, 1_000);
    assert_eq!((decision.replicas, decision.clamp), (1, Some(Clamp::Reversal)), "{decision:?}");
    assert!(decision.terms.iter().any(|term| term.replicas > 4), "{decision:?}");
}

#[test]
fn thresholds_wait_for_what_a_step_brings_and_for_the_stabilization_time_before_the_next_one() {
    let mut settings = settings(60.0);
    settings.queue = Some(Thresholds { up_at: 10, down_at: 2, ..Thresholds::default() });
    settings.stabilization.up = 30.0;
    for cold_start in [5.0, 45.0] {
        let mut pool = Pool::new(cold_start, 20.0, 8);
        let (mut steps, mut most) = (Vec::new(), 0);
        for second in 0..600 {
            let before = pool.replicas;
            let after = pool.second(&settings, 32 * u64::from(second == 0)).replicas;
            if after > before {
                steps.push(second);
            }
            most = most.max(after);
        }
        assert!((1..=6).contains(&most), "{most} pods");
        assert!(steps.windows(2).all(|pair| pair[1] - pair[0] >= 30), "{steps:?}");
    }
}

#[test]
fn thresholds_step_up_once_in_each_stabilization_time_while_the_queue_is_long() {
    let mut settings = settings(60.0);
    settings.queue = Some(Thresholds { up_at: 10, down_at: 2, ..Thresholds::default() });
    settings.stabilization.up = 30.0;
    let mut pool = Pool::new(5.0, 600.0, 1);
    let replicas: Vec<u32> =
        (0..140).map(|second| pool.second(&settings, 500 * u64::from(second == 0)).replicas).collect();
    let steps: Vec<usize> = (1..140).filter(|&second| replicas[second] > replicas[second - 1]).collect();
    assert!(steps.len() >= 3 && steps.windows(2).all(|pair| (30..=37).contains(&(pair[1] - pair[0]))), "{steps:?}");
}

#[test]
fn thresholds_do_not_wait_for_a_pod_that_hangs() {
    let mut settings = settings(60.0);
    settings.queue = Some(Thresholds { up_at: 10, down_at: 2, ..Thresholds::default() });
    let mut pool = Pool::new(f64::INFINITY, 20.0, 8);
    let replicas = (0..60).map(|second| {
        pool.now += 1.0;
        let starting = vec![f64::from(second); pool.replicas as usize];
        pool.waiting = vec![MONDAY; 20];
        pool.arrivals = 20;
        let observation = Observation {
            pods: Some(Pods { starting, ..Pods::default() }),
            cold_start: Some(ColdStart::constant(15.0)),
            ..pool.observation()
        };
        pool.replicas = decide(&settings, &mut pool.history, &observation, pool.now).replicas;
        pool.replicas
    });
    let replicas: Vec<u32> = replicas.collect();
    assert_eq!((replicas[0], replicas[14]), (2, 2));
    assert!(replicas[30] > 2, "{replicas:?}");
}

#[test]
fn an_operator_that_begins_anew_takes_no_step_at_first_sight() {
    let settings = settings(30.0);
    let mut pool = Pool::new(10.0, 20.0, 4);
    for _ in 0..300 {
        pool.second(&settings, 1);
    }
    let before = pool.replicas;
    pool.history = History::default();
    assert!(pool.second(&settings, 1).replicas >= before);
}

/// A pool that has been to zero a few times, a few seconds after it went there again.
fn just_gone_to_zero(settings: &Settings) -> Pool {
    let mut pool = Pool::new(30.0, 5.0, 4);
    for _ in 0..4 {
        pool.second(settings, 1);
        while pool.replicas > 0 || pool.finished < pool.arrivals {
            pool.second(settings, 0);
        }
    }
    pool.second(settings, 0);
    pool
}

#[test]
fn a_task_that_finds_nobody_is_not_made_late_by_the_pause_after_a_step_down() {
    let settings = settings(45.0);
    let mut pool = just_gone_to_zero(&settings);
    let (started, gone) = (pool.started, pool.now);
    pool.second(&settings, 1);
    while pool.started == started {
        pool.second(&settings, 0);
    }
    assert_eq!(pool.late, 0);
    assert!(pool.now - gone < 30.0 + 30.0, "{} s", pool.now - gone);
}

#[test]
fn a_start_that_nobody_makes_is_put_off_once_however_often_more_pods_are_asked_for() {
    let settings = settings(180.0);
    let gathering_after = |acted_on: bool| {
        let mut pool = Pool::new(20.0, 10.0, 8);
        for second in 0..170_u64 {
            let before = pool.replicas;
            pool.second(&settings, u64::from(second % 2 == 0));
            if !acted_on {
                pool.starting.clear();
                pool.replicas = before;
            }
        }
        serde_json::to_value(&pool.history).expect("plain data")["idle"]["gathering"].as_f64().expect("seconds")
    };
    assert_eq!(gathering_after(true), gathering_after(false));
    assert!(gathering_after(true) > 0.0);
}

#[test]
fn a_burst_does_not_wait_for_the_end_of_the_pause_after_a_step_down() {
    let settings = settings(15.0);
    let mut pool = Pool::new(20.0, 5.0, 2);
    (0..1_200).for_each(|_| drop(pool.second(&settings, 1)));
    let busy = pool.replicas;
    // From how many the steps of an hour ago were is no matter.
    let mut kept = serde_json::to_value(&pool.history).expect("plain data");
    (kept["lastDown"], kept["from"]) = ((pool.now - 3_600.0).into(), 40.into());
    pool.history = serde_json::from_value(kept).expect("it is read");
    while pool.replicas == busy {
        pool.second(&settings, 0);
    }
    let after = pool.replicas;
    assert!((1..busy).contains(&after), "{busy} pods, then {after}");
    // As many as there were a moment ago, or a few more, are that step taken back.
    let mut few = pool.clone();
    let taken_back = few.second(&settings, u64::from(3 * busy));
    assert_eq!((taken_back.replicas, taken_back.clamp), (after, Some(Clamp::Reversal)), "{taken_back:?}");
    assert!(taken_back.terms.iter().any(|term| term.replicas > after), "{taken_back:?}");
    let burst = pool.clone().second(&settings, u64::from(40 * busy));
    assert!(burst.replicas > 2 * busy, "{busy} pods before: {burst:?}");
    // Whoever takes over knows it; of a state that was written without it, nobody knows from how many the step was.
    let mut kept = serde_json::to_value(&pool.history).expect("plain data");
    pool.history = serde_json::from_value(kept.clone()).expect("it is read");
    assert_eq!(pool.clone().second(&settings, u64::from(40 * busy)).replicas, burst.replicas);
    kept.as_object_mut().expect("an object").remove("from").expect("it is kept");
    pool.history = serde_json::from_value(kept).expect("it is read");
    assert_eq!(pool.second(&settings, u64::from(40 * busy)).replicas, after);
}
