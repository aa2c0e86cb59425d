//! Time as the ports see it: passed in, so that tests move it by hand instead of sleeping.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::Millis;

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Millis;
    /// Returns when [`Clock::now`] has reached `at`.
    async fn sleep_until(&self, at: Millis);
}

/// The time of day when it was made, and from then on the time that passed: a corrected wall clock neither ends leases
/// early nor prolongs them.
pub struct SystemClock {
    wall_at_start: Millis,
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        let wall_at_start = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis);
        Self { wall_at_start, started: Instant::now() }
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Millis {
        self.wall_at_start.saturating_add(millis(self.started.elapsed()))
    }

    async fn sleep_until(&self, at: Millis) {
        tokio::time::sleep(Duration::from_millis(at.saturating_sub(self.now()))).await;
    }
}

/// A clock that stands still until a test moves it.
pub struct ManualClock {
    now: watch::Sender<Millis>,
}

impl ManualClock {
    /// Stands at `now`.
    pub fn at(now: Millis) -> Self {
        Self { now: watch::Sender::new(now) }
    }

    /// Moves forward and wakes who waits for a time that has come.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = after(*now, by));
    }

    /// How many wait for a time to come: a test that wants somebody to be waiting first waits for this.
    pub fn sleepers(&self) -> usize {
        self.now.receiver_count()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Millis {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: Millis) {
        let reached = self.now.subscribe().wait_for(|now| *now >= at).await.is_ok();
        debug_assert!(reached, "the sender lives as long as the clock");
    }
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

/// `time` later by `by`.
pub(crate) fn after(time: Millis, by: Duration) -> Millis {
    time.saturating_add(millis(by))
}
