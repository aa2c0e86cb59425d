//! Events within one process: every watcher has its own bounded ring, so a slow one loses its oldest and delays nobody.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::{Events, Result};

/// What a watcher may lag behind: enough for a burst of tokens, little enough to forget about.
const RING: usize = 1024;

/// A subject and what was said about it.
pub(crate) type Event = (String, Bytes);

/// Events that reach the watchers of this process.
#[derive(Default)]
pub(crate) struct LocalEvents {
    watchers: Mutex<Vec<Watcher>>,
}

struct Watcher {
    prefix: String,
    ring: Arc<Ring>,
}

/// What waits for one watcher: bounded, the oldest goes first.
#[derive(Default)]
pub(crate) struct Ring {
    state: Mutex<RingState>,
    changed: Notify,
    left: Notify,
}

#[derive(Default)]
struct RingState {
    events: VecDeque<Event>,
    closed: bool,
}

#[async_trait]
impl Events for LocalEvents {
    async fn publish(&self, subject: &str, body: Bytes) -> Result<()> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| !watcher.ring.lock().closed);
        for watcher in watchers.iter().filter(|watcher| subject.starts_with(&watcher.prefix)) {
            watcher.ring.push((subject.to_owned(), body.clone()));
        }
        Ok(())
    }

    async fn watch(&self, prefix: &str) -> Result<mpsc::Receiver<Event>> {
        let ring = Arc::new(Ring::default());
        // One place only: what waits should wait in the ring, where the oldest can still be dropped.
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(forward(Arc::clone(&ring), sender));
        let watcher = Watcher { prefix: prefix.to_owned(), ring };
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(watcher);
        Ok(receiver)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.ring.close();
    }
}

impl Ring {
    /// Adds an event, in place of the oldest if there is no room.
    pub(crate) fn push(&self, event: Event) {
        let mut state = self.lock();
        if state.events.len() == RING {
            state.events.pop_front();
        }
        state.events.push_back(event);
        drop(state);
        self.changed.notify_one();
    }

    /// No more will come, or nobody takes it any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
        self.left.notify_one();
    }

    /// Returns when the ring was closed, to the one who fills it.
    pub(crate) async fn closed(&self) {
        self.left.notified().await;
    }

    /// The oldest event, waiting for one; `None` when no more will come.
    async fn next(&self) -> Option<Event> {
        loop {
            {
                let mut state = self.lock();
                if let Some(event) = state.events.pop_front() {
                    return Some(event);
                }
                if state.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, RingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands events over one by one, each taken from the ring only when the watcher has room for it.
pub(crate) async fn forward(ring: Arc<Ring>, sender: mpsc::Sender<Event>) {
    while let Ok(place) = sender.reserve().await {
        let event = tokio::select! {
            event = ring.next() => event,
            () = sender.closed() => None,
        };
        match event {
            Some(event) => place.send(event),
            None => break,
        }
    }
    ring.close();
}
