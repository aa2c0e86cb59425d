//! The system under test: a broker, a gateway and workers on this machine, on loopback addresses and in a folder of its own.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    client::Client,
    documents::{CHECKERS, READERS, RESOURCES},
    process::{Process, Program},
    schedule::{Fault, Moment},
};

/// How long a task stays with a worker that is silent.
pub const LEASE: Duration = Duration::from_secs(4);
/// Longest time for a worker to drain.
const GRACE: Duration = Duration::from_secs(10);
/// Longest wait until everything runs.
const START: Duration = Duration::from_secs(60);

/// What is started, and how.
pub struct Layout<'a> {
    /// The built `docket`.
    pub docket: &'a Path,
    /// The `nats-server`.
    pub nats: &'a Path,
    /// Workers of each of the two pools.
    pub workers: usize,
    /// Whether workers acknowledge a task before its result is durable and nobody repairs that: the control, which must lose
    /// documents.
    pub acknowledge_first: bool,
    /// Where everything lies.
    pub folder: &'a Path,
}

/// A running system.
pub struct Cluster {
    broker: Process,
    gateway: Process,
    workers: Vec<Process>,
    client: Client,
}

impl Cluster {
    /// Starts everything and waits until the gateway takes documents.
    pub async fn start(layout: &Layout<'_>) -> Result<Self> {
        let [broker_port, gateway_port, health_port] = free_ports()?;
        let folder = layout.folder;
        fs::write(folder.join("resources.yaml"), RESOURCES)?;
        let store = folder.join("broker");
        let broker_file = folder.join("broker.conf");
        fs::write(
            &broker_file,
            format!(
                "listen: \"127.0.0.1:{broker_port}\"\njetstream {{ store_dir: \"{}\", sync_interval: always }}\n",
                store.display()
            ),
        )?;
        let broker = Process::start(Program {
            name: "broker".to_owned(),
            path: layout.nats.to_path_buf(),
            arguments: vec!["-c".to_owned(), broker_file.display().to_string()],
            environment: Vec::new(),
            log: folder.join("broker.log"),
        })?;
        let common = format!(
            "resources: [resources.yaml]\nnats: {{servers: [\"nats://127.0.0.1:{broker_port}\"], lease: {}s}}\npayloads: \"file://{}\"\ngrace: {}s\n",
            LEASE.as_secs(),
            folder.join("payloads").display(),
            GRACE.as_secs(),
        );
        let gateway_text = format!(
            "{common}state: gateway\nhttp: \"127.0.0.1:{gateway_port}\"\nhealth: \"127.0.0.1:{health_port}\"\n"
        );
        let gateway = Process::start(docket(layout, "gateway", None, &gateway_text)?)?;
        let mut workers = Vec::new();
        for number in 0..layout.workers {
            for pool in [READERS, CHECKERS] {
                let text = format!("{common}state: {pool}-{number}\npool: {pool}\n");
                workers.push(Process::start(docket(layout, pool, Some(number), &text)?)?);
            }
        }
        let client = Client::new(&format!("127.0.0.1:{gateway_port}"), &format!("127.0.0.1:{health_port}"))?;
        let mut cluster = Self { broker, gateway, workers, client };
        cluster.await_ready().await?;
        Ok(cluster)
    }

    /// A client of the gateway.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Does what the schedule says and brings everything back. Whether a worker had to be killed because it did not drain
    /// in time.
    pub async fn strike(&mut self, moment: Moment) -> Result<bool> {
        let count = self.workers.len();
        let victim = &mut self.workers[moment.victim % count];
        let mut overdue = false;
        match moment.fault {
            Fault::KillWorker => {
                victim.kill()?;
                victim.restart()?;
            }
            Fault::StopWorker => {
                victim.signal("STOP")?;
                tokio::time::sleep(LEASE + LEASE / 2).await;
                victim.signal("CONT")?;
            }
            Fault::DrainWorker => {
                victim.signal("TERM")?;
                overdue = !tokio::task::block_in_place(|| victim.ended_within(GRACE + Duration::from_secs(5)))?;
                if overdue {
                    victim.kill()?;
                }
                victim.restart()?;
            }
            Fault::KillGateway => {
                self.gateway.kill()?;
                self.gateway.restart()?;
                self.await_ready().await?;
            }
            Fault::KillBroker => {
                self.broker.kill()?;
                self.broker.restart()?;
            }
        }
        Ok(overdue)
    }

    /// Fails where a part has ended by itself: nothing that is done to its neighbours may take it down.
    pub fn assert_running(&mut self) -> Result<()> {
        let parts = [&mut self.broker, &mut self.gateway].into_iter().chain(&mut self.workers);
        for part in parts {
            part.assert_running()?;
        }
        Ok(())
    }

    async fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        while !self.client.ready().await {
            self.assert_running()?;
            if Instant::now() >= deadline {
                bail!("the gateway was not ready within {} s", START.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

fn docket(layout: &Layout<'_>, command: &str, number: Option<usize>, text: &str) -> Result<Program> {
    let name = number.map_or_else(|| command.to_owned(), |number| format!("{command}-{number}"));
    let file = layout.folder.join(format!("{name}.yaml"));
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    let subcommand = if number.is_some() { "worker" } else { "gateway" };
    let arguments = [subcommand, "--config", &file.display().to_string(), "--threads", "1"].map(str::to_owned).to_vec();
    let unsafe_mode = ("DOCKET_UNSAFE_ACKNOWLEDGE_FIRST".to_owned(), "true".to_owned());
    Ok(Program {
        path: PathBuf::from(layout.docket),
        arguments,
        environment: if layout.acknowledge_first { vec![unsafe_mode] } else { Vec::new() },
        log: layout.folder.join(format!("{name}.log")),
        name,
    })
}

/// Ports that nobody listens on; they are let go at once, so another process could take them before ours does.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
