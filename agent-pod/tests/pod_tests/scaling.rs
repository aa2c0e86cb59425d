//! What scaling needs of agents, at a real broker: they rest when they are told, say what they have done, and the gateway
//! explains what was decided.

use std::{sync::Arc, time::Duration};

use flow::{
    PoolOrders,
    keys::{DECISIONS, ORDERS},
};
use queue::{
    Ports,
    jetstream::{self, Settings},
};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::watch};

use crate::support::{
    PLAIN, Place,
    processes::{GatewayProcess, Nats, Process, client, wait_for, worker},
};

/// Tasks of a document of the pipeline.
const TASKS: u64 = 4;
/// So long that a task which waits for the end of a lease is missed.
const LEASE: &str = "300s";

/// A broker, a gateway, two agents of a pool, and one who orders them about as the operator does.
struct Cluster {
    place: Place,
    nats: Nats,
    gateway: GatewayProcess,
    agents: Vec<Process>,
    runtime: Runtime,
    ports: Ports,
    orders: watch::Sender<Vec<String>>,
}

impl Cluster {
    fn start(agents: &[&str]) -> Option<Self> {
        let nats = Nats::start()?;
        let place = Place::new();
        place.write("pipeline.yaml", PLAIN);
        let gateway = GatewayProcess::start(&place, &common(&nats));
        let agents = agents.iter().map(|name| {
            let mut agent = worker(&place, name, &format!("pool: readers\n{}", common(&nats)));
            agent.says(&format!("worker {name} takes tasks"));
            agent
        });
        let agents = agents.collect();
        let runtime = Runtime::new().expect("a runtime");
        let settings = Settings { bucket_prefix: "docket".to_owned(), ..Settings::new(&nats.url) };
        let ports = runtime.block_on(jetstream::open(settings)).expect("the broker's ports").ports;
        let (orders, told) = watch::channel(Vec::new());
        runtime.spawn(say(ports.clone(), told));
        Some(Self { place, nats, gateway, agents, runtime, ports, orders })
    }

    /// Has these rest, and returns when they say so and the others do not.
    fn rest(&self, resting: &[&str]) {
        self.orders.send_replace(resting.iter().map(|name| (*name).to_owned()).collect());
        wait_for("the agents to obey", || {
            let agents = self.said()?;
            let obeys = |agent: &Value| {
                let rests = agent["name"].as_str().is_some_and(|name| resting.contains(&name));
                agent["resting"] == rests && agent["cordoned"] == rests
            };
            (agents.len() == self.agents.len() && agents.iter().all(obeys)).then_some(())
        });
    }

    /// What the agents say of themselves; `None` while that cannot be read.
    fn said(&self) -> Option<Vec<Value>> {
        let stats = client().get(format!("{}/v1/stats", self.gateway.http)).send().expect("it answers");
        if stats.status() == 503 {
            return None;
        }
        let stats: Value = stats.json().expect("JSON");
        Some(stats["pools"][0]["workers"].as_array().expect("workers").clone())
    }

    /// Tasks that an agent has started when they came to it first; `None` while its last word is too old.
    fn started(&self, name: &str) -> Option<u64> {
        let agents = self.said()?;
        let agent = agents.iter().find(|agent| agent["name"] == name)?;
        assert_eq!(agent["interrupted"], 0);
        Some(agent["waits"]["started"].as_u64().expect("a number"))
    }

    /// Waits until the agents say that they have started so many tasks together, and not one more; how many the first of
    /// them has started.
    fn all_started(&self, [first, second]: [&str; 2], tasks: u64) -> u64 {
        wait_for("the counts", || {
            let started = self.started(first)?;
            (started + self.started(second)? == tasks).then_some(started)
        })
    }

    /// Submits documents and waits for their ends.
    fn work(&self, folder: &str, documents: usize, more: &[&str]) {
        for n in 0..documents {
            self.place.write(&format!("{folder}/{folder}-{n:03}.txt"), format!("{folder} {n} says {}", n * n));
        }
        let submit = ["submit", "--gateway", &self.gateway.http, "--input", folder, "--prefix", folder];
        self.place.docket(&[&submit[..], more].concat()).code(0);
    }

    fn count(&self, outcome: &str) -> usize {
        let address = format!("{}/v1/pipelines/plain/documents?limit=1000&outcome={outcome}", self.gateway.http);
        let listed: Value = client().get(address).send().expect("it answers").json().expect("JSON");
        listed["documents"].as_array().expect("documents").len()
    }
}

fn common(nats: &Nats) -> String {
    format!("resources: [pipeline.yaml]\nnats: {{servers: ['{}'], lease: {LEASE}}}\n", nats.url)
}

/// Says the orders again and again; where nobody is to rest, it takes them back.
async fn say(ports: Ports, mut told: watch::Receiver<Vec<String>>) {
    let key = format!("{ORDERS}readers");
    loop {
        let resting = told.borrow_and_update().clone();
        if resting.is_empty() {
            ports.statuses.remove(&key).await.expect("taken back");
        } else {
            let orders = PoolOrders { epoch: 1, resting }.encode();
            ports.statuses.publish(&key, orders.into()).await.expect("said");
        }
        if let Ok(Err(_)) = tokio::time::timeout(Duration::from_secs(1), told.changed()).await {
            return;
        }
    }
}

