//! Clients of the API server. None of them repeats a request by itself, and none waits for ever: kube's defaults would repeat
//! for a quarter of an hour, creations included, and read from a dead connection without end.

use std::time::Duration;

use kube::{Client, Config, config::InferConfigError, runtime::watcher};

/// TCP and TLS together; a healthy API server takes milliseconds.
const CONNECT: Duration = Duration::from_secs(3);
/// Silence on a connection that owes an answer. With `CONNECT` it stays within the ten seconds that a call may take.
const SILENCE: Duration = Duration::from_secs(7);
/// The same for the Lease: half of its renew deadline, so that one dead connection costs no leadership.
const LEASE_SILENCE: Duration = Duration::from_secs(5);
/// The API server ends each watch after this, and the next one goes on where it ended. A connection that died without a
/// word is noticed soon after.
const WATCH_SECONDS: u32 = 60;
/// Silence on a connection that carries a watch: longer than kube's own margin of 5 s, which handles it better.
const WATCH_SILENCE: Duration = Duration::from_secs(75);

/// What could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a service account nor a kubeconfig is there. Whoever deploys can fix it.
    #[error("failed to find a cluster: run in a pod with a service account, or set KUBECONFIG")]
    FindCluster(#[source] Box<InferConfigError>),
    /// The certificates or credentials cannot be used. Whoever deploys can fix it.
    #[error("failed to set up the connection to the API server")]
    SetUp(#[source] Box<kube::Error>),
}

/// The clients of one process, with connections of their own each: no one's crowd holds up another.
#[derive(Clone)]
pub struct Clients {
    /// For calls: each ends within ten seconds.
    pub calls: Client,
    /// For watches, with [`watching`].
    pub watches: Client,
    /// For the Lease alone.
    pub lease: Client,
}

impl Clients {
    /// For the cluster that this process runs in, or that KUBECONFIG names.
    pub async fn connect() -> Result<Self, Error> {
        install_cryptography();
        let config = Config::infer().await.map_err(|error| Error::FindCluster(Box::new(error)))?;
        Self::new(&config)
    }

    /// For a given cluster.
    pub fn new(config: &Config) -> Result<Self, Error> {
        install_cryptography();
        let client =
            |silence| Client::try_from(bounded(config, silence)).map_err(|error| Error::SetUp(Box::new(error)));
        Ok(Self { calls: client(SILENCE)?, watches: client(WATCH_SILENCE)?, lease: client(LEASE_SILENCE)? })
    }
}

/// How to watch: with the client for watches.
pub fn watching() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

fn bounded(config: &Config, silence: Duration) -> Config {
    let mut config = config.clone();
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    config.write_timeout = Some(silence);
    config.read_timeout = Some(silence);
    // Or the time for which a connection lay idle would count against the next answer.
    config.reset_reader_on_write = true;
    config
}

/// Once for the process; a second time changes nothing.
pub(crate) fn install_cryptography() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
