//! A real NATS server beside the API server, and what lies in it.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Deserializer, Value, json};

use super::process::{Process, free_port};
use crate::command::run;

/// It starts in milliseconds; the machine may be busy.
const START: Duration = Duration::from_secs(120);
/// Between two tries to reach it: `nats` gives a connection up after two seconds.
const PAUSE: Duration = Duration::from_millis(50);
/// What requests begin with that may be put again.
const API: &str = "$JS.API.";
/// Where the server tells who asks JetStream for what.
const AUDIT: &str = "$JS.EVENT.ADVISORY.API";

/// A running broker.
pub struct Broker {
    port: u16,
    monitor: u16,
    _process: Process,
    audit: Process,
}

impl Broker {
    /// Starts one with its files in `folder`.
    pub async fn start(program: &Path, folder: &Path) -> Result<Self> {
        let (port, monitor) = (free_port()?, free_port()?);
        let mut command = Command::new(program);
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--http_port", &monitor.to_string()]);
        command.arg("--jetstream").arg("--store_dir").arg(folder.join("broker"));
        let process = Process::start(&mut command, &folder.join("broker.log"))?;
        // The server tells of every request to JetStream whose it was.
        let mut command = Command::new("nats");
        command.args(["--server", &format!("nats://127.0.0.1:{port}"), "subscribe", "--raw", AUDIT]);
        let begun = Instant::now();
        while monitored(monitor, "jsz").await.is_err() {
            if begun.elapsed() > START {
                bail!("the broker did not come up:\n{}", process.said());
            }
            tokio::time::sleep(PAUSE).await;
        }
        let audit = Process::start(&mut command, &folder.join("broker-audit.log"))?;
        let mut broker = Self { port, monitor, _process: process, audit };
        let mut starts = 1;
        // It is heard before anybody asks for anything that counts.
        while broker.requests_of("").is_empty() {
            if begun.elapsed() > START {
                bail!("the broker does not say who asks for what:\n{}", broker.audit.said());
            }
            // Whoever hears it may have ended without a connection, and has said why where its requests would stand.
            if !broker.audit.runs()? {
                starts += 1;
                let log = folder.join(format!("broker-audit-{starts}.log"));
                broker.audit = Process::start(&mut command, &log)?;
            }
            let _ = broker.ask_once("$JS.API.INFO", "").await;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(broker)
    }

    /// The answer to a request, which is put again where that is safe.
    async fn ask(&self, subject: &str, body: &str) -> Result<Value> {
        let begun = Instant::now();
        loop {
            match self.ask_once(subject, body).await {
                Err(_) if subject.starts_with(API) && begun.elapsed() < START => tokio::time::sleep(PAUSE).await,
                answer => return answer,
            }
        }
    }

    async fn ask_once(&self, subject: &str, body: &str) -> Result<Value> {
        let address = self.address();
        let command = ["nats", "--server", &address, "request", "--raw", "--timeout", "10s", subject, body];
        let said = run(&command, "").await?.or_fail("ask the broker")?;
        serde_json::from_str(&said).context("read an answer of the broker")
    }

    /// Lays a task into the stream of a pool, which it makes where it is missing. Nobody works it.
    pub async fn lay(&self, namespace: &str, pool: &str) -> Result<()> {
        let (stream, subject) = (tasks(namespace, pool), format!("docket-{namespace}.tasks.{pool}.normal.1"));
        let config = json!({"name": stream, "subjects": [format!("docket-{namespace}.tasks.{pool}.>")],
            "storage": "file", "retention": "workqueue"});
        let made = self.ask(&format!("$JS.API.STREAM.CREATE.{stream}"), &config.to_string()).await?;
        ensure!(made["error"].is_null(), "the broker makes no stream: {made}");
        let laid = self.ask(&subject, "a task").await?;
        ensure!(laid["seq"].is_u64(), "the broker does not take a task: {laid}");
        Ok(())
    }

    /// Tasks that lie in the stream of a pool.
    pub async fn lying(&self, namespace: &str, pool: &str) -> Result<u64> {
        Ok(self.streams(namespace).await?.get(&tasks(namespace, pool)).copied().unwrap_or_default())
    }

    /// Whether a bucket of records, which is the stream of this name, holds the word of who leads. It is said before something is
    /// removed, and stays.
    pub async fn holds_leaders_word(&self, stream: &str) -> Result<bool> {
        let Some(bucket) = stream.strip_prefix("KV_").filter(|bucket| bucket.ends_with("-records")) else {
            return Ok(false);
        };
        let filter = json!({"subjects_filter": format!("$KV.{bucket}.leader")});
        let seen = self.ask(&format!("$JS.API.STREAM.INFO.{stream}"), &filter.to_string()).await?;
        Ok(seen["state"]["subjects"].as_object().is_some_and(|subjects| !subjects.is_empty()))
    }

    /// Requests to JetStream that processes made whose name holds this text, in their order.
    pub fn requests_of(&self, client: &str) -> Vec<String> {
        let said = self.audit.said();
        let told = Deserializer::from_str(&said).into_iter::<Value>().map_while(Result::ok);
        told.filter(|told| told["client"]["name"].as_str().unwrap_or_default().contains(client))
            .filter_map(|told| told["subject"].as_str().map(str::to_owned))
            .collect()
    }

    /// Where clients reach it.
    pub fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Streams whose names hold this text, with their numbers of messages.
    pub async fn streams(&self, text: &str) -> Result<BTreeMap<String, u64>> {
        let said = monitored(self.monitor, "jsz?streams=true").await?;
        let accounts = said["account_details"].as_array().into_iter().flatten();
        let streams = accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
        let named = streams.filter_map(|stream| {
            let name = stream["name"].as_str()?.to_owned();
            Some((name, stream["state"]["messages"].as_u64().unwrap_or_default()))
        });
        Ok(named.filter(|(name, _)| name.contains(text)).collect())
    }
}

async fn monitored(port: u16, what: &str) -> Result<Value> {
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/{what}")).await.context("ask the broker")?;
    answer.json().await.context("ask the broker")
}

/// The stream of a pool's tasks.
fn tasks(namespace: &str, pool: &str) -> String {
    format!("docket-{namespace}-tasks-{pool}")
}
