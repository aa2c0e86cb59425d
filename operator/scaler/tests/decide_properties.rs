//! What holds for every decision, whatever is seen.

mod support;

use proptest::prelude::*;
use scaler::{DeadlineAhead, Hold, Observation, Place, Reason, Settings, Term, start_by};
use support::Pool;

fn settings(wait: f64, max: u32) -> Settings {
    Settings { max_replicas: max, ..support::settings(wait) }
}

/// A pool with some past: so many seconds of random arrivals.
fn lived(cold_start: f64, service: f64, slots: u32, settings: &Settings, arrivals: &[u64]) -> Pool {
    let mut pool = Pool::new(cold_start, service, slots);
    for &new in arrivals {
        pool.second(settings, new);
    }
    pool
}

fn arrivals() -> impl Strategy<Value = Vec<u64>> {
    let burst = prop_oneof![4 => Just(0u64), 3 => 0u64..3, 1 => 0u64..40];
    proptest::collection::vec((burst, 1usize..60), 1..25)
        .prop_map(|spells| spells.into_iter().flat_map(|(rate, seconds)| std::iter::repeat_n(rate, seconds)).collect())
}

/// Ways in which numbers go wrong.
fn spoil(observation: &mut Observation, how: usize) -> Hold {
    let work = |observation: &mut Observation, mean: f64| {
        if let Some(service) = observation.work.iter_mut().flatten().find_map(|work| work.service.as_mut()) {
            service.mean = mean;
        }
    };
    match how {
        0 => observation.work = None,
        1 => observation.arrivals = None,
        2 => observation.pods = None,
        3 => observation.at -= 60.0,
        4 => observation.at += 60.0,
        5 => work(observation, f64::NAN),
        6 => work(observation, -1.0),
        7 => observation.oldest_wait = Some(f64::INFINITY),
        8 => observation.cpu = Some(40.0),
        9 => observation.slots_per_pod = 0,
        10 => observation.interactive = f64::NAN,
        11 => observation.arrivals = observation.arrivals.map(|_| 0),
        12 => observation.work.iter_mut().flatten().for_each(|work| work.pending += 5_000),
        13 => {
            let ahead = DeadlineAhead { at: observation.at, start_by: f64::NAN, tasks: 1.0, probability: 1.0 };
            observation.deadlines_ahead = vec![ahead];
        }
        _ => observation.cold_start = Some(scaler::ColdStart { quantiles: vec![3.0, 1.0], mean: 2.0, count: 2 }),
    }
    match how {
        0..=2 => Hold::Missing,
        3 | 4 => Hold::Stale,
        11 | 12 => Hold::Jumped,
        _ => Hold::Absurd,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replicas_stay_within_bounds_and_work_is_never_interrupted(
        arrivals in arrivals(),
        cold_start in 1.0f64..80.0,
        service in 0.5f64..60.0,
        slots in 1u32..9,
        wait in 1.0f64..200.0,
        (min, more) in (0u32..4, 1u32..20),
    ) {
        let mut settings = settings(wait, min + more);
        settings.min_replicas = min;
        let mut pool = Pool::new(cold_start, service, slots);
        for new in arrivals {
            // The pool refuses to take away a pod that is not idle.
            let decision = pool.second(&settings, new);
            prop_assert!((min..=min + more).contains(&decision.replicas));
            let left = pool.waiting.len() + pool.in_work();
            prop_assert!(decision.replicas > 0 || min > 0 || pool.in_work() == 0, "{left} left with none: {decision:?}");
        }
    }

    #[test]
    fn zero_comes_only_when_nothing_waits_and_nothing_is_in_work(
        arrivals in arrivals(),
        cold_start in 1.0f64..60.0,
        service in 0.5f64..60.0,
        wait in 1.0f64..200.0,
    ) {
        let settings = settings(wait, 20);
        let mut pool = Pool::new(cold_start, service, 2);
        let mut before = 0;
        for new in arrivals {
            let seen = pool.clone();
            let decision = pool.second(&settings, new);
            if before > 0 && decision.replicas == 0 {
                prop_assert_eq!(decision.reason, Reason::ToZero);
                prop_assert!(seen.waiting.is_empty() && new == 0 && pool.in_work() == 0);
            }
            before = decision.replicas;
        }
    }

    #[test]
    fn a_task_that_is_far_too_late_has_a_pod_however_quickly_pods_start(
        every in 1usize..600,
        cold_start in prop_oneof![0.0f64..5.0, 0.0f64..60.0],
        measured in 0u64..30,
        service in 0.5f64..60.0,
        wait in 1.0f64..200.0,
    ) {
        let settings = settings(wait, 20);
        let mut pool = Pool { measured, ..Pool::new(cold_start, service, 4) };
        for second in 0..1_500 {
            let decision = pool.second(&settings, u64::from(second % every == 0));
            let late = pool.waiting.first().map_or(0.0, |arrived| pool.now - arrived - wait);
            prop_assert!(late <= 10.0 * cold_start + 60.0 || decision.replicas > 0, "{late} s too late: {decision:?}");
        }
    }

    #[test]
    fn numbers_that_cannot_be_trusted_hold(
        arrivals in arrivals(),
        cold_start in 1.0f64..60.0,
        service in 0.5f64..30.0,
        how in 0usize..15,
    ) {
        let settings = settings(30.0, 30);
        let mut pool = lived(cold_start, service, 4, &settings, &arrivals);
        pool.second(&settings, 1);
        pool.now += 1.0;
        let mut observation = pool.observation();
        // A little work, so that there is something to spoil.
        let hold = spoil(&mut observation, how);
        let decision = scaler::decide(&settings, &mut pool.history, &observation, pool.now);
        if pool.replicas == 0 && decision.reason == Reason::Up(Term::Backlog) {
            // What was seen to wait before numbers could not be read waits still, as long as nobody is there.
            prop_assert!(matches!(hold, Hold::Missing | Hold::Stale) && observation.pods.is_some());
            prop_assert!(!pool.waiting.is_empty() && decision.replicas <= pool.waiting.len() as u32, "{decision:?}");
            return Ok(());
        }
        prop_assert_eq!(decision.reason, Reason::Held(hold));
        prop_assert_eq!(decision.replicas, pool.replicas);
    }

    #[test]
    fn readings_that_are_true_are_never_held(
        arrivals in arrivals(),
        cold_start in 1.0f64..60.0,
        service in 0.5f64..90.0,
        slots in 1u32..9,
        wait in 1.0f64..200.0,
    ) {
        let settings = settings(wait, 30);
        let mut pool = Pool::new(cold_start, service, slots);
        for new in arrivals {
            let decision = pool.second(&settings, new);
            prop_assert!(!matches!(decision.reason, Reason::Held(_)), "{decision:?}");
        }
    }

    #[test]
    fn no_step_is_taken_back_within_a_cold_start_but_for_a_burst_or_a_task_that_nobody_is_there_for(
        arrivals in arrivals(),
        cold_start in 2.0f64..60.0,
        service in 0.5f64..30.0,
        slots in 1u32..9,
        wait in 1.0f64..120.0,
    ) {
        let settings = settings(wait, 30);
        let mut pool = Pool::new(cold_start, service, slots);
        let mut last: Option<(f64, bool)> = None;
        let mut of_late: Vec<(f64, u32)> = Vec::new();
        for new in arrivals {
            let (before, first) = (pool.replicas, pool.waiting.first().copied());
            let decision = pool.second(&settings, new);
            if decision.replicas != before {
                let up = decision.replicas > before;
                if let Some((at, was_up)) = last {
                    let passed = pool.now - at;
                    // Where nobody is there, a task that can still be in time, and could not be after the pause, is waited for.
                    let saved = up && before == 0 && pool.now - first.unwrap_or(pool.now) + cold_start <= wait;
                    // More than twice as many as there were are not the step taken back.
                    of_late.retain(|step| pool.now - step.0 < cold_start);
                    let asked = decision.terms.iter().map(|term| term.replicas).max().unwrap_or(0);
                    let burst = of_late.iter().all(|step| asked > 2 * step.1) && up;
                    prop_assert!(was_up == up || passed >= cold_start || saved || burst, "{passed} s after the step before");
                }
                of_late.push((pool.now, before));
                last = Some((pool.now, up));
            }
        }
    }

    #[test]
    fn constant_load_gives_at_most_one_reversal_in_ten_minutes(
        every in 1u64..12,
        service in 2.0f64..40.0,
        cold_start in 5.0f64..40.0,
        slots in 1u32..9,
        wait in 5.0f64..120.0,
    ) {
        let settings = settings(wait, 60);
        let mut pool = Pool::new(cold_start, service, slots);
        let (mut turns, mut last_up, mut before) = (Vec::new(), None, 0);
        for second in 0..6 * 3_600u64 {
            let decision = pool.second(&settings, u64::from(second % every == 0));
            if decision.replicas != before {
                let up = decision.replicas > before;
                // The first hour is for finding out.
                if last_up == Some(!up) && second > 3_600 {
                    turns.push(second);
                }
                last_up = Some(up);
                before = decision.replicas;
            }
        }
        // One step down and the step up that takes it back may be near to each other; on average they are not.
        let hours = 5.0;
        prop_assert!(turns.len() as f64 <= hours * 6.0, "{} reversals in {hours} hours: {turns:?}", turns.len());
    }

    #[test]
    fn the_same_arguments_give_the_same_decision_and_the_state_survives_a_restart(
        arrivals in arrivals(),
        cold_start in 1.0f64..60.0,
        service in 0.5f64..30.0,
        wait in 1.0f64..200.0,
    ) {
        let settings = settings(wait, 30);
        let pool = lived(cold_start, service, 4, &settings, &arrivals);
        let text = serde_json::to_string(&pool.history).expect("a history is plain data");
        prop_assert!(text.len() < 4_096, "{} bytes", text.len());
        let mut restarted = pool.clone();
        restarted.history = serde_json::from_str(&text).expect("what was written can be read");
        let (mut one, mut other) = (pool.clone(), pool);
        for new in [0, 3, 0, 0, 12, 0, 0, 1] {
            let decision = one.second(&settings, new);
            prop_assert_eq!(&decision, &other.second(&settings, new));
            prop_assert_eq!(decision.replicas, restarted.second(&settings, new).replicas);
        }
    }

    #[test]
    fn documents_that_come_with_a_deadline_never_lead_beyond_bounds_nor_interrupt_work(
        arrivals in arrivals(),
        cold_start in 1.0f64..60.0,
        service in 0.5f64..60.0,
        wait in 1.0f64..200.0,
        ahead in proptest::collection::vec((0.0f64..600.0, 0.0f64..600.0, 0.0f64..1e9, 0.0f64..=1.0), 1..20),
    ) {
        let settings = settings(wait, 20);
        let mut pool = Pool::new(cold_start, service, 4);
        let now = pool.now;
        let coming = |&(after, more, tasks, probability): &(f64, f64, f64, f64)| DeadlineAhead {
            at: now + after,
            start_by: now + after + more,
            tasks,
            probability,
        };
        pool.ahead = ahead.iter().map(coming).collect();
        for new in arrivals {
            // The pool refuses to take away a pod that is not idle.
            let decision = pool.second(&settings, new);
            prop_assert!(decision.replicas <= 20);
            prop_assert!(!matches!(decision.reason, Reason::Held(_)), "{decision:?}");
        }
    }

    #[test]
    fn no_stage_of_a_chain_uses_up_the_slack_of_another(
        stages in proptest::collection::vec((0.01f64..1e4, 0.0f64..1e3), 1..12),
        slack in 0.0f64..1e6,
        since in 0.0f64..2e9,
    ) {
        let of = |stages: &[(f64, f64)]| stages.iter().map(|(service, start)| service + start).sum::<f64>();
        let deadline = since + of(&stages) + slack;
        let starts: Vec<f64> = (0..stages.len())
            .map(|stage| {
                let (service, start) = stages[stage];
                let (before, after) = (of(&stages[..stage]), of(&stages[stage + 1..]));
                start_by(deadline, since, &Place { before, own: service + start, service, after })
            })
            .collect();
        // Each can begin when the one before ends that began at its last moment, and may then wait for its pool's start.
        let ready = |stage: usize| if stage == 0 { since } else { starts[stage - 1] + stages[stage - 1].0 };
        for (stage, (_, start)) in stages.iter().enumerate() {
            prop_assert!(starts[stage] + 1e-3 >= ready(stage) + start, "{stage} of {starts:?}");
        }
        prop_assert!((starts[stages.len() - 1] + stages[stages.len() - 1].0 - deadline).abs() < 1e-3);
    }
}
