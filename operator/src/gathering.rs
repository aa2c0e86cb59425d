//! Triggers that come one after the other about one object become one: a rollout changes a Deployment and its pods many times,
//! and each look at them reads everything anew.
//!
//! The first word about an object begins its pause, and no later one prolongs it, so that a stream of changes without end
//! (ten thousand agents that start) cannot put a look off for ever. kube's own `debounce` would: it begins anew each time.

use std::{collections::HashSet, hash::Hash, time::Duration};

use futures::{Stream, StreamExt, stream};
use tokio_util::time::DelayQueue;

/// Passes each object on once, `pause` after it was first named. Errors pass at once. When the triggers end, so does this, and
/// what still waits is dropped with them.
pub fn gathered<T, E>(
    triggers: impl Stream<Item = Result<T, E>> + Send + 'static,
    pause: Duration,
) -> impl Stream<Item = Result<T, E>> + Send
where
    T: Clone + Eq + Hash + Send + 'static,
    E: Send + 'static,
{
    let triggers = triggers.boxed();
    stream::unfold((triggers, Waiting::new()), move |(mut triggers, mut waiting)| async move {
        loop {
            tokio::select! {
                Some(due) = waiting.next() => return Some((Ok(due), (triggers, waiting))),
                named = triggers.next() => match named? {
                    Ok(object) => waiting.add(object, pause),
                    Err(error) => return Some((Err(error), (triggers, waiting))),
                },
            }
        }
    })
}

/// Objects that were named and are not passed on yet.
struct Waiting<T> {
    named: HashSet<T>,
    due: DelayQueue<T>,
}

impl<T: Clone + Eq + Hash> Waiting<T> {
    fn new() -> Self {
        Self { named: HashSet::new(), due: DelayQueue::new() }
    }

    fn add(&mut self, object: T, pause: Duration) {
        if self.named.insert(object.clone()) {
            self.due.insert(object, pause);
        }
    }

    /// The next one that is due; none while nothing waits.
    async fn next(&mut self) -> Option<T> {
        let due = self.due.next().await?.into_inner();
        self.named.remove(&due);
        Some(due)
    }
}
