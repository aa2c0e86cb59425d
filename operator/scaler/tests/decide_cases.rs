//! Single situations, and what is to be decided in them.

mod chance;
mod support;

use chance::random;
use scaler::{
    Claim, Clamp, ColdStart, ColdStarts, Foreseen, History, Hold, Invalid, Mode, Observation, Pods, Reason, Settings,
    Term, Thresholds, Window, decide, few_digits, recommend, share,
};
use serde_json::json;
use support::{MONDAY, Pool, settings};

#[test]
fn the_first_task_of_a_sleeping_pool_starts_pods_at_once_when_the_target_is_short() {
    let mut pool = Pool::new(20.0, 5.0, 4);
    let decision = pool.second(&settings(5.0), 1);
    assert_eq!((decision.replicas, decision.reason), (1, Reason::Up(Term::Backlog)));
}

#[test]
fn a_long_target_lets_tasks_gather_before_a_pod_is_started_and_none_is_late() {
    let settings = settings(180.0);
    let mut pool = Pool::new(20.0, 5.0, 4);
    assert_eq!(pool.second(&settings, 1).replicas, 0);
    for _ in 0..400 {
        pool.second(&settings, 0);
    }
    assert_eq!((pool.started, pool.late), (1, 0));
}

#[test]
fn a_lone_task_that_is_late_gets_a_pod_where_pods_start_quickly_and_few_starts_were_measured() {
    for (seconds, count) in [(1.0, 1), (0.5, 3), (4.0, 2), (0.0, 1), (0.0, 1_000)] {
        let mut pool = Pool { measured: count, ..Pool::new(seconds, 2.0, 8) };
        pool.arrivals = 1;
        pool.waiting = vec![pool.now - 60.0];
        let observation = pool.observation();
        let decision = decide(&settings(5.0), &mut History::default(), &observation, pool.now);
        assert!(decision.replicas >= 1, "{count} starts of {seconds} s: {decision:?}");
    }
}

#[test]
fn what_was_kept_before_late_tasks_were_counted_of_how_many_is_no_broken_promise() {
    let mut pool = Pool::new(20.0, 5.0, 2);
    (0..600).for_each(|_| drop(pool.second(&settings(15.0), 1)));
    let mut kept = few_digits(&pool.history);
    kept.as_object_mut().expect("an object").remove("tasks").expect("it is kept");
    let read: History = serde_json::from_value(kept).expect("what was kept is read");
    assert_eq!(few_digits(&read)["tasks"], json!(2_000));
}

#[test]
fn a_promise_may_leave_one_of_a_hundred_thousand_to_be_late_and_no_fewer() {
    let promised = |attainment: f64| {
        let mut settings = settings(15.0);
        settings.target.attainment = attainment;
        settings.check()
    };
    assert!(promised(0.99999).is_ok() && promised(0.999_999).is_err() && promised(0.49).is_err());
}

#[test]
fn a_thousand_tasks_start_many_pods_in_one_step() {
    let mut pool = Pool::new(20.0, 5.0, 4);
    let decision = pool.second(&settings(30.0), 1_000);
    assert!(decision.replicas >= 30, "{decision:?}");
}

#[test]
fn the_first_burst_of_a_pool_starts_no_more_pods_than_it_has_tasks() {
    // Nothing is known of how long tasks take nor of how long pods start, and sixteen within two seconds say nothing of the next
    // minute.
    let settings = settings(2.0);
    let mut pool = Pool::new(20.0, 0.2, 1);
    for arrivals in [4, 12, 0, 0, 0] {
        pool.now += 1.0;
        pool.arrivals += arrivals;
        pool.waiting.extend((0..arrivals).map(|_| pool.now));
        let observation = Observation { cold_start: None, ..pool.observation() };
        let replicas = decide(&settings, &mut pool.history, &observation, pool.now).replicas;
        pool.starting.resize(replicas as usize, pool.now);
        pool.replicas = replicas;
    }
    assert!((1..=16).contains(&pool.replicas), "{} pods", pool.replicas);
}

