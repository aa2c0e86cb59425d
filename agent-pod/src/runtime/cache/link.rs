//! The connections to a Redis server, and the breaker in front of them.
//!
//! Lookups and stores have a connection each, so that a lookup does not wait behind a large store. Connections are made by
//! the breaker's trials, in the background.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use engine::reach::Reach;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo as _, RedisError, RedisFuture,
    aio::MultiplexedConnection,
    cmd,
    io::{AsyncDNSResolver, tcp::TcpSettings},
};
use tokio::time::timeout;

use crate::{
    error::chain,
    runtime::breaker::{Breaker, Permit},
};

/// Lookups and stores in a row that fail before none is tried for a while.
const FAILURES: u32 = 5;
/// Time between trials. They cost no lookup anything, so they can be frequent.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest time for a connection to be made, where a lookup does not wait longer.
const CONNECT: Duration = Duration::from_secs(1);
/// Tries of a trial to get an answer in time: one late answer may be this process's own fault.
const PINGS: usize = 3;
/// Of tokio's timer.
const TICK: Duration = Duration::from_millis(1);

/// Where the server is, and how long a lookup waits for it.
#[derive(Clone, Debug)]
pub struct Settings {
    pub info: ConnectionInfo,
    pub answer: Duration,
    /// Whom it may be.
    pub reach: Reach,
}

impl Settings {
    /// The server at a URL (`redis://[user:password@]host[:port][/database]`, `unix:///path`); a lookup waits `answer`.
    /// Fails where the URL says nothing that can be connected to.
    pub fn new(url: &str, answer: Duration) -> Result<Self, RedisError> {
        let info = url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(Self { info, answer, reach: Reach::anybody() })
    }

    /// Has it called only where `reach` allows it.
    #[must_use]
    pub fn reaching(self, reach: &Reach) -> Self {
        Self { reach: reach.clone(), ..self }
    }

    /// How long something else is waited for that usually may take this long: who waits longer for an answer has a server, or
    /// a machine, that is slow in everything.
    pub fn or_longer(&self, usual: Duration) -> Duration {
        usual.max(self.answer)
    }

    /// A connection, made as `config` says.
    pub(super) async fn connect(&self, config: AsyncConnectionConfig) -> Result<MultiplexedConnection, RedisError> {
        let config = if self.reach.is_guarded() { config.set_dns_resolver(Called(self.reach.clone())) } else { config };
        Client::open(self.info.clone())?.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Host and port, without the password.
    pub fn address(&self) -> String {
        self.info.addr().to_string()
    }
}

/// Finds the addresses that are called; it is asked for those too that are written as addresses.
struct Called(Reach);

impl AsyncDNSResolver for Called {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let found = self.0.addresses(host, port).await.map_err(io::Error::other)?;
            let found = found.into_iter().flatten().map(move |address| SocketAddr::new(address, port));
            Ok(Box::new(found) as Box<dyn Iterator<Item = SocketAddr> + Send + 'a>)
        })
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

/// The way to a server.
pub(super) struct Link {
    settings: Settings,
    address: String,
    answer: Duration,
    state: Mutex<State>,
}

struct State {
    breaker: Breaker,
    connections: Option<Connections>,
}

/// What works at the moment.
#[derive(Clone)]
pub(super) struct Connections {
    /// For what someone waits for.
    pub(super) lookups: MultiplexedConnection,
    /// For the rest.
    pub(super) stores: MultiplexedConnection,
}

impl Link {
    /// Connects, and returns also where that fails.
    pub(super) async fn open(settings: Settings) -> Arc<Self> {
        let address = settings.address();
        let breaker = Breaker::untried(FAILURES, PAUSE, Instant::now());
        let link = Arc::new(Self {
            address,
            answer: settings.answer,
            settings,
            state: Mutex::new(State { breaker, connections: None }),
        });
        let due = link.state().breaker.ask(Instant::now()) == Permit::Try;
        if due && let Err(error) = link.try_again().await {
            tracing::warn!(address = link.address, error = chain(&error), "the Redis level of the cache is left out");
        }
        link
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever a panic left there, the next trial puts right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections, where the breaker lets a call through. Begins a trial where one is due.
    pub(super) fn connections(self: &Arc<Self>) -> Option<Connections> {
        let mut state = self.state();
        match state.breaker.ask(Instant::now()) {
            Permit::Call => state.connections.clone(),
            Permit::Try => {
                let link = Arc::clone(self);
                tokio::spawn(async move {
                    match link.try_again().await {
                        Ok(()) => tracing::info!(address = link.address, "Redis answers again"),
                        Err(error) => {
                            tracing::debug!(address = link.address, error = chain(&error), "Redis is still away");
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
        let mut state = self.state();
        state.breaker.tried(connected.is_ok(), Instant::now());
        connected.map(|connections| state.connections = Some(connections))
    }

    async fn connect(&self) -> Result<Connections, Error> {
        let longest = Some(self.settings.or_longer(CONNECT));
        // Each call has its own time-out.
        let config = || AsyncConnectionConfig::new().set_connection_timeout(longest).set_response_timeout(None);
        let connect = || self.settings.connect(config());
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

    /// A lookup was answered.
    pub(super) fn succeeded(&self) {
        self.state().breaker.succeeded();
    }

    /// A lookup or a store failed.
    pub(super) fn failed(&self, action: &str, failure: &Failure) {
        if self.state().breaker.failed(Instant::now()) {
            let (address, error) = (&self.address, chain(failure));
            tracing::warn!(%address, error, "failed to {action} too often; Redis is left out until it answers again");
        }
    }

    /// The breaker's state, for people.
    pub(super) fn word(&self) -> &'static str {
        self.state().breaker.word()
    }
}

/// Why a call did not deliver.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("failed at the server or on the way")]
    Redis(#[source] RedisError),
    #[error("failed to get an answer in time")]
    Late,
}

/// Gives a call so long and no longer.
pub(super) async fn within<T>(
    longest: Duration,
    call: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, Failure> {
    // The timer rounds up to its next tick.
    let wait = longest.saturating_sub(TICK).max(longest.min(TICK));
    timeout(wait, call).await.map_err(|_| Failure::Late)?.map_err(Failure::Redis)
}
