//! The system under test: a broker, a gateway and workers on this machine, on loopback addresses and in a folder of its own.

use std::{
    fs,
    hash::{BuildHasher as _, RandomState},
    net::TcpListener,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    broker::Broker,
    client::Client,
    documents::{CHECKERS, READERS, resources},
    ledger::Ledger,
    process::{Process, Program},
    tools::Tools,
};

/// Names the faults of a process in its environment.
pub const FAULTS: &str = "DOCKET_UNSAFE_FAULTS";
/// What a process says that finds no broker when it starts.
const NO_BROKER: &str = "error: failed to open the broker's ports";
/// A worker's tasks at once.
const SLOTS: u32 = 8;
/// Longest wait until everything runs. A gateway counts what is in flight before it takes more, and looks at all records for
/// that.
const START: Duration = Duration::from_secs(300);

/// What is started, and how.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The programs.
    pub tools: Tools,
    /// Where everything lies.
    pub folder: PathBuf,
    /// The resource files' text.
    pub resources: String,
    /// Workers of each pool.
    pub crews: Vec<(&'static str, usize)>,
    /// Servers of the broker: 1 or 3; as many copies are kept.
    pub brokers: usize,
    /// Lines of the `jetstream` block of its settings.
    pub broker_options: String,
    /// How long a task stays with a worker that is silent.
    pub lease: Duration,
    /// Longest wait of Docket for one answer of the broker.
    pub timeout: Duration,
    /// Longest time for a process to stop.
    pub grace: Duration,
    /// Where documents' bytes lie; a shared folder where it is none.
    pub payloads: Option<String>,
    /// Further lines of the gateway's file.
    pub gateway: String,
    /// Faults of the gateway.
    pub gateway_faults: String,
    /// Faults of the workers, at their first start.
    pub worker_faults: String,
    /// Environment of all processes of Docket.
    pub environment: Vec<(String, String)>,
    /// Most KiB of address space of a worker.
    pub worker_memory: Option<u64>,
}

impl Layout {
    /// One server that syncs every write, two workers of each of two pools, leases of four seconds, no faults.
    pub fn new(tools: &Tools, folder: impl Into<PathBuf>) -> Self {
        Self {
            tools: tools.clone(),
            folder: folder.into(),
            resources: resources(SLOTS, ""),
            crews: vec![(READERS, 2), (CHECKERS, 2)],
            brokers: 1,
            broker_options: "sync_interval: always".to_owned(),
            lease: Duration::from_secs(4),
            timeout: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            payloads: None,
            gateway: String::new(),
            gateway_faults: String::new(),
            worker_faults: String::new(),
            environment: Vec::new(),
            worker_memory: None,
        }
    }
}

/// A running system.
pub struct Cluster {
    /// The broker.
    pub broker: Broker,
    /// The gateway.
    pub gateway: Process,
    /// The workers of all pools.
    pub workers: Vec<Process>,
    /// What it was made from.
    pub layout: Layout,
    /// Where the gateway serves HTTP.
    pub http: String,
    /// Where it serves gRPC.
    pub grpc: String,
    /// Where the workers serve metrics.
    pub health: Vec<String>,
    client: Client,
    ledger: Ledger,
}

impl Cluster {
    /// Starts everything and waits until the gateway takes documents and the workers work.
    pub async fn start(layout: Layout) -> Result<Self> {
        let folder = &layout.folder;
        fs::create_dir_all(folder).context("make the folder")?;
        fs::write(folder.join("resources.yaml"), &layout.resources)?;
        let mut broker = Broker::start(&layout.tools.nats, folder, layout.brokers, &layout.broker_options)?;
        broker.await_ready().await?;
        let urls: Vec<String> = broker.urls().iter().map(|url| format!("\"{url}\"")).collect();
        let default = format!("file://{}", folder.join("payloads").display());
        let common = format!(
            "resources: [resources.yaml]\nnats: {{servers: [{}], lease: {}ms, timeout: {}ms, replicas: {}}}\npayloads: \"{}\"\ngrace: {}ms\n",
            urls.join(", "),
            layout.lease.as_millis(),
            layout.timeout.as_millis(),
            layout.brokers,
            layout.payloads.as_ref().unwrap_or(&default),
            layout.grace.as_millis(),
        );
        let ports = free_ports(3)?;
        let [http, grpc, health] = [0, 1, 2].map(|n: usize| format!("127.0.0.1:{}", ports[n]));
        let text = format!(
            "{common}state: gateway\nhttp: \"{http}\"\ngrpc: \"{grpc}\"\nhealth: \"{health}\"\n{}\n",
            layout.gateway
        );
        let gateway = Process::start(docket(&layout, "gateway", "gateway", &text, &layout.gateway_faults)?)?;
        let client = Client::new(&http, &health)?;
        let ledger = Ledger::start(broker.urls().join(","));
        let mut cluster =
            Self { broker, gateway, workers: Vec::new(), http, grpc, health: Vec::new(), client, ledger, layout };
        cluster.await_ready().await?;
        let crews = cluster.layout.crews.clone();
        let count: usize = crews.iter().map(|(_, count)| count).sum();
        let mut ports = free_ports(count)?.into_iter();
        for (pool, count) in crews {
            for number in 0..count {
                let health = format!("127.0.0.1:{}", ports.next().unwrap_or_default());
                let text = format!("{common}state: {pool}-{number}\npool: {pool}\nhealth: \"{health}\"\n");
                let name = format!("{pool}-{number}");
                let program = docket(&cluster.layout, "worker", &name, &text, &cluster.layout.worker_faults)?;
                cluster.workers.push(Process::start(program)?);
                cluster.health.push(health);
            }
        }
        cluster.await_workers().await?;
        Ok(cluster)
    }