#[test]
fn a_pool_is_started_before_its_first_task_arrives() {
    let settings = settings(5.0);
    let mut observation = Observation::empty_at(MONDAY, 4);
    observation.cold_start = Some(ColdStart::constant(20.0));
    let coming = Foreseen { at: MONDAY + 18.0, over: 1.0, tasks: 3.0, probability: 1.0 };
    observation.foreseen = vec![coming];
    let decision = decide(&settings, &mut History::default(), &observation, MONDAY);
    assert_eq!((decision.replicas, decision.reason), (1, Reason::Up(Term::Foreseen)));

    observation.foreseen = vec![Foreseen { at: MONDAY + 600.0, ..coming }];
    assert_eq!(decide(&settings, &mut History::default(), &observation, MONDAY).replicas, 0, "far too early");

    observation.foreseen = vec![coming];
    let without = Settings { pre_warm: false, ..settings };
    assert_eq!(decide(&without, &mut History::default(), &observation, MONDAY).replicas, 0);
}

#[test]
fn the_schedule_sets_bounds_in_its_window_alone() {
    let mut settings = settings(30.0);
    settings.schedule = vec![Window { from_minute: 8 * 60, to_minute: 18 * 60, min_replicas: 3, max_replicas: 5 }];
    let at = |hour: f64| {
        let now = MONDAY + hour * 3_600.0;
        decide(&settings, &mut History::default(), &Observation::empty_at(now, 4), now)
    };
    assert_eq!(at(7.9).replicas, 0);
    assert_eq!((at(8.0).replicas, at(8.0).clamp), (3, Some(Clamp::ScheduledMinimum)));
    assert_eq!(at(18.0).replicas, 0);
}

#[test]
fn a_window_that_always_holds_is_as_good_as_the_bounds_themselves() {
    let always = Window { from_minute: 0, to_minute: 7 * 24 * 60, min_replicas: 0, max_replicas: 40 };
    let mut scheduled = Settings { schedule: vec![always], ..settings(5.0) };
    scheduled.max_replicas = 1;
    let (mut one, mut other) = (Pool::new(20.0, 5.0, 2), Pool::new(20.0, 5.0, 2));
    // Bursts that need a few pods, at gaps over which it pays to keep them and at gaps over which it does not.
    let arrivals =
        |second: u32| if (second / 600).is_multiple_of(2) { 6 * u64::from(second.is_multiple_of(30)) } else { 0 };
    let mut most = 0;
    for second in 0..7_200 {
        let decision = one.second(&scheduled, arrivals(second));
        assert_eq!(decision, other.second(&settings(5.0), arrivals(second)), "second {second}");
        most = most.max(decision.replicas);
    }
    assert!((3..40).contains(&most), "{most} pods");
}

#[test]
fn advice_is_the_same_decision() {
    let mut advise = settings(5.0);
    advise.mode = Mode::Advise;
    let (mut one, mut other) = (Pool::new(20.0, 5.0, 4), Pool::new(20.0, 5.0, 4));
    assert_eq!(one.second(&advise, 7), other.second(&settings(5.0), 7));
}

#[test]
fn utilisation_and_interactive_load_count_as_work() {
    let mut settings = settings(30.0);
    settings.target.utilization = Some(0.5);
    let mut observation = Observation::empty_at(MONDAY, 4);
    observation.replicas = 2;
    observation.pods = Some(Pods { busy: 2, ..Pods::default() });
    observation.interactive = 8.0;
    let decision = decide(&settings, &mut History::default(), &observation, MONDAY);
    assert_eq!((decision.replicas, decision.reason), (4, Reason::Up(Term::Utilization)));
}

