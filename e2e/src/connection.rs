//! The connection to the API server.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::{Client, Config};

/// Longest silence of the API server. Watches are asked for shorter ones, so that they end by themselves.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest wait for a connection: the API server may stand still with the machine.
const CONNECT: Duration = Duration::from_secs(30);
/// Seconds of one watch.
pub(crate) const WATCH_SECONDS: u32 = 40;

/// A client that tries once and waits for no answer longer than a minute: a story sees what happens, not what a retry hides.
pub async fn connect() -> Result<Client> {
    // Whoever installed a provider first is right too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::infer().await.context("find the cluster; run stories by e2e/cluster/run.sh")?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    config.write_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Client::try_from(config).context("make a client of the API server")
}
