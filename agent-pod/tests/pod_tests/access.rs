//! A gateway and workers with credentials of their own, each for what it needs alone: documents are worked as ever, and the
//! broker has nothing to refuse.

use std::time::Duration;

use queue::jetstream::{self, Credentials, Keys, Role, Settings};

use crate::support::{
    PLAIN, Place, Ran,
    processes::{GatewayProcess, Nats, Process, wait_for, worker},
};

const PREFIX: &str = "docket-team";
const POOLS: [&str; 2] = ["readers", "writers"];
const GATEWAY: Role<'static> = Role::Gateway { pool: flow::RESULTS_POOL, statuses: flow::keys::GATEWAYS };

/// Two pools that work one pipeline, whose results go into a table.
fn pipeline() -> String {
    let pool =
        "---\napiVersion: docket.dev/v1alpha1\nkind: AgentPool\nmetadata: {name: writers}\nspec: {concurrency: 2}\n";
    let stages = "spec:\n  deadline: 10m\n  results: {table: {uri: kept}}\n  stages:";
    let both = "join: {mode: All, timeout: 5m}";
    let pipeline = PLAIN.replace("spec:\n  stages:", stages).replace("join: {mode: All}", both);
    pipeline.replace("{name: size, pool: readers", "{name: size, pool: writers") + pool
}

/// What the operator makes at the broker.
async fn make(nats: &Nats, keys: &Keys) {
    let account = keys.account(PREFIX);
    let settings = Settings {
        bucket_prefix: PREFIX.to_owned(),
        scoped: flow::keys::OF_ONE_PIPELINE.to_vec(),
        credentials: Some(Credentials::Creds(account.user(&Role::Operator).creds)),
        inbox: Some(Role::Operator.inbox()),
        ..Settings::new(&nats.url)
    };
    jetstream::push(&settings, keys, &account).await.expect("the account is known");
    let operator = jetstream::open(settings).await.expect("a connection");
    for pool in POOLS.into_iter().chain([flow::RESULTS_POOL]) {
        operator.make_pool(pool).await.expect("a pool");
    }
    operator.make_scope("plain").await.expect("a bucket");
}

fn run_make(nats: &Nats, keys: &Keys) {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(make(nats, keys));
}

struct Cluster {
    place: Place,
    nats: Nats,
    keys: Keys,
    gateway: GatewayProcess,
}

impl Cluster {
    fn start() -> Option<Self> {
        let (place, keys) = (Place::new(), Keys::generate());
        let folder = place.path("broker").display().to_string();
        let trust = keys.server_configuration(&format!("{folder}/accounts"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let nats = Nats::start_with(&format!("log_file: \"{folder}/log\"\n{trust}"))?;
        run_make(&nats, &keys);
        place.write("pipeline.yaml", pipeline());
        let common = common(&place, &nats, &keys, &GATEWAY);
        let gateway = GatewayProcess::start(&place, &format!("{common}state: gateway\n"));
        Some(Self { place, nats, keys, gateway })
    }

    fn worker(&self, name: &str, pool: &str) -> Process {
        let common = common(&self.place, &self.nats, &self.keys, &Role::Agents { pool, orders: flow::keys::ORDERS });
        let mut worker = worker(&self.place, name, &format!("pool: {pool}\n{common}"));
        worker.says(&format!("worker {name} takes tasks"));
        worker
    }

    fn submit(&self, more: &[&str]) -> Ran {
        let submit = ["submit", "--gateway", &self.gateway.http, "--input", "in", "--format", "jsonl"];
        self.place.docket(&[&submit[..], more].concat())
    }

    fn violations(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.place.path("broker/log")).expect("a log");
        log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
    }
}

/// What the operator writes into the files of workers and gateways.
fn common(place: &Place, nats: &Nats, keys: &Keys, role: &Role) -> String {
    let (inbox, creds) = (role.inbox(), format!("{}.creds", role.inbox()));
    place.write(&creds, keys.account(PREFIX).user(role).creds);
    format!(
        "resources: [pipeline.yaml]\nnats: {{servers: ['{}'], prefix: {PREFIX}, lease: 30s, credentials: {creds}, inbox: {inbox}, \
         makeStreams: false}}\n",
        nats.url
    )
}

#[test]
fn documents_are_worked_with_credentials_for_what_each_process_needs() {
    let Some(mut cluster) = Cluster::start() else { return };
    for n in 0..20 {
        cluster.place.write(&format!("in/{n:02}.txt"), format!("document number {n} says {}", n * n));
    }
    let (reader, _writer) = (cluster.worker("reader", "readers"), cluster.worker("writer", "writers"));
    let lines = cluster.submit(&[]).code(0).lines();
    assert_eq!(lines.len(), 20);
    assert!(lines.iter().all(|line| line["outcome"] == "succeeded"), "{lines:#?}");

    // What gateways and workers do beside it, and what the broker's end interrupts.
    let stats = cluster.place.docket(&["stats", "--gateway", &cluster.gateway.http]).code(0).stdout;
    assert!(stats.contains("readers") && stats.contains("writers"), "{stats}");
    cluster.place.docket(&["cache", "stats", "--gateway", &cluster.gateway.http]).code(0);
    cluster.place.docket(&["erase", "00.txt", "--gateway", &cluster.gateway.http]).code(0);
    reader.terminate();
    cluster.nats.restart();
    // Statuses lie in the broker's memory: the operator gives them a place again.
    run_make(&cluster.nats, &cluster.keys);
    let _another = cluster.worker("another", "readers");
    for n in 20..25 {
        cluster.place.write(&format!("in/{n:02}.txt"), format!("document number {n} says {}", n * n));
    }
    std::fs::remove_file(cluster.place.path("in/00.txt")).expect("removed");
    let lines = wait_for("the gateway to find the broker again", || {
        let ran = cluster.submit(&[]);
        (ran.code == Some(0)).then(|| ran.lines())
    });
    assert_eq!(lines.len(), 24);
    std::thread::sleep(Duration::from_secs(1));
    let refused = cluster.violations();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn credentials_of_one_pool_work_no_other() {
    let Some(cluster) = Cluster::start() else { return };
    let common = common(
        &cluster.place,
        &cluster.nats,
        &cluster.keys,
        &Role::Agents { pool: "writers", orders: flow::keys::ORDERS },
    );
    let mut stranger = worker(&cluster.place, "stranger", &format!("pool: readers\n{common}"));
    cluster.place.write("in/1.txt", "a document");
    cluster.submit(&["--detach"]).code(0);
    let refused = wait_for("the broker to refuse it", || {
        let refused = cluster.violations();
        (!refused.is_empty()).then_some(refused)
    });
    assert!(refused.iter().any(|line| line.contains("docket-team-tasks-readers") || line.contains("status.readers")));
    stranger.kill();
    let _reader = cluster.worker("reader", "readers");
    let _writer = cluster.worker("writer", "writers");
    cluster.submit(&[]).code(0);
}

#[test]
fn what_is_wrong_with_the_credentials_of_a_file_is_named_with_its_place() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    for (nats, why) in [
        ("credentials: missing.creds", "nats.credentials"),
        ("inbox: 'a.*'", "nats.inbox"),
        ("makeStreams: perhaps", "makeStreams"),
        ("credentials: worker.yaml, user: docket", "set one of credentials, tokenFile, or user with passwordFile"),
    ] {
        let file =
            format!("pool: readers\nresources: [pipeline.yaml]\nnats: {{servers: ['nats://127.0.0.1:1'], {nats}}}\n");
        place.write("worker.yaml", file);
        place.docket(&["worker", "--config", "worker.yaml"]).code(2).says(why);
    }
}