#[test]
fn a_jump_holds_and_is_believed_when_it_lasts() {
    let settings = settings(30.0);
    let mut pool = Pool::new(10.0, 500.0, 4);
    for _ in 0..60 {
        pool.second(&settings, 1);
    }
    let replicas = pool.replicas;
    let emptied = |pool: &Pool| {
        let mut observation = pool.observation();
        observation.work = Some(Vec::new());
        observation.pods = Some(Pods { idle: replicas, ..Pods::default() });
        observation
    };
    pool.now += 1.0;
    let observation = emptied(&pool);
    let decision = decide(&settings, &mut pool.history, &observation, pool.now);
    assert_eq!((decision.replicas, decision.reason), (replicas, Reason::Held(Hold::Jumped)));
    let reasons = (0..60).map(|_| {
        pool.now += 1.0;
        let observation = emptied(&pool);
        decide(&settings, &mut pool.history, &observation, pool.now).reason
    });
    assert!(reasons.filter(|reason| !matches!(reason, Reason::Held(_))).count() > 20);
}

#[test]
fn counters_that_stand_still_though_tasks_are_in_work_are_stale_whatever_time_they_bear() {
    let settings = settings(30.0);
    let mut pool = Pool::new(10.0, 8.0, 2);
    for _ in 0..300 {
        pool.second(&settings, 1);
    }
    // The reader repeats itself from here on, with the time of each repetition.
    let mut frozen = pool.observation();
    let mut decided = |seconds: f64| {
        let now = pool.now + seconds;
        frozen.at = now;
        decide(&settings, &mut pool.history, &frozen, now)
    };
    let decisions: Vec<_> = (1..=200).map(|second| decided(f64::from(second))).collect();
    let held = |second: usize| decisions[second - 1].reason == Reason::Held(Hold::Stale);
    assert!(!held(8) && held(30) && held(119), "{:?}", decisions[29]);
    assert_eq!(decisions[29].replicas, pool.replicas);
    assert_eq!(decisions[29].pulling as usize, pool.working.len(), "all pull while nobody knows what waits");
    // Tasks that hang do not hold the pool for ever.
    assert!(!held(125), "{:?}", decisions[124]);
}

#[test]
fn what_came_while_nothing_could_be_read_is_not_taken_for_new() {
    let settings = settings(90.0);
    let mut pool = Pool::new(20.0, 5.0, 4);
    pool.second(&settings, 0);
    pool.arrivals += 1;
    pool.waiting.push(pool.now);
    for _ in 0..60 {
        pool.now += 1.0;
        let mut observation = pool.observation();
        observation.work = None;
        let decision = decide(&settings, &mut pool.history, &observation, pool.now);
        assert_eq!((decision.replicas, decision.reason), (0, Reason::Held(Hold::Missing)));
    }
    for _ in 0..200 {
        pool.second(&settings, 0);
    }
    assert_eq!((pool.started, pool.late), (1, 0));
}

