//! What each role may do at a real broker, and what it may not: other pools, other namespaces, the broker's administration.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::nats::{Server, Version};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures::StreamExt as _;
use queue::{
    Alarm, Delivery, Discarded, Error, Message, Ports, Priority,
    jetstream::{self, Credentials, JetStream, Keys, Role, Settings},
};
use tempfile::TempDir;

const ONE: &str = "docket-one";
const TWO: &str = "docket-two";
const READERS: Role<'static> = Role::Agents { pool: "readers", orders: "_orders/" };
const WRITERS: Role<'static> = Role::Agents { pool: "writers", orders: "_orders/" };
const GATEWAY: Role<'static> = Role::Gateway { pool: "_results", statuses: "_gateways/" };
/// What a broker may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server that trusts keys, and knows two namespaces' accounts.
struct Broker {
    folder: TempDir,
    keys: Keys,
    port: u16,
    server: Option<Server>,
    program: std::path::PathBuf,
    version: Version,
}

impl Broker {
    async fn start(version: Version) -> Option<Self> {
        let program = crate::nats::program(version)?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (keys, port) = (Keys::generate(), crate::nats::free_port());
        let mut broker = Self { folder, keys, port, server: None, program, version };
        broker.run();
        for prefix in [ONE, TWO] {
            let account = broker.keys.account(prefix);
            jetstream::push(&broker.plain(), &broker.keys, &account).await.expect("it is known");
        }
        Some(broker)
    }

    fn run(&mut self) {
        let (accounts, log) = (self.folder.path().join("accounts"), self.folder.path().join("log"));
        let trust = self.keys.server_configuration(&accounts.display().to_string());
        let more = format!("log_file: {:?}\n{trust}{}", log.display().to_string(), self.version.settings());
        self.server = Some(Server::start_with(&self.program, self.folder.path(), (self.port, false), &more));
    }

    fn plain(&self) -> Settings {
        Settings { timeout: Duration::from_secs(20), ..Settings::new(format!("nats://127.0.0.1:{}", self.port)) }
    }

    fn settings(&self, prefix: &str, role: Role) -> Settings {
        Settings {
            bucket_prefix: prefix.to_owned(),
            scoped: vec!["documents/", "feedback/"],
            credentials: Some(Credentials::Creds(self.keys.account(prefix).user(&role).creds)),
            inbox: Some(role.inbox()),
            makes_streams: role == Role::Operator,
            ..self.plain()
        }
    }

    async fn open(&self, prefix: &str, role: Role<'_>) -> Ports {
        jetstream::open(self.settings(prefix, role)).await.expect("open the broker's ports").ports
    }

    /// What the operator makes of a namespace.
    async fn prepare(&self, prefix: &str) -> JetStream {
        let operator = jetstream::open(self.settings(prefix, Role::Operator)).await.expect("all of the account");
        for pool in ["readers", "writers", "_results"] {
            operator.make_pool(pool).await.expect("a pool");
        }
        for pipeline in ["letters", "bills"] {
            operator.make_scope(pipeline).await.expect("a bucket");
        }
        operator
    }

    /// What the server has refused, by its log.
    fn violations(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("log")).expect("a log");
        log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
    }

    async fn probe(&self, prefix: &str, role: Role<'_>) -> Probe {
        let refusals: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = Arc::clone(&refusals);
        let options = ConnectOptions::new()
            .credentials(&self.keys.account(prefix).user(&role).creds)
            .expect("credentials")
            .custom_inbox_prefix(role.inbox())
            .event_callback(move |event| {
                hears.lock().expect("no panic while it is held").push(event.to_string());
                std::future::ready(())
            });
        let client = options.connect(format!("127.0.0.1:{}", self.port)).await.expect("a connection");
        Probe { client, refusals }
    }
}

/// A client that tries what our own would not.
struct Probe {
    client: Client,
    refusals: Arc<Mutex<Vec<String>>>,
}

