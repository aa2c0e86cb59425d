//! The level on a Redis server that several processes share. It may be slow, dead or full of other things at any time; that
//! costs a lookup no more than its time-out, and nothing while the breaker is open.
//!
//! Lookups and stores have a connection each, so that a lookup does not wait behind a large store. Connections are made by
//! the breaker's trials, in the background.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo as _, RedisError, aio::MultiplexedConnection,
    cmd, io::tcp::TcpSettings,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    counts::{Counts, LevelStatistics, count},
    kept::Kept,
};
use crate::{
    error::chain,
    runtime::{
        breaker::{Breaker, Permit},
        now,
    },
};

/// Begins every key; the number changes with the format of the values.
pub(super) const PREFIX: &str = "docket:cache:1:";
/// Lookups and stores in a row that fail before none is tried for a while.
const FAILURES: u32 = 5;
/// Time between trials. They cost no lookup anything, so they can be frequent.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(1);
/// Tries of a trial to get an answer in time: one late answer may be this process's own fault.
const PINGS: usize = 3;
/// Longest time for a store; nobody waits for it.
const STORE: Duration = Duration::from_secs(1);
/// Of tokio's timer.
const TICK: Duration = Duration::from_millis(1);
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

/// Where the server is, and how long a lookup waits for it.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) info: ConnectionInfo,
    answer: Duration,
}

impl Settings {
    /// The server at a URL (`redis://[user:password@]host[:port][/database]`, `unix:///path`); a lookup waits `answer`.
    /// Fails where the URL says nothing that can be connected to.
    pub fn new(url: &str, answer: Duration) -> Result<Self, RedisError> {
        let info = url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(Self { info, answer })
    }

    /// Host and port, without the password.
    pub fn address(&self) -> String {
        self.info.addr().to_string()
    }
}

/// Why there is no working connection.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// It is not there, does not let this process in, or does not understand it.
    #[error("failed to connect")]
    Connect(#[source] RedisError),
    /// It is there and does not answer well.
    #[error("failed to get an answer")]
    Ping(#[source] RedisError),
    /// It answers, but too late to be of use.
    #[error("failed to get an answer within {0:?}")]
    Late(Duration),
}

/// Results on a server.
pub(super) struct Redis {
    inner: Arc<Inner>,
    waiting: mpsc::Sender<Message>,
}

struct Inner {
    client: Client,
    address: String,
    answer: Duration,
    counts: Counts,
    link: Mutex<Link>,
}

struct Link {
    breaker: Breaker,
    connections: Option<Connections>,
}

#[derive(Clone)]
struct Connections {
    lookups: MultiplexedConnection,
    stores: MultiplexedConnection,
}

enum Message {
    Store { key: String, kept: Arc<Kept>, ttl: Duration },
    Settle(oneshot::Sender<()>),
}

impl Redis {
    /// Connects, and returns also where that fails.
    pub(super) async fn open(settings: Settings) -> Self {
        let address = settings.address();
        let breaker = Breaker::untried(FAILURES, PAUSE, Instant::now());
        let inner = Arc::new(Inner {
            client: Client::open(settings.info).expect("a ConnectionInfo is taken as it is"),
            address,
            answer: settings.answer,
            counts: Counts::default(),
            link: Mutex::new(Link { breaker, connections: None }),
        });
        if inner.link().breaker.ask(Instant::now()) == Permit::Try
            && let Err(error) = inner.try_again().await
        {
            tracing::warn!(address = inner.address, error = chain(&error), "the Redis level of the cache is left out");
        }
        let (waiting, messages) = mpsc::channel(WAITING);
        tokio::spawn(Arc::clone(&inner).store_all(messages));
        Self { inner, waiting }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.inner.counts
    }

    /// What is kept under a key. All but hits are counted; whether it is a hit, the caller decides.
    pub(super) async fn get(&self, key: &str) -> Option<Kept> {
        let inner = &self.inner;
        let Some(Connections { mut lookups, .. }) = inner.connections() else {
            count(&inner.counts.skipped);
            return None;
        };
        let (mut get, answer) = (cmd("GET"), inner.answer);
        let bytes = match within(answer, get.arg(name(key)).query_async::<Option<Vec<u8>>>(&mut lookups)).await {
            Ok(bytes) => bytes,
            // Someone else's list or hash is under the name: Redis works, and has nothing for us.
            Err(Failure::Redis(error)) if error.code() == Some("WRONGTYPE") => None,
            Err(failure) => {
                inner.failed("look a result up", &failure);
                return None;
            }
        };
        inner.link().breaker.succeeded();
        let kept = bytes.and_then(|bytes| Kept::decode(key, &bytes));
        if kept.is_none() {
            count(&inner.counts.misses);
        }
        kept
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
        LevelStatistics { breaker: Some(self.inner.link().breaker.word()), ..LevelStatistics::from(&self.inner.counts) }
    }
}

impl Inner {
    fn link(&self) -> MutexGuard<'_, Link> {
        // Whatever a panic left there, the next trial puts right.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections, where the breaker lets a call through. Begins a trial where one is due.
    fn connections(self: &Arc<Self>) -> Option<Connections> {
        let mut link = self.link();
        match link.breaker.ask(Instant::now()) {
            Permit::Call => link.connections.clone(),
            Permit::Try => {
                let inner = Arc::clone(self);
                tokio::spawn(async move {
                    match inner.try_again().await {
                        Ok(()) => tracing::info!(address = inner.address, "Redis answers again"),
                        Err(error) => {
                            tracing::debug!(address = inner.address, error = chain(&error), "Redis is still away");
                        }
                    }
                });
                None
            }
            Permit::Refused => None,
        }
    }

    /// A trial: new connections that answer in time.
    async fn try_again(&self) -> Result<(), Error> {
        let connected = self.connect().await;
        let mut link = self.link();
        link.breaker.tried(connected.is_ok(), Instant::now());
        connected.map(|connections| link.connections = Some(connections))
    }

    async fn connect(&self) -> Result<Connections, Error> {
        // Each call has its own time-out.
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
        let connect = || self.client.get_multiplexed_async_connection_with_config(&config);
        let (mut lookups, stores) = tokio::try_join!(connect(), connect()).map_err(Error::Connect)?;
        for _ in 0..PINGS {
            match within(self.answer, cmd("PING").exec_async(&mut lookups)).await {
                Ok(()) => return Ok(Connections { lookups, stores }),
                Err(Failure::Redis(error)) => return Err(Error::Ping(error)),
                Err(Failure::Late) => {}
            }
        }
        Err(Error::Late(self.answer))
    }

    fn failed(&self, action: &str, failure: &Failure) {
        count(&self.counts.errors);
        if self.link().breaker.failed(Instant::now()) {
            let (address, error) = (&self.address, chain(failure));
            tracing::warn!(%address, error, "failed to {action} too often; Redis is left out until it answers again");
        }
    }

    async fn store_all(self: Arc<Self>, mut messages: mpsc::Receiver<Message>) {
        while let Some(message) = messages.recv().await {
            match message {
                Message::Store { key, kept, ttl } => self.store(key, kept, ttl).await,
                Message::Settle(done) => {
                    // Whoever waited may have given up.
                    let _ = done.send(());
                }
            }
        }
    }

    async fn store(self: &Arc<Self>, key: String, kept: Arc<Kept>, ttl: Duration) {
        let name = name(&key);
        let lifetime = lifetime(&key, kept.made_at, ttl, now());
        let (Some(lifetime), Some(connections)) = (lifetime, self.connections()) else {
            return count(&self.counts.skipped);
        };
        let encoded = tokio::task::spawn_blocking(move || kept.encode(&key)).await.ok().flatten();
        let Some(value) = encoded.filter(|value| value.len() <= LARGEST_VALUE) else {
            return count(&self.counts.skipped);
        };
        let (mut set, mut stores) = (cmd("SET"), connections.stores);
        match within(STORE, set.arg(name).arg(value).arg("PX").arg(lifetime).exec_async(&mut stores)).await {
            // It does not make up for lookups that fail: those have far less time.
            Ok(()) => count(&self.counts.stores),
            Err(failure) => self.failed("store a result", &failure),
        }
    }
}

/// The name at the server of a key of the cache.
fn name(key: &str) -> String {
    format!("{PREFIX}{key}")
}

/// Milliseconds for which Redis is to keep a result, `None` where it counts no more.
fn lifetime(key: &str, made_at: u64, ttl: Duration, now: u64) -> Option<u64> {
    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).min(LONGEST_MILLIS);
    let left = ttl.saturating_sub(now.saturating_sub(made_at));
    // Keys are digests: any part of one is as good as a random number.
    let random = u64::from(key.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)));
    let lost = left / JITTER * random / 255;
    Some(left - lost).filter(|&left| left > 0)
}