    /// A client of the gateway.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The account of effects.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Fails where a part has ended by itself: nothing that is done to its neighbours may take it down.
    pub fn assert_running(&mut self) -> Result<()> {
        let parts = self.broker.servers.iter_mut().chain([&mut self.gateway]).chain(&mut self.workers);
        for part in parts {
            part.assert_running()?;
        }
        Ok(())
    }

    /// Starts workers again that died of a fault of theirs; `next` gives each its next faults. What they died of.
    pub fn revive(&mut self, mut next: impl FnMut() -> String) -> Result<Vec<String>> {
        let mut revived = Vec::new();
        for worker in &mut self.workers {
            if worker.ended()?.is_none() {
                continue;
            }
            let said = worker.said();
            if said.lines().next_back().is_some_and(|line| line.contains(NO_BROKER)) {
                // It started while the broker was away and said so: its supervisor starts it again.
                worker.restart()?;
                continue;
            }
            // The first such line of a process says what it was told to die of, a second one that it does.
            let fault = said.rsplit_once("UNSAFE: ").and_then(|(_, fault)| fault.lines().next());
            let Some(fault) = fault.filter(|fault| !fault.starts_with("this process")) else {
                bail!("{} ended by itself:\n{}", worker.name(), worker.last_words());
            };
            revived.push(fault.to_owned());
            worker.set(FAULTS, next());
            worker.restart()?;
        }
        Ok(revived)
    }

    /// Starts workers again with these faults only, by `kill -9` of those that run.
    pub fn restart_workers(&mut self, faults: &str) -> Result<()> {
        for worker in &mut self.workers {
            worker.kill()?;
            worker.set(FAULTS, faults.to_owned());
            worker.restart()?;
        }
        Ok(())
    }

    /// Waits until the gateway takes documents.
    pub async fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        while !self.client.ready().await {
            self.gateway.assert_running()?;
            if Instant::now() >= deadline {
                bail!("the gateway was not ready within {} s", START.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until every worker takes tasks.
    pub async fn await_workers(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        for (worker, health) in self.workers.iter_mut().zip(&self.health) {
            while !self.client.is_ready(health).await {
                if worker.ended()?.is_some() {
                    break;
                }
                if Instant::now() >= deadline {
                    bail!("{} was not ready within {} s", worker.name(), START.as_secs());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }
}

fn docket(layout: &Layout, subcommand: &str, name: &str, text: &str, faults: &str) -> Result<Program> {
    let file = layout.folder.join(format!("{name}.yaml"));
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    let file = file.display().to_string();
    let arguments = [subcommand, "--config", &file, "--threads", "1", "--log", "info,async_nats=warn"];
    let mut environment = layout.environment.clone();
    environment.push((FAULTS.to_owned(), faults.to_owned()));
    Ok(Program {
        path: layout.tools.docket.clone(),
        arguments: arguments.map(str::to_owned).to_vec(),
        environment,
        memory: layout.worker_memory.filter(|_| subcommand == "worker"),
        log: layout.folder.join(format!("{name}.log")),
        name: name.to_owned(),
    })
}

/// Ports that nobody listens on, below those that systems give to connections; they are let go at once, so another process could
/// take them before ours does.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    let mut held = Vec::new();
    for _ in 0..count {
        let random = |_| 10_000 + (RandomState::new().hash_one(()) % 20_000) as u16;
        let free = (0..1_000).map(random).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
        held.push(free.context("find a free port")?);
    }
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