impl Probe {
    /// Whether the server has refused something with this subject. It works a connection's commands in order, so what it says
    /// of a later one that is surely refused comes after what it says of that.
    async fn is_refused(&self, subject: &str) -> bool {
        const SURELY: &str = "surely.refused";
        self.client.publish(SURELY, Bytes::new()).await.expect("sent");
        let quoted = |subject: &str| format!("\"{subject}\"");
        let heard = async {
            loop {
                let refusals = std::mem::take(&mut *self.refusals.lock().expect("no panic while it is held"));
                if refusals.iter().any(|event| event.contains(&quoted(SURELY))) {
                    return refusals;
                }
                self.refusals.lock().expect("no panic while it is held").splice(0..0, refusals);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let refusals = tokio::time::timeout(PATIENCE, heard).await.expect("the server's word");
        refusals.iter().any(|event| event.contains("Permissions Violation") && event.contains(&quoted(subject)))
    }

    async fn publish(&self, subject: &str) -> bool {
        self.send(subject, "{}").await
    }

    async fn send(&self, subject: &str, body: &'static str) -> bool {
        self.client.publish(subject.to_owned(), body.into()).await.expect("sent");
        self.is_refused(subject).await
    }

    async fn subscribe(&self, subject: &str) -> bool {
        let _subscriber = self.client.subscribe(subject.to_owned()).await.expect("sent");
        self.is_refused(subject).await
    }

    async fn all_refused(&self, published: &[String], subscribed: &[&str]) {
        for subject in published {
            assert!(self.publish(subject).await, "it may publish to {subject}");
        }
        for subject in subscribed {
            assert!(self.subscribe(subject).await, "it may listen to {subject}");
        }
    }
}

on_each_version! {
    each_role_does_all_that_its_processes_do
    agents_reach_no_other_pool_and_administer_nothing
    a_gateway_takes_no_tasks_of_agents_and_administers_nothing
    a_task_is_settled_by_its_own_pool_alone
    another_namespace_is_out_of_reach_by_names_and_by_answers
    accounts_outlive_the_server_and_strangers_are_not_let_in
    streams_that_others_make_are_waited_for_and_named
    a_pool_that_nobody_makes_is_waited_for_once_and_used_when_it_is_made
}

// Where acknowledgements are named in another way, what depends on that is tried too.
on_each_version!(@ newest_with_accounts NewestWithAccounts
    each_role_does_all_that_its_processes_do
    agents_reach_no_other_pool_and_administer_nothing
    a_gateway_takes_no_tasks_of_agents_and_administers_nothing
    a_task_is_settled_by_its_own_pool_alone
    another_namespace_is_out_of_reach_by_names_and_by_answers
);
on_each_version!(@ before Before
    each_role_does_all_that_its_processes_do
    agents_reach_no_other_pool_and_administer_nothing
    a_gateway_takes_no_tasks_of_agents_and_administers_nothing
    a_task_is_settled_by_its_own_pool_alone
    another_namespace_is_out_of_reach_by_names_and_by_answers
);

fn message(pool: &str, id: &str) -> Message {
    let (id, body) = (id.to_owned(), Bytes::from(format!("body of {id}")));
    Message { id, pool: pool.to_owned(), priority: Priority::Normal, body }
}

/// Whether so many tasks are in a pool in the end: what is published or settled counts a moment later.
async fn comes_to(ports: &Ports, pool: &str, tasks: u64) -> bool {
    let counted = async {
        while ports.queue.depth(pool).await.expect("depth").total() != tasks {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.is_ok()
}

/// What administers a stream or its consumers.
fn administration(stream: &str) -> Vec<String> {
    let of_streams = ["CREATE", "UPDATE", "DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN", "PEER.REMOVE"];
    let since_2_15 = ["PEER.EVACUATE", "CANCEL_MOVE"];
    let of_consumers = ["CREATE", "DURABLE.CREATE", "DELETE", "PAUSE", "UNPIN", "LEADER.STEPDOWN"];
    let since_2_14 = ["RESET", "PEER.REMOVE", "PEER.EVACUATE"];
    let streams = of_streams.iter().chain(&since_2_15).map(|call| format!("$JS.API.STREAM.{call}.{stream}"));
    let consumers = of_consumers.iter().chain(&since_2_14);
    let consumers = consumers.map(|call| format!("$JS.API.CONSUMER.{call}.{stream}.normal"));
    let more = ["CONSUMER.CREATE", "CONSUMER.NAMES", "CONSUMER.LIST", "DIRECT.GET"];
    let more = more.map(|call| format!("$JS.API.{call}.{stream}"));
    streams.chain(consumers).chain(more).collect()
}

/// Taking and settling tasks of a stream, by both forms of acknowledgements.
fn work(stream: &str) -> Vec<String> {
    let next = ["critical", "high", "normal", "low"].map(|class| format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{class}"));
    let settled = [
        format!("$JS.ACK.{stream}.normal.1.1.1.1700000000000000000.0"),
        format!("$JS.ACK._.account.{stream}.normal.1.1.1.1700000000000000000.0"),
        format!("$JS.ACK.hub.account.{stream}.normal.1.1.1.1700000000000000000.0.token"),
        // What servers may say some day is let through as well.
        format!("$JS.ACK.hub.account.{stream}.normal.1.1.1.1700000000000000000.0.token.more"),
    ];
    next.into_iter().chain(settled).collect()
}

/// What nobody but the servers' owner may do.
fn broker_wide() -> Vec<String> {
    let calls = ["STREAM.LIST", "STREAM.TEMPLATE.NAMES", "META.LEADER.STEPDOWN", "SERVER.REMOVE", "ACCOUNT.PURGE.any"];
    let since_2_15 = ["META.RESCUE", "SERVER.EVACUATE"];
    let system = ["$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO"];
    let calls = calls.into_iter().chain(since_2_15).map(|call| format!("$JS.API.{call}"));
    calls.chain(system.map(str::to_owned)).collect()
}

const EVERYTHING: [&str; 7] = [">", "*.>", "$JS.>", "$KV.>", "$SYS.>", "_INBOX.>", "docket-one.>"];

async fn each_role_does_all_that_its_processes_do(version: Version) {
    let Some(broker) = Broker::start(version).await else { return };
    let operator = broker.prepare(ONE).await;
    let (readers, writers) = (broker.open(ONE, READERS).await, broker.open(ONE, WRITERS).await);
    let gateway = broker.open(ONE, GATEWAY).await;

    // A document comes in and is handed on.
    let mut events = gateway.events.watch("documents/").await.expect("watch");
    let created = gateway.records.create("documents/letters/1", "new".into()).await.expect("a record");
    gateway.queue.publish(vec![message("readers", "1"), message("readers", "2")]).await.expect("publish");
    // A pull waits for the first alone.
    let mut taken: Vec<Delivery> = Vec::new();
    while taken.len() < 2 {
        let found = readers.queue.pull("readers", 2 - taken.len(), PATIENCE).await.expect("pull");
        assert!(!found.is_empty(), "{} of two came", taken.len());
        taken.extend(found);
    }
    readers.queue.extend(&taken[0].receipt).await.expect("extend");
    assert_eq!(readers.records.get("documents/letters/1").await.expect("get").expect("there").revision, created);
    readers.records.update("documents/letters/1", created, "read".into()).await.expect("update");
    readers.queue.publish(vec![message("writers", "1"), message("_results", "1")]).await.expect("hand on");
    readers.queue.publish(vec![message("writers", "1")]).await.expect("twice is once");
    readers.queue.ack(&taken[0].receipt).await.expect("ack");
    readers.queue.release(&taken[1].receipt, Duration::ZERO).await.expect("release");
    let again = readers.queue.pull("readers", 1, PATIENCE).await.expect("pull");
    assert_eq!((again.len(), again[0].deliveries), (1, 2));
    let waiting = tokio::spawn({
        let readers = readers.clone();
        async move { readers.queue.pull("readers", 1, PATIENCE).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    gateway.queue.publish(vec![message("readers", "3")]).await.expect("publish");
    assert_eq!(waiting.await.expect("no panic").expect("pull").len(), 1);
    readers.queue.leave("readers");
    readers.events.publish("documents/letters/1", "read".into()).await.expect("tell");
    assert!(tokio::time::timeout(PATIENCE, events.recv()).await.expect("in time").is_some());

    // What workers keep and read beside it.
    readers.records.create("feedback/bills/1", "good".into()).await.expect("a record");
    assert_eq!(writers.records.scan("feedback/", None, 10).await.expect("of all pipelines").len(), 1);
    let large: Vec<u8> = (0..3 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let digest = readers.payloads.put(large.clone().into()).await.expect("stored");
    assert_eq!(writers.payloads.put(large.clone().into()).await.expect("is there"), digest);
    assert_eq!(gateway.payloads.get(&digest).await.expect("read").len(), large.len());
    let alarm = |at: u64| Alarm { id: "retry".to_owned(), at, body: "again".into() };
    let soon = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_millis() as u64;
    readers.timers.set(vec![alarm(soon + 60_000)]).await.expect("set");
    readers.timers.set(vec![alarm(soon + 500)]).await.expect("set anew");
    readers.statuses.publish("readers/pod", "ready".into()).await.expect("say");
    gateway.statuses.publish("_gateways/pod", "ready".into()).await.expect("say");
    assert_eq!(gateway.statuses.all("").await.expect("hear").len(), 2);
    readers.statuses.remove("readers/pod").await.expect("fall silent");
    assert_eq!(operator.ports.statuses.all("readers/").await.expect("hear").len(), 0);

    // What keeps the namespace tidy.
    let due = gateway.timers.due(soon, 5, PATIENCE).await.expect("due");
    assert_eq!(due, [alarm(soon + 500)]);
    gateway.timers.done(&due[0]).await.expect("done");
    gateway.timers.set(vec![alarm(soon + 600_000)]).await.expect("set");
    gateway.timers.cancel("retry").await.expect("cancel");
    assert_eq!(gateway.queue.depth("writers").await.expect("depth").total(), 1);
    let discarded = gateway.queue.discard("writers", Priority::Normal, "1").await.expect("discard");
    assert_eq!(discarded, Discarded::Removed);
    let results = gateway.queue.pull("_results", 1, PATIENCE).await.expect("pull");
    gateway.queue.ack(&results[0].receipt).await.expect("ack");
    gateway.payloads.delete(&digest).await.expect("delete");
    assert!(gateway.payloads.list(None, 10).await.expect("list").is_empty());
    let record = gateway.records.get("documents/letters/1").await.expect("get").expect("there");
    gateway.records.remove("documents/letters/1", record.revision).await.expect("remove");
    gateway.records.delete("feedback/bills/1").await.expect("delete");
    assert!(gateway.records.scan("", None, 10).await.expect("scan").is_empty());
    assert_eq!(operator.ports.queue.depth("readers").await.expect("depth").in_work, 2);
    operator.remove_scope("letters").await.expect("removed");
    operator.remove_pool("writers").await.expect("removed");
    let refused = broker.violations();
    assert!(refused.is_empty(), "{refused:#?}");
}

async fn agents_reach_no_other_pool_and_administer_nothing(version: Version) {
    let Some(broker) = Broker::start(version).await else { return };
    let operator = broker.prepare(ONE).await;
    operator.ports.queue.publish(vec![message("writers", "1")]).await.expect("publish");
    let agent = broker.probe(ONE, READERS).await;
    let mut refused = broker_wide();
    for stream in ["docket-one-tasks-writers", "docket-one-tasks-_results", "docket-one-timers"] {
        refused.extend(work(stream));
    }
    let of_pools = ["docket-one-tasks-readers", "docket-one-tasks-writers"];
    let kept = ["docket-one-payloads", "docket-one-timers", "docket-one-status", "KV_docket-one-records"];
    for stream in of_pools.into_iter().chain(kept).chain(["KV_docket-one-records-letters", "docket-one-new"]) {
        refused.extend(administration(stream));
        refused.push(format!("$JS.API.STREAM.MSG.DELETE.{stream}"));
    }
    let purged =
        of_pools.into_iter().chain(["docket-one-status", "KV_docket-one-records", "KV_docket-one-records-letters"]);
    refused.extend(purged.map(|stream| format!("$JS.API.STREAM.PURGE.{stream}")));
    refused.extend(
        [
            "docket-one.status.writers.pod",
            "docket-one.status._gateways.pod",
            "docket-one.timers.0a.due",
            "_INBOX_agents.writers.any",
            "_INBOX_gateway.any",
            "_INBOX.any",
            "anything",
        ]
        .map(str::to_owned),
    );
    let heard = ["docket-one.tasks.>", "docket-one.tasks.readers.>", "docket-one.status.>", "docket-one.timers.>"];
    let more = ["_INBOX_agents.writers.>", "_INBOX_gateway.>", "_INBOX_agents.>", "_INBOX_agents.*.any", "$JS.ACK.>"];
    agent.all_refused(&refused, &[&EVERYTHING[..], &heard, &more].concat()).await;
    assert_eq!(operator.ports.queue.depth("writers").await.expect("depth").total(), 1);
    // It is not that nothing is let through.
    for allowed in work("docket-one-tasks-readers") {
        assert!(!agent.publish(&allowed).await, "{allowed} is refused");
    }
}

async fn a_gateway_takes_no_tasks_of_agents_and_administers_nothing(version: Version) {
    let Some(broker) = Broker::start(version).await else { return };
    broker.prepare(ONE).await;
    let gateway = broker.probe(ONE, GATEWAY).await;
    let mut refused = broker_wide();
    refused.extend(["docket-one-tasks-readers", "docket-one-tasks-writers"].into_iter().flat_map(work));
    for stream in ["docket-one-tasks-readers", "docket-one-payloads", "KV_docket-one-records-letters", "docket-one-new"]
    {
        refused.extend(administration(stream));
    }
    refused.extend(
        [
            "$JS.API.STREAM.MSG.DELETE.docket-one-tasks-readers",
            "docket-one.status.readers.pod",
            "docket-one.timers.0a.due",
            "_INBOX_agents.readers.any",
        ]
        .map(str::to_owned),
    );
    gateway.all_refused(&refused, &[&EVERYTHING[..], &["docket-one.tasks.>", "_INBOX_agents.>"]].concat()).await;
}

/// Subjects by which somebody who may settle messages of the stream `own` could try to settle the one that is acknowledged by
/// `reply`: as the server has named it, in both ways that there are, and with his own stream in each place that nobody may look at.
fn forgeries(reply: &str, own: &str) -> Vec<String> {
    let words: Vec<&str> = reply.split('.').collect();
    let (account, message) = match words.len() {
        9 => ("account", words[2..9].to_vec()),
        _ => (words[3], words[4..11].to_vec()),
    };
    let with = |place: usize| {
        let mut changed = message.clone();
        changed[place] = own;
        changed.join(".")
    };
    let message = message.join(".");
    let mut forged = vec![reply.to_owned(), format!("$JS.ACK.{message}"), format!("$JS.ACK._.{account}.{message}")];
    forged.extend([format!("$JS.ACK.{own}.{account}.{message}"), format!("$JS.ACK._.{own}.{message}")]);
    // Deliveries, sequences, time and what waits.
    forged.extend((2..7).map(|place| format!("$JS.ACK.{}", with(place))));
    forged.extend((2..7).map(|place| format!("$JS.ACK._.{account}.{}", with(place))));
    forged
}

async fn a_task_is_settled_by_its_own_pool_alone(version: Version) {
    let Some(broker) = Broker::start(version).await else { return };
    let operator = broker.prepare(ONE).await;
    broker.prepare(TWO).await;
    operator.ports.queue.publish(vec![message("writers", "1")]).await.expect("publish");
    let writer = broker.probe(ONE, WRITERS).await;
    let next = "$JS.API.CONSUMER.MSG.NEXT.docket-one-tasks-writers.normal";
    // A request would wait for an answer whose subject is its own inbox; a task comes under the subject it was published to.
    let inbox = writer.client.new_inbox();
    let mut tasks = writer.client.subscribe(inbox.clone()).await.expect("subscribe");
    writer.client.publish_with_reply(next, inbox, "1".into()).await.expect("ask");
    let task = tokio::time::timeout(PATIENCE, tasks.next()).await.expect("in time").expect("a task");
    let reply = task.reply.expect("it can be acknowledged").to_string();
    assert_eq!(reply.split('.').count(), if version.names_accounts() { 11 } else { 9 }, "{reply}");
    let others = [
        (ONE, READERS, "docket-one-tasks-readers"),
        (ONE, GATEWAY, "docket-one-tasks-_results"),
        (ONE, GATEWAY, "docket-one-timers"),
        (TWO, WRITERS, "docket-two-tasks-writers"),
        (TWO, GATEWAY, "docket-two-tasks-_results"),
    ];
    for (prefix, role, own) in others {
        let other = broker.probe(prefix, role).await;
        for subject in forgeries(&reply, own) {
            assert!(other.send(&subject, "+ACK").await, "{role:?} of {prefix} may publish to {subject}");
        }
    }
    let depth = operator.ports.queue.depth("writers").await.expect("depth");
    assert_eq!((depth.total(), depth.in_work), (1, 1));
    assert!(!writer.send(&reply, "+ACK").await, "{reply} is refused");
    assert!(comes_to(&operator.ports, "writers", 0).await, "it counts");
}

async fn another_namespace_is_out_of_reach_by_names_and_by_answers(version: Version) {
    let Some(broker) = Broker::start(version).await else { return };
    broker.prepare(ONE).await;
    let other = broker.prepare(TWO).await;
    other.ports.queue.publish(vec![message("readers", "theirs")]).await.expect("publish");
    let revision = other.ports.records.create("plans/1", "theirs".into()).await.expect("a record");
    for role in [READERS, GATEWAY] {
        let probe = broker.probe(ONE, role).await;
        let mut refused = work("docket-two-tasks-readers");
        refused.extend(administration("docket-two-tasks-readers"));
        refused.extend(
            ["tasks.readers.normal.1", "timers.1.set", "events.1", "status.readers.1"]
                .map(|what| format!("docket-two.{what}")),
        );
        probe.all_refused(&refused, &["docket-two.>", "docket-two.events.>"]).await;
        // What a `*` lets through does not find it: it lies in another account.
        let asked =
            [("STREAM.INFO.docket-two-tasks-readers", ""), ("STREAM.MSG.GET.KV_docket-two-records", "{\"seq\":1}")];
        for (call, body) in asked {
            let answer = probe.client.request(format!("$JS.API.{call}"), body.into()).await.expect("an answer");
            assert!(String::from_utf8_lossy(&answer.payload).contains("10059"), "{:?}", answer.payload);
        }
        let names = probe.client.request("$JS.API.STREAM.NAMES", Bytes::new()).await.expect("an answer");
        assert!(!String::from_utf8_lossy(&names.payload).contains("two"), "{:?}", names.payload);
        // A server sends its answers wherever a request says; but only within the account.
        for theirs in ["$KV.docket-two-records.plans.1", "docket-two.tasks.readers.normal.injected"] {
            let ours =
                ["docket-one.tasks.readers.normal.1", "$JS.API.CONSUMER.MSG.NEXT.docket-one-tasks-readers.normal"];
            for asked in ours {
                probe.client.publish_with_reply(asked, theirs, Bytes::new()).await.expect("sent");
            }
            assert!(!probe.is_refused(ours[0]).await);
        }
        // And a record that is written by its subject is one of our own account.
        probe.client.publish("$KV.docket-two-records.plans.1", "ours".into()).await.expect("sent");
        assert!(!probe.is_refused("$KV.docket-two-records.plans.1").await);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let record = other.ports.records.get("plans/1").await.expect("get").expect("there");
    assert_eq!((record.revision, record.bytes), (revision, Bytes::from("theirs")));
    let depth = other.ports.queue.depth("readers").await.expect("depth");
    assert_eq!((depth.total(), depth.in_work), (1, 0));
}

async fn accounts_outlive_the_server_and_strangers_are_not_let_in(version: Version) {
    let Some(mut broker) = Broker::start(version).await else { return };
    let operator = broker.prepare(ONE).await;
    let gateway = broker.open(ONE, GATEWAY).await;
    gateway.queue.publish(vec![message("readers", "before")]).await.expect("publish");
    drop(broker.server.take());
    broker.run();
    // Statuses, which lay in the server's memory, have a place again when somebody asks for them who may make it.
    let asking = async {
        while operator.ports.statuses.all("").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the operator finds the server again");
    let readers = broker.open(ONE, READERS).await;
    assert_eq!(readers.queue.pull("readers", 1, PATIENCE).await.expect("pull").len(), 1);

    let strangers = Keys::generate();
    let theirs = strangers.account(ONE).user(&READERS).creds;
    let without = Settings { credentials: None, ..broker.settings(ONE, READERS) };
    let by_theirs = Settings { credentials: Some(Credentials::Creds(theirs)), ..without.clone() };
    let password = Credentials::User { name: "docket".to_owned(), password: "secret".to_owned() };
    let by_password = Settings { credentials: Some(password), ..without.clone() };
    // Of no account that the servers know.
    let unknown = broker.keys.account("docket-three").user(&Role::Operator).creds;
    let by_unknown = Settings { credentials: Some(Credentials::Creds(unknown)), ..without.clone() };
    for settings in [without, by_theirs, by_password, by_unknown] {
        // Who is not let in is told so at once, however patient he is.
        let opening = jetstream::open(Settings { patience: Duration::from_secs(3_600), ..settings });
        let opened = tokio::time::timeout(PATIENCE, opening).await.expect("an answer");
        assert!(matches!(opened, Err(Error::Store { .. })));
    }
    let pushed = jetstream::push(&broker.plain(), &strangers, &strangers.account("docket-four")).await;
    assert!(pushed.is_err(), "the servers do not trust these keys");
}

async fn streams_that_others_make_are_waited_for_and_named(version: Version) {
    let Some(broker) = Broker::start(version).await else { return };
    let impatient = Settings { timeout: Duration::from_secs(3), ..broker.settings(ONE, READERS) };
    let begun = Instant::now();
    let missing = "stream \"docket-one-payloads\" is not there";
    // A server that does not answer in so short a time says nothing of streams.
    loop {
        let Err(error) = jetstream::open(impatient.clone()).await.map(drop) else { panic!("nobody has made them") };
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        if source.contains(missing) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{source}");
    }
    // Longer than for an answer, by whose patience is longer.
    let timeout = Duration::from_secs(3);
    let patient = Settings { timeout, patience: PATIENCE * 2, ..broker.settings(ONE, READERS) };
    let opening = tokio::spawn(jetstream::open(patient));
    tokio::time::sleep(timeout * 4 / 3).await;
    broker.prepare(ONE).await;
    let readers = opening.await.expect("no panic").expect("they came to be");
    while let Err(error) = readers.ports.queue.publish(vec![message("writers", "1")]).await {
        assert!(begun.elapsed() < PATIENCE * 3, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(broker.violations().is_empty());
}

async fn a_pool_that_nobody_makes_is_waited_for_once_and_used_when_it_is_made(version: Version) {
    let Some(broker) = Broker::start(version).await else { return };
    let operator = broker.prepare(ONE).await;
    // So long is waited for it once, and so much later may an answer come that is not waited for.
    let impatient = Settings { timeout: Duration::from_secs(6), ..broker.settings(ONE, READERS) };
    let readers = jetstream::open(impatient).await.expect("open the broker's ports").ports;
    let publish = async || {
        let begun = Instant::now();
        let published = readers.queue.publish(vec![message("strangers", "1")]).await;
        (published, begun.elapsed())
    };
    let (first, waited) = publish().await;
    assert!(first.is_err(), "nobody has made it");
    let mut waited_again = Duration::MAX;
    // One is enough: a server may stall at any of them.
    for _ in 0..3 {
        let (again, waited) = publish().await;
        assert!(again.is_err(), "nobody has made it yet");
        waited_again = waited_again.min(waited);
    }
    assert!(waited_again < waited / 2, "{waited_again:?} after {waited:?}");
    operator.make_pool("strangers").await.expect("a pool");
    publish().await.0.expect("it is there");
    assert!(comes_to(&operator.ports, "strangers", 1).await);
}
