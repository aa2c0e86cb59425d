//! The broker of the system under test: one NATS server, or three that copy from each other.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{Process, Program};

/// Longest wait for the broker to answer.
const READY: Duration = Duration::from_secs(60);
/// Longest wait for one connection.
const CONNECT: Duration = Duration::from_secs(5);
const PRIORITIES: [&str; 4] = ["critical", "high", "normal", "low"];

/// Its servers.
pub struct Broker {
    /// One, or three.
    pub servers: Vec<Process>,
    /// Where their data lies.
    pub stores: Vec<PathBuf>,
    ports: Vec<u16>,
}

/// What the broker delivered to a pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivered {
    /// Tasks that were published.
    pub tasks: u64,
    /// Deliveries, repeated ones too.
    pub deliveries: u64,
}

impl Broker {
    /// Starts `count` servers; `options` are further lines of each one's `jetstream` block.
    pub fn start(program: &Path, folder: &Path, count: usize, options: &str) -> Result<Self> {
        let ports = crate::cluster::free_ports(count)?;
        let routes = crate::cluster::free_ports(count)?;
        let mut broker = Self { servers: Vec::new(), stores: Vec::new(), ports: ports.clone() };
        for number in 0..count {
            let store = folder.join(format!("broker-{number}"));
            let file = folder.join(format!("broker-{number}.conf"));
            fs::write(&file, settings(number, &ports, &routes, &store, options)).context("write the broker's file")?;
            broker.servers.push(Process::start(Program {
                name: format!("broker-{number}"),
                path: program.to_path_buf(),
                arguments: vec!["-c".to_owned(), file.display().to_string()],
                environment: Vec::new(),
                memory: None,
                log: folder.join(format!("broker-{number}.log")),
            })?);
            broker.stores.push(store);
        }
        Ok(broker)
    }

    /// The addresses of its servers, as clients want them.
    pub fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect()
    }

    /// Waits until it does what it is asked.
    pub async fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        while self.ask("$JS.API.INFO", "").await.is_err() {
            for server in &mut self.servers {
                server.assert_running()?;
            }
            if Instant::now() >= deadline {
                bail!("the broker did not answer within {} s", READY.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// `kill -9` of one server and a new start on its files.
    pub async fn restart(&mut self, number: usize) -> Result<()> {
        self.servers[number].kill()?;
        self.servers[number].restart()?;
        self.await_ready().await
    }

    /// Asks the broker's API; an answer that names an error is one.
    pub async fn ask(&self, subject: &str, body: &str) -> Result<Value> {
        let client = connect(&self.urls().join(",")).await?;
        let answer = client.request(subject.to_owned(), body.to_owned().into()).await.context("ask the broker")?;
        let answer: Value = serde_json::from_slice(&answer.payload).context("read the broker's answer")?;
        if let Some(error) = answer.get("error") {
            bail!("the broker refused: {error}");
        }
        Ok(answer)
    }

    /// Tasks of a pool that wait or are in work.
    pub async fn waiting(&self, pool: &str) -> Result<u64> {
        let mut waiting = 0;
        for priority in PRIORITIES {
            let info = self.ask(&format!("$JS.API.CONSUMER.INFO.docket-tasks-{pool}.{priority}"), "").await?;
            let count = |field: &str| info[field].as_u64().unwrap_or_default();
            waiting += count("num_pending") + count("num_ack_pending");
        }
        Ok(waiting)
    }

    /// What was delivered to the workers of a pool so far.
    pub async fn delivered(&self, pool: &str) -> Result<Delivered> {
        let stream = format!("docket-tasks-{pool}");
        let info = self.ask(&format!("$JS.API.STREAM.INFO.{stream}"), "").await?;
        let mut delivered =
            Delivered { tasks: info["state"]["last_seq"].as_u64().unwrap_or_default(), ..Delivered::default() };
        for priority in PRIORITIES {
            let info = self.ask(&format!("$JS.API.CONSUMER.INFO.{stream}.{priority}"), "").await?;
            delivered.deliveries += info["delivered"]["consumer_seq"].as_u64().unwrap_or_default();
        }
        Ok(delivered)
    }
}

impl Delivered {
    /// Deliveries beyond the first of each task.
    pub fn again(&self) -> u64 {
        self.deliveries.saturating_sub(self.tasks)
    }
}

/// A connection of our own.
pub async fn connect(servers: &str) -> Result<async_nats::Client> {
    let servers: Vec<async_nats::ServerAddr> =
        servers.split(',').map(str::parse).collect::<Result<_, _>>().context("read the broker's addresses")?;
    let options = async_nats::ConnectOptions::new().connection_timeout(CONNECT).request_timeout(Some(CONNECT));
    options.connect(servers).await.context("connect to the broker")
}

fn settings(number: usize, ports: &[u16], routes: &[u16], store: &Path, options: &str) -> String {
    let store = store.display();
    let mut text = format!(
        "server_name: node-{number}\nlisten: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{store}\"\n{options}\n}}\n",
        ports[number]
    );
    if ports.len() > 1 {
        let routes_to: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        text += &format!(
            "cluster {{ name: faults, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
            routes[number],
            routes_to.join(", ")
        );
    }
    text
}