#[test]
fn an_agent_that_rests_gets_nothing_and_takes_over_when_orders_change() {
    let Some(cluster) = Cluster::start(&["one", "two"]) else { return };
    cluster.rest(&["one"]);
    wait_for("a table that says so", || {
        let table = cluster.place.docket(&["stats", "--gateway", &cluster.gateway.http]);
        let says_so = table.stdout.lines().any(|line| line.contains("one") && line.contains("resting"));
        (table.code == Some(0) && says_so).then_some(())
    });
    let (mut documents, mut tasks) = (0, 0);
    for agents in [["one", "two"], ["two", "one"]] {
        let [resting, working] = agents;
        // A busy machine may say the orders so late that the ones before hold no longer, but not each time.
        let rests = (0..4).any(|round| {
            cluster.rest(&[resting]);
            let before = cluster.all_started(agents, tasks);
            cluster.work(&format!("{working}-{round}"), 30, &[]);
            documents += 30;
            tasks += 30 * TASKS;
            // Each task was started when it was delivered first, so none was delivered twice.
            cluster.all_started(agents, tasks) == before
        });
        assert!(rests, "{resting} was to rest, and took tasks each time");
    }

    cluster.rest(&[]);
    assert_eq!(cluster.count("succeeded"), documents);
    let agents = wait_for("both agents", || cluster.said().filter(|agents| agents.len() == 2));
    for agent in agents {
        assert!(agent["began"].as_u64() > Some(1_700_000_000_000), "{agent}");
        let waits = agent["waits"]["counts"].as_array().expect("counts").iter().filter_map(Value::as_u64).sum::<u64>();
        assert!(waits >= 30 * TASKS && agent["waits"]["started"] == waits, "{agent}");
    }
}

#[test]
fn orders_that_change_under_load_lose_nothing_and_interrupt_nothing() {
    let Some(mut cluster) = Cluster::start(&["one", "two"]) else { return };
    let documents = 250;
    // However long it takes to submit them, all wait when it is done.
    cluster.rest(&["one", "two"]);
    cluster.work("load", documents, &["--detach"]);
    // With nobody to take them, tasks wait; then each agent in turn.
    let mut turn = [&["one"][..], &["two"], &["one", "two"], &[]].into_iter().cycle();
    let mut turns = 0;
    wait_for("all documents to end", || {
        if cluster.count("unfinished") == 0 {
            return Some(());
        }
        cluster.orders.send_replace(turn.next()?.iter().map(|name| (*name).to_owned()).collect());
        turns += 1;
        std::thread::sleep(Duration::from_millis(300));
        None
    });
    assert!(turns > 2, "it ended before the orders changed: {turns}");
    assert_eq!(cluster.count("succeeded"), documents);
    cluster.rest(&[]);
    // Each task was started when it was delivered first: resting hands nothing back.
    let tasks = documents as u64 * TASKS;
    cluster.all_started(["one", "two"], tasks);
    assert!(cluster.agents.iter_mut().all(Process::is_alive));
}

#[test]
fn agents_take_tasks_again_when_nobody_says_orders_any_more() {
    let Some(mut cluster) = Cluster::start(&["one"]) else { return };
    cluster.rest(&["one"]);
    // Whoever ordered it dies.
    cluster.runtime = Runtime::new().expect("a runtime");
    cluster.work("alone", 3, &[]);
    assert_eq!(cluster.count("succeeded"), 3);
}

#[test]
fn what_was_decided_for_a_pool_is_explained() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    assert!(cluster.nats.url.starts_with("nats://"));
    let explain = |pool: &str, format: &str| {
        let arguments = ["explain", "pool", pool, "--gateway", &cluster.gateway.http, "--format", format];
        cluster.place.docket(&arguments)
    };
    explain("readrs", "table").code(2).says("use no pool \"readrs\"; they use: readers");
    explain("readers", "table").code(2).says("its AgentPool has no `scaling`");
    let decision = json!({
        "at": "2026-01-02T03:04:05Z", "from": 1, "to": 3, "pulling": 2, "reason": "Up:Backlog", "clamp": "Maximum",
        "message": "from 1 to 3 agents: waiting tasks must start within the target",
        "terms": [{"term": "Backlog", "replicas": 5}], "nextChangeAt": null,
    });
    let decided = json!({
        "pool": "readers", "mode": "Apply", "desired": 3, "replicas": 1, "at": "2026-01-02T03:04:06Z",
        "decisions": [decision],
    });
    let mut kept = decided.clone();
    kept["epoch"] = json!(4);
    let records = Arc::clone(&cluster.ports.records);
    let key = format!("{DECISIONS}readers");
    let written = cluster.runtime.block_on(async { records.create(&key, kept.to_string().into()).await });
    let revision = written.expect("kept");
    let json = explain("readers", "json").code(0).lines();
    assert_eq!(json, [decided]);
    let text = explain("readers", "table").code(0).stdout;
    for expected in ["wanted   3 agents, 1 are asked for now", "bounded  by maxReplicas", "2 of 3 agents take tasks"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let written = cluster.runtime.block_on(async { records.update(&key, revision, "{".into()).await });
    written.expect("kept");
    let answer = client().get(format!("{}/v1/pools/readers/explain", cluster.gateway.http)).send().expect("it answers");
    assert_eq!(answer.status(), 503);
}