/// Why a call did not deliver.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("failed at the server or on the way")]
    Redis(#[source] RedisError),
    #[error("failed to get an answer in time")]
    Late,
}

/// Gives a call so long and no longer.
async fn within<T>(longest: Duration, call: impl Future<Output = Result<T, RedisError>>) -> Result<T, Failure> {
    // The timer rounds up to its next tick.
    let wait = longest.saturating_sub(TICK).max(longest.min(TICK));
    timeout(wait, call).await.map_err(|_| Failure::Late)?.map_err(Failure::Redis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn results_that_were_made_at_once_expire_at_different_times_within_their_time() {
        let mut lifetimes: Vec<u64> =
            (0..100_u8).filter_map(|n| lifetime(&blake3::hash(&[n]).to_hex(), 5_000, HOUR, 5_000)).collect();
        assert!(lifetimes.iter().all(|lifetime| (3_240_000..=3_600_000).contains(lifetime)), "{lifetimes:?}");
        lifetimes.sort_unstable();
        lifetimes.dedup();
        assert!(lifetimes.len() > 50, "{lifetimes:?}");
    }

    #[test]
    fn a_result_from_another_level_keeps_its_age() {
        let whole = lifetime("key", 0, HOUR, 0).expect("a time");
        let half = lifetime("key", 0, HOUR, 1_800_000).expect("a time");
        assert!(half <= 1_800_000 && half < whole, "{half} of {whole}");
        assert_eq!(lifetime("key", 0, HOUR, 3_600_000), None);
        assert_eq!(lifetime("key", 0, Duration::ZERO, 0), None);
    }

    #[test]
    fn a_url_is_read_and_the_address_hides_its_password() {
        let settings = Settings::new("redis://user:secret@localhost:7000/2", HOUR).expect("a URL");
        assert_eq!(settings.address(), "localhost:7000");
        assert!(settings.info.tcp_settings().nodelay());
        for url in ["", "localhost", "http://localhost", "rediss://localhost"] {
            assert!(Settings::new(url, HOUR).is_err(), "{url}");
        }
    }
}
