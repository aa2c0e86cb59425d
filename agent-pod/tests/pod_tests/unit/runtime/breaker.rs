//! When a breaker lets callers through.

use std::time::{Duration, Instant};

use agent_pod::runtime::breaker::{Breaker, Permit};
use proptest::prelude::*;

const PAUSE: Duration = Duration::from_secs(10);

/// One thing that happens to a breaker; numbers choose among the calls and trials that are out.
#[derive(Clone, Debug)]
enum Step {
    Ask,
    Succeeds,
    Fails,
    Tried(bool),
    TrialIsLost,
    Passes(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Ask),
        2 => Just(Step::Succeeds),
        5 => Just(Step::Fails),
        2 => any::<bool>().prop_map(Step::Tried),
        1 => Just(Step::TrialIsLost),
        3 => (0..12_u64).prop_map(Step::Passes),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// Against the rules in words: closed lets all through; so many failures in a row open it; then nothing passes for
    /// the pause, and after it one caller a pause until a trial goes well.
    #[test]
    fn it_keeps_its_rules_whatever_happens(failures in 1..5_u32, steps in steps()) {
        let mut now = Instant::now();
        let mut breaker = Breaker::closed(failures, PAUSE);
        let (mut calls, mut in_a_row, mut trials) = (0_u32, 0_u32, 0_u32);
        // The end of the time in which nobody may call; `None` while it is closed.
        let mut shut: Option<Instant> = None;
        for step in steps {
            match step {
                Step::Ask => match breaker.ask(now) {
                    Permit::Call => {
                        prop_assert!(shut.is_none(), "a call passes while it is shut");
                        calls += 1;
                    }
                    Permit::Try => {
                        prop_assert!(shut.is_some_and(|until| now >= until), "a trial before its time");
                        shut = Some(now + PAUSE);
                        trials += 1;
                    }
                    Permit::Refused => {
                        prop_assert!(shut.is_some_and(|until| now < until), "refused without a reason");
                        prop_assert!(breaker.wait(now) > Duration::ZERO && breaker.wait(now) <= PAUSE);
                    }
                },
                Step::Succeeds if calls > 0 => {
                    calls -= 1;
                    breaker.succeeded();
                    in_a_row = 0;
                }
                Step::Fails if calls > 0 => {
                    calls -= 1;
                    in_a_row += 1;
                    let opens = shut.is_none() && in_a_row >= failures;
                    prop_assert_eq!(breaker.failed(now), opens);
                    if opens {
                        shut = Some(now + PAUSE);
                    }
                }
                Step::Tried(works) if trials > 0 => {
                    trials -= 1;
                    breaker.tried(works, now);
                    (in_a_row, shut) = (0, (!works).then(|| now + PAUSE));
                }
                Step::TrialIsLost => trials = trials.saturating_sub(1),
                Step::Passes(seconds) => now += Duration::from_secs(seconds),
                Step::Succeeds | Step::Fails | Step::Tried(_) => {}
            }
            prop_assert_eq!(breaker.number() == 0, shut.is_none());
        }
    }
}

#[test]
fn settings_that_change_count_from_the_next_failure() {
    let now = Instant::now();
    let mut breaker = Breaker::closed(5, PAUSE);
    assert!(!breaker.failed(now));
    breaker.set(2, 2 * PAUSE);
    assert!(breaker.failed(now));
    breaker.set(1, PAUSE);
    assert_eq!(breaker.ask(now + PAUSE), Permit::Refused, "what is open stays so until its time is over");
    assert_eq!(breaker.wait(now + PAUSE), PAUSE);
    assert_eq!(breaker.ask(now + 2 * PAUSE), Permit::Try);
    assert_eq!((breaker.number(), breaker.wait(now + 2 * PAUSE)), (1, PAUSE / 4));
}

fn closed(now: Instant) -> Breaker {
    let mut breaker = Breaker::untried(5, PAUSE, now);
    assert_eq!(breaker.ask(now), Permit::Try);
    breaker.tried(true, now);
    breaker
}

#[test]
fn nothing_is_called_before_the_first_trial_went_well() {
    let now = Instant::now();
    let mut breaker = Breaker::untried(5, PAUSE, now);
    assert_eq!(breaker.ask(now), Permit::Try);
    assert_eq!(breaker.ask(now), Permit::Refused, "one trial at a time");
    breaker.tried(true, now);
    assert_eq!(breaker.ask(now), Permit::Call);
}

#[test]
fn the_fifth_failure_in_a_row_opens_it() {
    let now = Instant::now();
    let mut breaker = closed(now);
    for _ in 0..4 {
        assert!(!breaker.failed(now));
    }
    breaker.succeeded();
    for _ in 0..4 {
        assert!(!breaker.failed(now), "a success in between starts the count anew");
    }
    assert_eq!(breaker.ask(now), Permit::Call);
    assert!(breaker.failed(now));
    assert_eq!(breaker.ask(now), Permit::Refused);
    assert_eq!(breaker.word(), "open");
}

#[test]
fn after_the_pause_one_caller_tries_and_a_failure_opens_it_for_another_pause() {
    let now = Instant::now();
    let mut breaker = closed(now);
    (0..5).for_each(|_| {
        breaker.failed(now);
    });
    assert_eq!(breaker.ask(now + PAUSE - Duration::from_nanos(1)), Permit::Refused);
    let later = now + PAUSE;
    assert_eq!(breaker.ask(later), Permit::Try);
    assert_eq!(breaker.word(), "half-open");
    assert_eq!(breaker.ask(later), Permit::Refused);
    breaker.tried(false, later);
    assert_eq!(breaker.ask(later + PAUSE - Duration::from_nanos(1)), Permit::Refused);
    assert_eq!(breaker.ask(later + PAUSE), Permit::Try);
    breaker.tried(true, later + PAUSE);
    assert_eq!(breaker.word(), "closed");
    assert!(!breaker.failed(later + PAUSE), "the count starts anew");
}

#[test]
fn late_answers_of_earlier_calls_change_nothing() {
    let now = Instant::now();
    let mut breaker = closed(now);
    (0..5).for_each(|_| {
        breaker.failed(now);
    });
    breaker.succeeded();
    assert_eq!(breaker.ask(now), Permit::Refused);
    assert!(!breaker.failed(now + PAUSE), "it opens once");
    assert_eq!(breaker.ask(now + PAUSE), Permit::Try, "late failures do not lengthen the pause");
    breaker.succeeded();
    assert_eq!(breaker.ask(now + PAUSE), Permit::Refused, "only the trial counts");
}

#[test]
fn a_trial_that_is_never_told_of_is_repeated() {
    let now = Instant::now();
    let mut breaker = Breaker::untried(5, PAUSE, now);
    assert_eq!(breaker.ask(now), Permit::Try);
    assert_eq!(breaker.ask(now + PAUSE), Permit::Try);
}
