//! Ports that fail where a test wants it, and count.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use queue::{
    ByteStream, Delivery, Depth, Discarded, Error, Message, Payloads, Priority, Queue, Receipt, Records, Result,
    Versioned,
};
use tokio::sync::watch;

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
    released: watch::Sender<Vec<Duration>>,
}

impl QueueWithout {
    pub(super) fn new(inner: &Arc<dyn Queue>, gone: &'static str) -> Arc<Self> {
        let inner = Arc::clone(inner);
        let (is_back, refused, released) =
            (AtomicBool::default(), AtomicUsize::default(), watch::Sender::new(Vec::new()));
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
        self.released.borrow().clone()
    }

    /// Returns when tasks were handed back so often.
    pub(super) async fn releases(&self, times: usize) {
        let mut released = self.released.subscribe();
        released.wait_for(|released| released.len() >= times).await.expect("the queue is there");
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

    fn leave(&self, pool: &str) {
        self.inner.leave(pool);
    }

    async fn extend(&self, receipt: &Receipt) -> Result<()> {
        self.inner.extend(receipt).await
    }

    async fn ack(&self, receipt: &Receipt) -> Result<()> {
        self.inner.ack(receipt).await
    }

    /// At once, so that no test waits.
    async fn release(&self, receipt: &Receipt, delay: Duration) -> Result<()> {
        self.released.send_modify(|released| released.push(delay));
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

/// Records that count what is read under a prefix, and fail some of these reads.
pub(super) struct CountedRecords {
    inner: Arc<dyn Records>,
    prefix: &'static str,
    failing: RangeInclusive<usize>,
    gets: AtomicUsize,
    scans: AtomicUsize,
}

impl CountedRecords {
    /// Fails these of the reads of single records under the prefix, counted from 1.
    pub(super) fn new(inner: &Arc<dyn Records>, prefix: &'static str, failing: RangeInclusive<usize>) -> Arc<Self> {
        let (gets, scans) = (AtomicUsize::default(), AtomicUsize::default());
        Arc::new(Self { inner: Arc::clone(inner), prefix, failing, gets, scans })
    }

    /// How many single records were read.
    pub(super) fn gets(&self) -> usize {
        self.gets.load(Ordering::SeqCst)
    }

    /// How many pages were read.
    pub(super) fn scans(&self) -> usize {
        self.scans.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Records for CountedRecords {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        if key.starts_with(self.prefix) && self.failing.contains(&(self.gets.fetch_add(1, Ordering::SeqCst) + 1)) {
            return Err(away("read a record"));
        }
        self.inner.get(key).await
    }

    async fn create(&self, key: &str, bytes: Bytes) -> Result<u64> {
        self.inner.create(key, bytes).await
    }

    async fn update(&self, key: &str, revision: u64, bytes: Bytes) -> Result<u64> {
        self.inner.update(key, revision, bytes).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn remove(&self, key: &str, revision: u64) -> Result<()> {
        self.inner.remove(key, revision).await
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Versioned)>> {
        if prefix.starts_with(self.prefix) {
            self.scans.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.scan(prefix, after, limit).await
    }
}

/// Payloads of which the first that is read is away, once.
pub(super) struct OnceAway {
    inner: Arc<dyn Payloads>,
    was_away: AtomicBool,
}

impl OnceAway {
    pub(super) fn new(inner: &Arc<dyn Payloads>) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), was_away: AtomicBool::default() })
    }
}

#[async_trait]
impl Payloads for OnceAway {
    async fn put(&self, bytes: Bytes) -> Result<String> {
        self.inner.put(bytes).await
    }

    async fn put_stream(&self, bytes: ByteStream<'_>) -> Result<(String, u64)> {
        self.inner.put_stream(bytes).await
    }

    async fn get(&self, digest: &str) -> Result<Bytes> {
        if !self.was_away.swap(true, Ordering::SeqCst) {
            return Err(away("read a payload"));
        }
        self.inner.get(digest).await
    }

    async fn contains(&self, digest: &str) -> Result<bool> {
        self.inner.contains(digest).await
    }

    async fn delete(&self, digest: &str) -> Result<()> {
        self.inner.delete(digest).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.inner.list(after, limit).await
    }

    async fn scrub(&self) -> Result<()> {
        self.inner.scrub().await
    }
}
