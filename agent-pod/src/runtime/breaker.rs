//! Keeps callers from waiting for something that does not answer. Pure: the time is passed in, and it never calls anything.

use std::time::{Duration, Instant};

/// Lets calls through until several in a row have failed; then none, but for one trial after each pause.
#[derive(Clone, Debug)]
pub struct Breaker {
    failures: u32,
    pause: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failed: u32 },
    Open { until: Instant },
    // A trial whose end is never told must not keep the breaker shut: after `until` another one may begin.
    HalfOpen { until: Instant },
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Call, and tell how it went with [`Breaker::succeeded`] or [`Breaker::failed`].
    Call,
    /// Try whether it works again, and tell with [`Breaker::tried`].
    Try,
    /// Do without.
    Refused,
}

impl Breaker {
    /// One that is open and whose first trial is due `now`: nothing is known yet. It opens again after `failures` calls in
    /// a row have failed, for `pause`.
    pub fn untried(failures: u32, pause: Duration, now: Instant) -> Self {
        Self { failures, pause, state: State::Open { until: now } }
    }

    /// Asks for a call.
    pub fn ask(&mut self, now: Instant) -> Permit {
        match self.state {
            State::Closed { .. } => Permit::Call,
            State::Open { until } | State::HalfOpen { until } if now >= until => {
                self.state = State::HalfOpen { until: now + self.pause };
                Permit::Try
            }
            State::Open { .. } | State::HalfOpen { .. } => Permit::Refused,
        }
    }

    /// A call went well.
    pub fn succeeded(&mut self) {
        // What was called before the breaker opened says nothing about now.
        if let State::Closed { failed } = &mut self.state {
            *failed = 0;
        }
    }

    /// A call failed. Whether this opened the breaker.
    pub fn failed(&mut self, now: Instant) -> bool {
        let State::Closed { failed } = &mut self.state else { return false };
        *failed += 1;
        let opens = *failed >= self.failures;
        if opens {
            self.state = State::Open { until: now + self.pause };
        }
        opens
    }

    /// A trial ended.
    pub fn tried(&mut self, works: bool, now: Instant) {
        self.state = if works { State::Closed { failed: 0 } } else { State::Open { until: now + self.pause } };
    }

    /// `closed`, `open` or `half-open`.
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half-open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

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
}
