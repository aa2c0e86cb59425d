//! Ports that fail where a test wants it, and count.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use queue::{Delivery, Depth, Discarded, Error, Message, Priority, Queue, Receipt, Result};

/// What a store says that is away.
pub(super) fn away(action: &'static str) -> Error {
    Error::Store { action, source: "it is away (a test)".into() }
}

/// A queue that takes no tasks for one pool, and notes for how long tasks were handed back.
pub(super) struct QueueWithout {
    inner: Arc<dyn Queue>,
    gone: &'static str,
    is_back: AtomicBool,
    refused: AtomicUsize,
    released: Mutex<Vec<Duration>>,
}

impl QueueWithout {
    pub(super) fn new(inner: &Arc<dyn Queue>, gone: &'static str) -> Arc<Self> {
        let inner = Arc::clone(inner);
        let (is_back, refused, released) = (AtomicBool::default(), AtomicUsize::default(), Mutex::default());
        Arc::new(Self { inner, gone, is_back, refused, released })
    }

    /// The pool takes tasks from now on.
    pub(super) fn come_back(&self) {
        self.is_back.store(true, Ordering::SeqCst);
    }

    /// How often tasks were refused.
    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// For how long tasks were handed back so far.
    pub(super) fn released(&self) -> Vec<Duration> {
        self.released.lock().expect("whole").clone()
    }
}

#[async_trait]
impl Queue for QueueWithout {
    async fn publish(&self, messages: Vec<Message>) -> Result<()> {
        if !self.is_back.load(Ordering::SeqCst) && messages.iter().any(|message| message.pool == self.gone) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(away("publish messages"));
        }
        self.inner.publish(messages).await
    }

    async fn pull(&self, pool: &str, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        self.inner.pull(pool, max, wait).await
    }

    async fn extend(&self, receipt: &Receipt) -> Result<()> {
        self.inner.extend(receipt).await
    }

    async fn ack(&self, receipt: &Receipt) -> Result<()> {
        self.inner.ack(receipt).await
    }

    /// At once, so that no test waits.
    async fn release(&self, receipt: &Receipt, delay: Duration) -> Result<()> {
        self.released.lock().expect("whole").push(delay);
        self.inner.release(receipt, Duration::ZERO).await
    }

    async fn depth(&self, pool: &str) -> Result<Depth> {
        self.inner.depth(pool).await
    }

    async fn discard(&self, pool: &str, priority: Priority, id: &str) -> Result<Discarded> {
        self.inner.discard(pool, priority, id).await
    }

    fn lease(&self) -> Duration {
        self.inner.lease()
    }
}
