//! What only a broker can show: a server that is killed, more than one process, settings that do not fit what exists.

use std::{
    collections::BTreeSet,
    error::Error as _,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::nats::{Server, Version};
use queue::{
    Delivery, Error, Message, Ports, Priority,
    jetstream::{self, Settings},
};
use tempfile::TempDir;

/// What a broker may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

fn message(id: &str) -> Message {
    Message {
        id: id.to_owned(),
        pool: "readers".to_owned(),
        priority: Priority::Normal,
        body: format!("body of {id}").into(),
    }
}

/// A server of the test's own, which can be killed and started again on the same port.
struct Broker {
    program: std::path::PathBuf,
    folder: TempDir,
    port: u16,
    server: Option<Server>,
}

impl Broker {
    fn start(version: Version) -> Option<Self> {
        let program = crate::nats::program(version)?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = crate::nats::free_port();
        let server = Some(Server::start(&program, folder.path(), port, false));
        Some(Self { program, folder, port, server })
    }

    fn settings(&self) -> Settings {
        Settings { timeout: Duration::from_secs(20), ..Settings::new(format!("nats://127.0.0.1:{}", self.port)) }
    }

    fn kill(&mut self) {
        drop(self.server.take().expect("a running server"));
    }

    fn start_again(&mut self) {
        self.server = Some(Server::start(&self.program, self.folder.path(), self.port, false));
    }
}

async fn open(settings: Settings) -> Ports {
    jetstream::open(settings).await.expect("open the broker's ports").ports
}

/// Repeats what fails for want of a broker until it does not.
async fn until_it_works<T, Call, Calling>(mut call: Call) -> T
where
    Call: FnMut() -> Calling,
    Calling: Future<Output = Result<T, Error>>,
{
    let tries = async {
        loop {
            match call().await {
                Ok(value) => return value,
                Err(Error::Store { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, tries).await.expect("a broker that works again")
}

/// An error with all that caused it, as a person sees it.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

fn ids(deliveries: &[Delivery]) -> BTreeSet<String> {
    deliveries.iter().map(|delivery| delivery.message.id.clone()).collect()
}

on_each_version! {
    a_killed_server_loses_no_confirmed_message_and_no_record
    what_was_under_way_when_the_server_died_does_not_wait_for_an_answer
    a_waiting_pull_outlives_the_server
    a_server_that_is_gone_is_an_error_and_not_an_empty_answer
    whoever_is_there_before_the_server_waits_for_it
    processes_share_what_they_publish_and_work_each_message_once
    a_blocked_pull_takes_no_more_than_it_may
    a_large_payload_is_stored_in_pieces_and_clears_away_after_itself
    alarms_outlive_the_server_and_are_ended_by_another_process
    what_exists_with_weaker_settings_is_refused
    a_broker_that_stands_still_is_waited_for_as_long_as_its_silence_may_last
}

async fn a_killed_server_loses_no_confirmed_message_and_no_record(version: Version) {
    let Some(mut broker) = Broker::start(version) else { return };
    let ports = open(broker.settings()).await;
    ports.queue.publish(vec![message("before")]).await.expect("publish");
    let confirmed: Arc<std::sync::Mutex<BTreeSet<String>>> = Arc::default();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let (ports, confirmed) = (ports.clone(), Arc::clone(&confirmed));
        writers.spawn(async move {
            let mut revision = None;
            for number in 0..150_u32 {
                let id = format!("{writer}-{number}");
                let published = ports.queue.publish(vec![message(&id)]).await;
                let body = number.to_string();
                let key = format!("records/{writer}");
                let written = match revision {
                    None => ports.records.create(&key, body.into()).await,
                    Some(revision) => ports.records.update(&key, revision, body.into()).await,
                };
                if published.is_err() || written.is_err() {
                    // The record that was written last is what must be there, or the one whose answer was lost.
                    return (writer, number, revision);
                }
                revision = written.ok();
                confirmed.lock().expect("not poisoned").insert(id);
            }
            (writer, 150, revision)
        });
    }
    while confirmed.lock().expect("not poisoned").len() < 60 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    broker.kill();
    broker.start_again();
    let ended = writers.join_all().await;

    for (writer, number, revision) in ended {
        let key = format!("records/{writer}");
        let record = until_it_works(|| ports.records.get(&key)).await.expect("a record");
        let found: u32 = std::str::from_utf8(&record.bytes).expect("text").parse().expect("a number");
        assert!(found + 1 == number || found == number, "writer {writer} stopped at {number}, {found} is there");
        assert!(Some(record.revision) >= revision);
    }
    let mut confirmed = confirmed.lock().expect("not poisoned").clone();
    confirmed.insert("before".to_owned());
    let mut there = BTreeSet::new();
    let begun = Instant::now();
    while !confirmed.is_subset(&there) && begun.elapsed() < PATIENCE {
        let deliveries = until_it_works(|| ports.queue.pull("readers", 100, Duration::from_secs(1))).await;
        for delivery in &deliveries {
            until_it_works(|| ports.queue.ack(&delivery.receipt)).await;
        }
        there.extend(ids(&deliveries));
    }
    let lost: Vec<_> = confirmed.difference(&there).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

async fn what_was_under_way_when_the_server_died_does_not_wait_for_an_answer(version: Version) {
    let Some(mut broker) = Broker::start(version) else { return };
    // Far longer than the test is ready to wait.
    let ports = open(Settings { timeout: PATIENCE * 4, ..broker.settings() }).await;
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..500 {
        let records = Arc::clone(&ports.records);
        writes.spawn(async move { records.create(&format!("documents/{number}"), "new".into()).await });
    }
    writes.join_next().await.expect("writes").expect("no panic").expect("written");
    broker.kill();
    broker.start_again();
    let outcomes = tokio::time::timeout(PATIENCE, writes.join_all()).await.expect("nobody waits in vain");
    // Each looked for its write and tried again; a server that has only just started may still have refused one.
    let known = |outcome: &Result<u64, Error>| matches!(outcome, Ok(_) | Err(Error::Store { .. }));
    assert!(outcomes.iter().all(known), "{outcomes:?}");
    assert!(outcomes.iter().any(Result::is_ok));
}

async fn a_waiting_pull_outlives_the_server(version: Version) {
    let Some(mut broker) = Broker::start(version) else { return };
    let ports = open(broker.settings()).await;
    let queue = Arc::clone(&ports.queue);
    let pull = tokio::spawn(async move {
        loop {
            match queue.pull("readers", 1, Duration::from_secs(60)).await {
                Ok(deliveries) if deliveries.is_empty() => {}
                Ok(deliveries) => return deliveries,
                Err(Error::Store { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    until_it_works(|| ports.queue.publish(vec![Message { pool: "writers".to_owned(), ..message("a") }])).await;
    broker.kill();
    broker.start_again();
    until_it_works(|| ports.queue.publish(vec![message("b")])).await;
    let deliveries = tokio::time::timeout(PATIENCE, pull).await.expect("in time").expect("the pull ends well");
    assert_eq!(deliveries[0].message, message("b"));
}

async fn whoever_is_there_before_the_server_waits_for_it(version: Version) {
    let Some(mut broker) = Broker::start(version) else { return };
    broker.kill();
    let settings = broker.settings();
    let at_once = jetstream::open(settings.clone()).await.err().expect("nobody listens");
    assert!(chain(&at_once).contains("failed to connect"), "{}", chain(&at_once));
    let opening = tokio::spawn(open(Settings { patience: PATIENCE, ..settings }));
    // Some tries are refused.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!opening.is_finished());
    broker.start_again();
    let ports = opening.await.expect("no panic");
    ports.queue.publish(vec![message("a")]).await.expect("publish");
}

async fn fails<T>(what: &str, call: impl Future<Output = Result<T, Error>>) {
    let outcome = call.await.map(drop);
    assert!(matches!(outcome, Err(Error::Store { .. })), "{what}: {outcome:?}");
}

async fn a_server_that_is_gone_is_an_error_and_not_an_empty_answer(version: Version) {
    let Some(mut broker) = Broker::start(version) else { return };
    // Most of what fails below waits for as long.
    let settings = Settings { timeout: Duration::from_secs(12), ..broker.settings() };
    let ports = until_it_works(|| jetstream::open(settings.clone())).await.ports;
    ports.queue.publish(vec![message("a")]).await.expect("publish");
    let receipt = ports.queue.pull("readers", 1, PATIENCE).await.expect("pull").remove(0).receipt;
    let revision = ports.records.create("a", "1".into()).await.expect("create");
    let digest = ports.payloads.put("hello".into()).await.expect("put");
    broker.kill();
    // After the first, the process knows that the connection is gone.
    fails("pull", ports.queue.pull("readers", 1, Duration::ZERO)).await;
    tokio::join!(
        fails("depth", ports.queue.depth("readers")),
        fails("publish", ports.queue.publish(vec![message("b")])),
        fails("ack", ports.queue.ack(&receipt)),
        fails("get", ports.records.get("a")),
        fails("update", ports.records.update("a", revision, "2".into())),
        fails("scan", ports.records.scan("", None, 10)),
        fails("payload", ports.payloads.get(&digest)),
        fails("contains", ports.payloads.contains(&digest)),
        fails("list", ports.payloads.list(None, 1_000)),
        fails("due", ports.timers.due(0, 1, Duration::ZERO)),
        fails("watch", ports.events.watch("")),
    );
    assert!(ports.events.publish("a", "lost".into()).await.is_ok(), "events may be lost");
}

async fn processes_share_what_they_publish_and_work_each_message_once(version: Version) {
    let Some(broker) = Broker::start(version) else { return };
    let (one, two) = (open(broker.settings()).await, open(broker.settings()).await);
    let (first, second) = tokio::join!(
        one.queue.publish((0..100).map(|number| message(&format!("{number}"))).collect()),
        two.queue.publish((50..150).map(|number| message(&format!("{number}"))).collect()),
    );
    first.and(second).expect("publish");
    let mut worked = Vec::new();
    let begun = Instant::now();
    while worked.len() < 150 && begun.elapsed() < PATIENCE {
        let (mine, yours) = tokio::join!(
            one.queue.pull("readers", 8, Duration::from_secs(1)),
            two.queue.pull("readers", 8, Duration::from_secs(1)),
        );
        let (mine, yours) = (mine.expect("pull"), yours.expect("pull"));
        for delivery in &mine {
            one.queue.ack(&delivery.receipt).await.expect("acknowledge");
        }
        for delivery in &yours {
            two.queue.ack(&delivery.receipt).await.expect("acknowledge");
        }
        worked.extend(mine.into_iter().chain(yours).map(|delivery| delivery.message.id));
    }
    assert_eq!(worked.len(), 150);
    assert_eq!(worked.into_iter().collect::<BTreeSet<_>>().len(), 150);
    assert_eq!(one.queue.depth("readers").await.expect("depth").arrived, 150, "nothing lies there twice");
}

async fn a_blocked_pull_takes_no_more_than_it_may(version: Version) {
    let Some(broker) = Broker::start(version) else { return };
    let (one, two) = (open(broker.settings()).await, open(broker.settings()).await);
    let queue = Arc::clone(&one.queue);
    let blocked = tokio::spawn(async move { queue.pull("readers", 2, PATIENCE).await.expect("pull") });
    let all = Priority::ALL.map(|priority| Message { priority, ..message(&format!("{priority:?}")) });
    let mut wanted: BTreeSet<String> = all.iter().map(|message| message.id.clone()).collect();
    two.queue.publish(all.to_vec()).await.expect("publish");
    let taken = blocked.await.expect("the pull ends well");
    assert!((1..=2).contains(&taken.len()), "{} messages", taken.len());
    for id in ids(&taken) {
        wanted.remove(&id);
    }
    // Whatever else arrived there is handed back, long before a lease ends.
    while !wanted.is_empty() {
        let found = two.queue.pull("readers", 4, PATIENCE / 2).await.expect("pull");
        assert!(!found.is_empty(), "{wanted:?} did not come");
        for id in ids(&found) {
            assert!(wanted.remove(&id), "{id} came twice");
        }
    }
}

async fn a_large_payload_is_stored_in_pieces_and_clears_away_after_itself(version: Version) {
    let Some(broker) = Broker::start(version) else { return };
    let ports = open(broker.settings()).await;
    let mut noise = vec![0; 3 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let (one, two) = tokio::join!(ports.payloads.put(noise.clone().into()), ports.payloads.put(noise.clone().into()));
    let digest = one.expect("put");
    assert_eq!(two.expect("put"), digest);
    assert!(ports.payloads.get(&digest).await.expect("get") == noise);
    let client = async_nats::connect(format!("nats://127.0.0.1:{}", broker.port)).await.expect("connect");
    let pieces = async || {
        let info = client.request("$JS.API.STREAM.INFO.docket-payloads", "".into()).await.expect("info");
        let info: serde_json::Value = serde_json::from_slice(&info.payload).expect("json");
        info["state"]["messages"].as_u64().expect("a count")
    };
    assert_eq!(pieces().await, 8, "a head and seven pieces, of one upload");

    // A piece is lost.
    let purge = serde_json::json!({ "filter": format!("docket.payloads.{digest}.*.3") }).to_string();
    client.request("$JS.API.STREAM.PURGE.docket-payloads", purge.into()).await.expect("purge");
    assert!(matches!(ports.payloads.get(&digest).await, Err(Error::Damaged { .. })));
    ports.payloads.put(noise.clone().into()).await.expect("put again");
    assert!(ports.payloads.get(&digest).await.expect("get") == noise, "putting it again heals it");
    assert_eq!(pieces().await, 8);
    ports.payloads.delete(&digest).await.expect("delete");
    assert_eq!(pieces().await, 0);
}

async fn alarms_outlive_the_server_and_are_ended_by_another_process(version: Version) {
    let Some(mut broker) = Broker::start(version) else { return };
    let (one, two) = (open(broker.settings()).await, open(broker.settings()).await);
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("our age").as_millis();
    let at = u64::try_from(at).expect("our age") + 1_500;
    let alarm = queue::Alarm { id: "a/b c".to_owned(), at, body: "wake up".into() };
    one.timers.set(vec![alarm.clone()]).await.expect("set");
    broker.kill();
    broker.start_again();
    let due = tokio::time::timeout(PATIENCE, async {
        loop {
            let due = until_it_works(|| one.timers.due(0, 10, Duration::from_secs(5))).await;
            if !due.is_empty() {
                return due;
            }
        }
    });
    assert_eq!(due.await.expect("in time"), std::slice::from_ref(&alarm));
    two.timers.done(&alarm).await.expect("done elsewhere");
    let client = async_nats::connect(format!("nats://127.0.0.1:{}", broker.port)).await.expect("connect");
    let info = client.request("$JS.API.STREAM.INFO.docket-timers", "".into()).await.expect("info");
    let info: serde_json::Value = serde_json::from_slice(&info.payload).expect("json");
    assert_eq!(info["state"]["messages"], 0);
}

async fn what_exists_with_weaker_settings_is_refused(version: Version) {
    let Some(broker) = Broker::start(version) else { return };
    let client = async_nats::connect(format!("nats://127.0.0.1:{}", broker.port)).await.expect("connect");
    let stream = serde_json::json!({
        "name": "docket-tasks-readers", "subjects": ["docket.tasks.readers.*.*"], "retention": "workqueue",
        "storage": "memory", "num_replicas": 1, "max_msgs": 1000, "duplicate_window": 1_000_000_000,
    });
    let made = client.request("$JS.API.STREAM.CREATE.docket-tasks-readers", stream.to_string().into()).await;
    assert!(!String::from_utf8_lossy(&made.expect("an answer").payload).contains("error"));
    let ports = open(broker.settings()).await;
    let refused = ports.queue.publish(vec![message("a")]).await.expect_err("the stream is weaker");
    let text = chain(&refused);
    for word in ["docket-tasks-readers", "storage", "max_msgs", "duplicate_window"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    // Three copies are more than one server has.
    let refused = jetstream::open(Settings { replicas: 3, ..broker.settings() }).await.err().expect("one server");
    assert!(chain(&refused).contains("num_replicas"), "{}", chain(&refused));
}

#[tokio::test]
async fn settings_that_make_no_sense_and_servers_that_are_not_there_are_named() {
    let nobody = Settings { timeout: Duration::from_millis(500), ..Settings::new("nats://127.0.0.1:1") };
    let refused = jetstream::open(nobody.clone()).await.err().expect("nobody listens there");
    assert!(chain(&refused).contains("nats://127.0.0.1:1"), "{}", chain(&refused));
    for (settings, word) in [
        (Settings { bucket_prefix: "a.b".to_owned(), ..nobody.clone() }, "bucket_prefix"),
        (Settings { replicas: 0, ..nobody.clone() }, "replicas"),
        (Settings { lease: Duration::ZERO, ..nobody.clone() }, "lease"),
        (Settings { payloads: "ftp://x".to_owned(), ..nobody.clone() }, "ftp://x"),
    ] {
        let refused = jetstream::open(settings).await.err().expect("refused");
        assert!(chain(&refused).contains(word), "{}", chain(&refused));
    }
}

/// For longer than is usual, so that its silence would be taken for an answer. All priorities are asked at once.
async fn a_broker_that_stands_still_is_waited_for_as_long_as_its_silence_may_last(version: Version) {
    let Some(broker) = Broker::start(version) else { return };
    let ports = open(Settings { silence: PATIENCE, ..broker.settings() }).await;
    ports.queue.publish(vec![message("a")]).await.expect("publish");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("our age").as_millis();
    let alarm = queue::Alarm { id: "a".to_owned(), at: u64::try_from(now).expect("our age"), body: "due".into() };
    ports.timers.set(vec![alarm.clone()]).await.expect("set");
    let client = async_nats::connect(format!("nats://127.0.0.1:{}", broker.port)).await.expect("connect");
    let both_wait = async {
        for consumer in ["docket-timers.due", "docket-tasks-readers.normal"] {
            let subject = format!("$JS.API.CONSUMER.INFO.{consumer}");
            loop {
                let info = client.request(subject.clone(), "".into()).await.expect("info");
                let info: serde_json::Value = serde_json::from_slice(&info.payload).expect("json");
                if info["num_pending"] == 1 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, both_wait).await.expect("both wait");
    let server = broker.server.as_ref().expect("a running server");
    server.stands_still(true);
    let asked = tokio::spawn(async move {
        tokio::join!(ports.queue.pull("readers", 15, Duration::ZERO), ports.timers.due(1, 1, Duration::ZERO))
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.stands_still(false);
    let (pulled, due) = asked.await.expect("no panic");
    assert_eq!(ids(&pulled.expect("pull")), BTreeSet::from(["a".to_owned()]));
    assert_eq!(due.expect("due"), [alarm]);
}