#[test]
fn a_long_start_is_remembered_when_many_short_ones_followed() {
    let mut starts = ColdStarts::default();
    starts.measured(70.0);
    for _ in 0..200 {
        starts.measured(20.0);
    }
    let distribution = starts.distribution().expect("starts were measured");
    assert!(distribution.quantile(1.0) > 60.0 && distribution.quantile(0.9) < 21.0, "{distribution:?}");
    // What an earlier version wrote can be read.
    let old: ColdStarts = serde_json::from_str(r#"{"last": [20.0], "mean": 20.0, "count": 1}"#).expect("a known form");
    assert_eq!(old.distribution().map(|it| it.quantile(1.0)), Some(20.0));
}

#[test]
fn settings_that_contradict_themselves_are_named_and_hold() {
    let check = |change: fn(&mut Settings), expect: &str| {
        let mut settings = settings(30.0);
        change(&mut settings);
        let invalid: Invalid = settings.check().expect_err("this cannot be");
        assert!(invalid.to_string().contains(expect), "{invalid}");
        let mut observation = Observation::empty_at(MONDAY, 4);
        observation.replicas = 7;
        let decision = decide(&settings, &mut History::default(), &observation, MONDAY);
        assert_eq!((decision.replicas, decision.reason), (7, Reason::Held(Hold::Settings)));
    };
    check(|settings| settings.min_replicas = 50, "minReplicas");
    check(|settings| settings.max_replicas = 0, "maxReplicas");
    check(|settings| settings.target.wait = 0.0, "target.wait");
    check(|settings| settings.target.wait = f64::NAN, "target.wait");
    check(|settings| settings.target.wait = -3.0, "target.wait");
    check(|settings| settings.target.utilization = Some(1.2), "target.utilization");
    check(|settings| settings.stabilization.cost_share = f64::NAN, "stabilization.costShare");
    check(|settings| settings.queue = Some(Thresholds { down_at: 100, ..Thresholds::default() }), "queue.downAt");
    let window = Window { from_minute: 0, to_minute: 100, min_replicas: 0, max_replicas: 5 };
    let overlapping = |settings: &mut Settings| {
        let window = Window { from_minute: 0, to_minute: 100, min_replicas: 0, max_replicas: 5 };
        settings.schedule = vec![window.clone(), Window { from_minute: 99, to_minute: 200, ..window }];
    };
    check(overlapping, "schedule[0]\" and \"schedule[1]\" overlap");
    assert!(Settings { schedule: vec![window], ..settings(3.0) }.check().is_ok());
}

#[test]
fn a_budget_goes_to_the_important_first_and_then_to_whom_it_helps_most() {
    let claim = |pool: &str, priority, held, wanted, benefit| Claim {
        pool: pool.to_owned(),
        priority,
        devices: 1,
        held,
        wanted,
        benefit,
    };
    let granted =
        |devices, claims: &[Claim]| share(devices, claims).iter().map(|grant| grant.replicas).collect::<Vec<_>>();
    let equal = [claim("a", 0, 1, 6, 100.0), claim("b", 0, 0, 5, 100.0)];
    assert_eq!(granted(7, &equal), [4, 3]);
    let important = [claim("a", 0, 1, 6, 100.0), claim("b", 5, 0, 5, 1.0)];
    assert_eq!(granted(7, &important), [2, 5]);
    assert_eq!(granted(0, &equal), [1, 0], "what is held keeps its devices");
}

#[test]
fn a_cooldown_that_costs_more_than_cold_starts_is_found_out() {
    let mut settings = settings(120.0);
    settings.cooldown_to_zero = Some(900.0);
    let mut pool = Pool::new(10.0, 5.0, 4);
    for second in 0..30 * 1_200u64 {
        pool.second(&settings, u64::from(second % 1_200 == 0));
    }
    let recommended = recommend(&settings, &pool.history, 10.0);
    let first = recommended.first().expect("fifteen minutes of idling for a start of ten seconds");
    assert_eq!(first.field, "cooldownToZero");
    assert!(first.value < 60.0 && first.gain > 0.0 && first.share > 0.5, "{first:?}");
}

#[test]
fn the_state_of_a_pool_with_many_stages_and_weeks_behind_it_is_below_four_kibibytes() {
    let settings = settings(600.0);
    let mut history = History::default();
    let (mut arrivals, mut most) = (0, 0);
    for step in 0..16 * 24 * 120u64 {
        let now = MONDAY + step as f64 * 30.0 + 0.123_456;
        let mut observation = Observation::empty_at(now, 2);
        let load = (step / 7 % 13) * (step / 240 % 5);
        arrivals += load;
        let work = |size: u64| scaler::Work {
            stage: format!("a-stage-with-a-name-as-long-as-a-name-may-be-in-a-pipeline-{size}"),
            size: size as u8,
            pending: load,
            in_work: load / 3,
            service: Some(scaler::ServiceTime { mean: 7.123_456 + size as f64, deviation: 3.987_654, count: step }),
            share: Some(0.123_456_789 + size as f64),
        };
        observation.work = Some((0..14).map(work).collect());
        observation.arrivals = Some(arrivals);
        observation.finished = None;
        observation.waits = Some(scaler::Waits { started: arrivals, late: arrivals / 90 });
        observation.replicas = (load / 2) as u32;
        observation.pods = Some(Pods { busy: (load / 2) as u32, ..Pods::default() });
        decide(&settings, &mut history, &observation, now);
        if step % 997 == 0 {
            most = most.max(serde_json::to_string(&history).expect("plain data").len());
        }
    }
    assert!(most < 4_096, "{most} bytes");
}

#[test]
fn what_is_written_with_few_digits_says_the_same_and_the_form_of_before_is_read_too() {
    let settings = settings(30.0);
    let mut pool = Pool::new(20.0, 7.123_456, 2);
    pool.now += 0.123_456;
    for second in 0..4_000 {
        pool.second(&settings, u64::from(second % 7 == 0));
    }
    let (written, whole) = (few_digits(&pool.history), serde_json::to_value(&pool.history).expect("plain data"));
    assert!(written.to_string().len() < whole.to_string().len());
    let (of, exact) = (|path: &str| written.pointer(path).cloned(), |path: &str| whole.pointer(path)?.as_f64());
    let at = exact("/reading/at").expect("a time");
    assert_eq!(of("/reading/at"), Some(json!(at.floor() as i64)), "never later than it was");
    assert_eq!(of("/reading/arrivals"), Some(json!(pool.arrivals)), "counts are whole");
    let (rate, exactly) = (of("/rate").and_then(|rate| rate.as_f64()), exact("/rate"));
    let (rate, exactly) = rate.zip(exactly).expect("a rate");
    assert!(rate.to_string().len() <= 6 && (rate / exactly - 1.0).abs() < 0.005, "{rate} of {exactly}");
    // Services had names once.
    let mut before = whole;
    for service in before["service"].as_array_mut().expect("a list") {
        *service = json!({"key": service[0], "mean": service[1], "deviation": service[2], "count": service[3]});
    }
    // For how long tasks gather was not known.
    before["idle"].as_object_mut().expect("an object").remove("gathering").expect("it is known now");
    for history in [written, before] {
        let mut restarted = pool.clone();
        restarted.history = serde_json::from_value(history).expect("a known form");
        let mut whole = pool.clone();
        for new in [0, 3, 0, 0, 12, 0, 0, 1] {
            assert_eq!(whole.second(&settings, new).replicas, restarted.second(&settings, new).replicas);
        }
    }
}

#[test]
fn a_start_is_put_off_the_less_the_rarer_late_tasks_are_to_be() {
    let quantiles: Vec<f64> = (0..=20).map(|step| 5.0 + 2.0 * f64::from(step)).collect();
    let age_at_start = |attainment: f64| {
        let mut settings = settings(180.0);
        settings.target.attainment = attainment;
        let mut history = History::default();
        (0..180).find(|&age| {
            let now = MONDAY + f64::from(age);
            let mut observation = Pool::new(25.0, 5.0, 4).observation();
            observation.at = now;
            observation.cold_start = Some(ColdStart::known(quantiles.clone()));
            observation.arrivals = Some(1);
            observation.oldest_wait = Some(f64::from(age));
            observation.work.iter_mut().flatten().for_each(|work| work.pending = 1);
            decide(&settings, &mut history, &observation, now).replicas > 0
        })
    };
    let (seldom, hardly_ever) = (age_at_start(0.9).expect("it starts"), age_at_start(0.9999).expect("it starts"));
    assert!(seldom > hardly_ever + 3, "{seldom} s and {hardly_ever} s");
    // The longest start that was measured is in time.
    assert!(f64::from(hardly_ever) + 45.0 < 180.0, "{hardly_ever} s");
}

/// An hour of tasks that come each 26 s on average, and the pod-seconds that it takes. They take 10 s, so a pod is mostly idle
/// for less than it takes to start.
fn hour_of_short_gaps(pool: &mut Pool, settings: &Settings, comes: impl Fn(u64) -> bool) -> u32 {
    let from = (pool.now - MONDAY) as u64;
    (from..from + 3_600).map(|second| pool.second(settings, u64::from(comes(second))).replicas).sum()
}

fn by_chance(second: u64) -> bool {
    random(second).is_multiple_of(26)
}

#[test]
fn a_pod_goes_after_a_shorter_gap_where_tasks_gather_before_it_is_missed() {
    let mut pool = Pool::new(20.0, 10.0, 8);
    hour_of_short_gaps(&mut pool, &settings(20.0), by_chance);
    let stays = hour_of_short_gaps(&mut pool, &settings(20.0), by_chance);
    assert!(stays >= 3_000, "{stays}: nothing can be put off, so somebody is there nearly all the time");

    let mut pool = Pool::new(20.0, 10.0, 8);
    hour_of_short_gaps(&mut pool, &settings(180.0), by_chance);
    let late = pool.late;
    let gathered = hour_of_short_gaps(&mut pool, &settings(180.0), by_chance);
    assert!(gathered < 2_000, "{gathered}: six tasks that gathered for one start are cheaper than a pod that stays");
    assert!(pool.late <= late + 2, "{} late, {late} of them before", pool.late);
}

#[test]
fn what_was_learned_of_gathering_at_a_longer_target_does_not_outlive_it() {
    let mut pool = Pool::new(20.0, 10.0, 8);
    for _ in 0..48 {
        hour_of_short_gaps(&mut pool, &settings(3_600.0), by_chance);
    }
    let (mut slept, from) = (0, (pool.now - MONDAY) as u64);
    for second in from..from + 3_600 {
        let before = pool.replicas;
        let decision = pool.second(&settings(20.0), u64::from(by_chance(second)));
        slept += u32::from(before > 0 && decision.replicas == 0);
    }
    assert!(slept <= 7, "it fell asleep {slept} times, though nobody can wait any more");
}

#[test]
fn a_start_is_put_off_for_as_long_as_the_first_in_line_can_wait() {
    let settings = settings(180.0);
    // One, and so many that came with it that a bin of arrivals is told apart in parts of several.
    for tasks in [1, 8] {
        let mut pool = Pool::new(20.0, 10.0, 8);
        pool.second(&settings, 0);
        pool.second(&settings, tasks);
        let came = pool.now;
        while pool.replicas == 0 {
            pool.second(&settings, 0);
        }
        // The next reading, and a start that is longer than any before, are reckoned with.
        let waited = pool.now - came;
        assert!(waited + 2.0 + 1.3 * 20.0 <= 180.0, "{tasks} at once waited for {waited} s");
    }
}

#[test]
fn no_longer_cooldown_is_recommended_where_tasks_gather() {
    let mut settings = settings(180.0);
    settings.cooldown_to_zero = Some(1.0);
    let mut pool = Pool::new(20.0, 10.0, 8);
    let often = |second: u64| (0..3_u64).any(|part| by_chance(second + 1_000_000 * part));
    for _ in 0..3 {
        hour_of_short_gaps(&mut pool, &settings, often);
    }
    let recommended = recommend(&settings, &pool.history, 20.0);
    assert!(recommended.iter().all(|it| it.value <= 1.0), "{recommended:?}");
}

#[test]
fn at_a_load_like_clockwork_a_pod_stays_though_tasks_could_gather() {
    let mut pool = Pool::new(20.0, 10.0, 8);
    let like_clockwork = |second: u64| second.is_multiple_of(26);
    // That the load is even is learned within three hours.
    let hours = [(); 5].map(|()| hour_of_short_gaps(&mut pool, &settings(180.0), like_clockwork));
    assert_eq!((hours[3], hours[4], pool.replicas), (3_600, 3_600, 1), "{hours:?}");
}

#[test]
fn tasks_that_are_not_done_though_they_should_be_are_longer_than_those_before() {
    // Two of two slots are in work, two tasks wait: at ten seconds each there is time enough.
    let replicas_after = |seconds: u32| {
        let settings = settings(180.0);
        let mut pool = Pool::new(20.0, 10.0, 2);
        pool.working = vec![vec![f64::MAX, f64::MAX]];
        (pool.replicas, pool.finished, pool.arrivals, pool.started) = (1, 50, 54, 52);
        pool.waiting = vec![pool.now, pool.now];
        (0..seconds).map(|_| pool.second(&settings, 0).replicas).last()
    };
    assert_eq!(replicas_after(20), Some(1));
    assert!(replicas_after(160) > Some(1), "those that wait would be late");
}
