//! A real NATS server beside the API server, and what lies in it.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::process::{Process, free_port};

/// It starts in milliseconds; the machine may be busy.
const START: Duration = Duration::from_secs(20);

/// A running broker.
pub struct Broker {
    port: u16,
    monitor: u16,
    _process: Process,
}

impl Broker {
    /// Starts one with its files in `folder`.
    pub async fn start(program: &Path, folder: &Path) -> Result<Self> {
        let (port, monitor) = (free_port()?, free_port()?);
        let mut command = Command::new(program);
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--http_port", &monitor.to_string()]);
        command.arg("--jetstream").arg("--store_dir").arg(folder.join("broker"));
        let process = Process::start(&mut command, &folder.join("broker.log"))?;
        let broker = Self { port, monitor, _process: process };
        let begun = Instant::now();
        while broker.streams("").await.is_err() {
            if begun.elapsed() > START {
                bail!("the broker did not come up:\n{}", broker._process.said());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(broker)
    }

    /// Where clients reach it.
    pub fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Streams whose names hold this text, with their numbers of messages.
    pub async fn streams(&self, text: &str) -> Result<BTreeMap<String, u64>> {
        let url = format!("http://127.0.0.1:{}/jsz?streams=true", self.monitor);
        let said =
            reqwest::get(url).await.context("ask the broker")?.json::<Value>().await.context("ask the broker")?;
        let accounts = said["account_details"].as_array().into_iter().flatten();
        let streams = accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
        let named = streams.filter_map(|stream| {
            let name = stream["name"].as_str()?.to_owned();
            Some((name, stream["state"]["messages"].as_u64().unwrap_or_default()))
        });
        Ok(named.filter(|(name, _)| name.contains(text)).collect())
    }
}
