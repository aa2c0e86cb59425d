//! The level on a Redis server that several processes share. It may be slow, dead or full of other things at any time; that
//! costs a lookup no more than its time-out, and nothing while the breaker is open.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, FromRedisValue, Pipeline, cmd};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    counts::{Counts, LevelStatistics, count},
    kept::Kept,
    link::{Connections, Failure, Link, Settings, within},
};
use crate::runtime::now;

/// Begins every key; the number changes with the format of the values.
pub(super) const PREFIX: &str = "docket:cache:2:";
/// The keys of all versions of the format.
pub(super) const PATTERN: &str = "docket:cache:*";
/// Longest time for a store, where a lookup does not wait longer; nobody waits for it.
const STORE: Duration = Duration::from_secs(1);
/// Results that wait to be stored; with the next one this bounds the memory that they hold.
const WAITING: usize = 64;
/// Largest result, in memory.
const LARGEST: usize = 1 << 20;
/// Largest value: at a gigabit a second, twice as much would not come within the time of a lookup.
const LARGEST_VALUE: usize = 128 << 10;
/// Results made at once do not expire at once: each loses up to a part of its time, one in so many.
const JITTER: u64 = 10;
/// Longest time that Redis is asked to keep anything, so that no sum overflows there.
const LONGEST_MILLIS: u64 = 366 * 86_400_000;

/// Results on a server.
pub(super) struct Redis {
    inner: Arc<Inner>,
    waiting: mpsc::Sender<Message>,
}

struct Inner {
    link: Arc<Link>,
    answer: Duration,
    longest_store: Duration,
    counts: Counts,
}

enum Message {
    Store { key: String, kept: Arc<Kept>, ttl: Duration },
    Send { commands: Pipeline, action: &'static str },
    Settle(oneshot::Sender<()>),
}

impl Redis {
    /// Connects, and returns also where that fails.
    pub(super) async fn open(settings: Settings) -> Self {
        let (answer, longest_store) = (settings.answer, settings.or_longer(STORE));
        let link = Link::open(settings).await;
        let inner = Arc::new(Inner { link, answer, longest_store, counts: Counts::default() });
        let (waiting, messages) = mpsc::channel(WAITING);
        tokio::spawn(Arc::clone(&inner).store_all(messages));
        Self { inner, waiting }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.inner.counts
    }

    /// What is kept under a key. All but hits are counted; whether it is a hit, the caller decides.
    pub(super) async fn get(&self, key: &str) -> Option<Kept> {
        let mut get = cmd("GET");
        get.arg(name(key));
        let bytes: Option<Vec<u8>> = self.ask(&get, "look a result up").await?;
        let kept = bytes.and_then(|bytes| Kept::decode(key, &bytes));
        if kept.is_none() {
            count(&self.inner.counts.misses);
        }
        kept
    }

    /// An answer within the time of a lookup; `None`, which is counted, where there is none.
    pub(super) async fn ask<T: FromRedisValue + Default>(&self, question: &Cmd, action: &'static str) -> Option<T> {
        let inner = &self.inner;
        let Some(Connections { mut lookups, .. }) = inner.link.connections() else {
            count(&inner.counts.skipped);
            return None;
        };
        let answer = match within(inner.answer, question.query_async::<T>(&mut lookups)).await {
            Ok(answer) => answer,
            // Someone else's list or hash is under the name: Redis works, and has nothing for us.
            Err(Failure::Redis(error)) if error.code() == Some("WRONGTYPE") => T::default(),
            Err(failure) => {
                inner.failed(action, &failure);
                return None;
            }
        };
        inner.link.succeeded();
        Some(answer)
    }

    /// Sends commands, soon, and does not wait for what comes of them.
    pub(super) fn send(&self, commands: Pipeline, action: &'static str) {
        if self.waiting.try_send(Message::Send { commands, action }).is_err() {
            count(&self.inner.counts.skipped);
        }
    }

    /// Keeps a result, soon. It is left out where too many wait already.
    pub(super) fn put(&self, key: &str, kept: Arc<Kept>, ttl: Duration) {
        let fits = kept.weight() <= LARGEST;
        if !fits || self.waiting.try_send(Message::Store { key: key.to_owned(), kept, ttl }).is_err() {
            count(&self.inner.counts.skipped);
        }
    }

    /// Waits until what was put so far is kept or given up, at most so long.
    pub(super) async fn settle(&self, longest: Duration) {
        let settled = async {
            let (done, told) = oneshot::channel();
            if self.waiting.send(Message::Settle(done)).await.is_ok() {
                // An error says that the other side has ended: nothing waits any more.
                let _ = told.await;
            }
        };
        // What could not be kept in time is computed again some day.
        let _ = timeout(longest, settled).await;
    }

    pub(super) fn statistics(&self) -> LevelStatistics {
        LevelStatistics { breaker: Some(self.inner.link.word()), ..LevelStatistics::from(&self.inner.counts) }
    }
}

impl Inner {
    fn failed(&self, action: &str, failure: &Failure) {
        count(&self.counts.errors);
        self.link.failed(action, failure);
    }

    async fn store_all(self: Arc<Self>, mut messages: mpsc::Receiver<Message>) {
        while let Some(message) = messages.recv().await {
            match message {
                Message::Store { key, kept, ttl } => self.store(key, kept, ttl).await,
                Message::Send { commands, action } => {
                    let Some(mut connections) = self.link.connections() else {
                        count(&self.counts.skipped);
                        continue;
                    };
                    let sent = commands.exec_async(&mut connections.stores);
                    if let Err(failure) = within(self.longest_store, sent).await {
                        self.failed(action, &failure);
                    }
                }
                Message::Settle(done) => {
                    // Whoever waited may have given up.
                    let _ = done.send(());
                }
            }
        }
    }

    async fn store(&self, key: String, kept: Arc<Kept>, ttl: Duration) {
        let name = name(&key);
        let lifetime = lifetime(&key, kept.made_at, ttl, now());
        let (Some(lifetime), Some(connections)) = (lifetime, self.link.connections()) else {
            return count(&self.counts.skipped);
        };
        let encoded = tokio::task::spawn_blocking(move || kept.encode(&key)).await.ok().flatten();
        let Some(value) = encoded.filter(|value| value.len() <= LARGEST_VALUE) else {
            return count(&self.counts.skipped);
        };
        let (mut set, mut stores) = (cmd("SET"), connections.stores);
        let set = set.arg(name).arg(value).arg("PX").arg(lifetime);
        match within(self.longest_store, set.exec_async(&mut stores)).await {
            // It does not make up for lookups that fail: those have far less time.
            Ok(()) => count(&self.counts.stores),
            Err(failure) => self.failed("store a result", &failure),
        }
    }
}

/// The name at the server of a key of the cache.
pub(super) fn name(key: &str) -> String {
    format!("{PREFIX}{key}")
}

/// Milliseconds that Redis is told, none so long that its sums overflow.
pub(super) fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).min(LONGEST_MILLIS)
}

/// Milliseconds for which Redis is to keep a result, `None` where it counts no more.
pub fn lifetime(key: &str, made_at: u64, ttl: Duration, now: u64) -> Option<u64> {
    let left = milliseconds(ttl).saturating_sub(now.saturating_sub(made_at));
    // Keys are digests: any part of one is as good as a random number.
    let random = u64::from(key.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)));
    let lost = left / JITTER * random / 255;
    Some(left - lost).filter(|&left| left > 0)
}
