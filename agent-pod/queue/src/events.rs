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

type Event = (String, Bytes);

/// Events that reach the watchers of this process.
#[derive(Default)]
pub(crate) struct LocalEvents {
    watchers: Mutex<Vec<Watcher>>,
}

struct Watcher {
    prefix: String,
    ring: Arc<Ring>,
}

#[derive(Default)]
struct Ring {
    state: Mutex<RingState>,
    changed: Notify,
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
    fn push(&self, event: Event) {
        let mut state = self.lock();
        if state.events.len() == RING {
            state.events.pop_front();
        }
        state.events.push_back(event);
        drop(state);
        self.changed.notify_one();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
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
async fn forward(ring: Arc<Ring>, sender: mpsc::Sender<Event>) {
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
