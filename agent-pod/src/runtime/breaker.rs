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
    /// One that lets calls through until `failures` in a row have failed; then it opens for `pause`.
    pub fn closed(failures: u32, pause: Duration) -> Self {
        Self { failures, pause, state: State::Closed { failed: 0 } }
    }

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

    /// From now on it opens after so many failures, for so long. What is open stays so until its time is over.
    pub fn set(&mut self, failures: u32, pause: Duration) {
        (self.failures, self.pause) = (failures, pause);
    }

    /// How long a caller that was refused does well to wait: until the next trial, or a part of it while one is under way,
    /// which usually ends much earlier.
    pub fn wait(&self, now: Instant) -> Duration {
        match self.state {
            State::Closed { .. } => Duration::ZERO,
            State::Open { until } => until.saturating_duration_since(now),
            State::HalfOpen { until } => until.saturating_duration_since(now).min(self.pause / 4),
        }
    }

    /// 0 where it is closed, 1 half-open, 2 open: for metrics.
    pub fn number(&self) -> i64 {
        match self.state {
            State::Closed { .. } => 0,
            State::HalfOpen { .. } => 1,
            State::Open { .. } => 2,
        }
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
