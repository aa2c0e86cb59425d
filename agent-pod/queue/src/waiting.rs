//! How a call waits for something to deliver: woken by a signal or by the clock, never by polling.

use std::{future::Future, pin::pin};

use tokio::sync::Notify;

use crate::{Millis, Result, clock::Clock};

/// What one look at the store brought.
pub(crate) struct Attempt<T> {
    /// What is delivered.
    pub(crate) found: Vec<T>,
    /// If nothing was found: when something that is there already becomes ready by itself.
    pub(crate) ready_at: Option<Millis>,
}

impl<T> Attempt<T> {
    /// Notes that something becomes ready at `at`.
    pub(crate) fn ready_within(&mut self, at: Millis) {
        self.ready_at = Some(self.ready_at.map_or(at, |ready_at| ready_at.min(at)));
    }
}

/// Looks until something is found or `deadline` has passed, then returns what the last look found.
///
/// The signal is listened to before each look, so nothing that arrives between a look and the wait is missed.
pub(crate) async fn until_found<T, Look, Looking>(
    clock: &dyn Clock,
    signal: &Notify,
    deadline: Millis,
    mut look: Look,
) -> Result<Vec<T>>
where
    Look: FnMut() -> Looking,
    Looking: Future<Output = Result<Attempt<T>>>,
{
    loop {
        let mut signalled = pin!(signal.notified());
        signalled.as_mut().enable();
        let attempt = look().await?;
        if !attempt.found.is_empty() || clock.now() >= deadline {
            return Ok(attempt.found);
        }
        let wake_at = attempt.ready_at.map_or(deadline, |ready_at| ready_at.min(deadline));
        tokio::select! {
            () = signalled => {}
            () = clock.sleep_until(wake_at) => {}
        }
    }
}
