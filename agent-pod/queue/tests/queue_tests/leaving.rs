//! What a broker's server sends to a process whose pulls were given up: nothing more, and what it had sent goes to others
//! long before a lease ends.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::nats::{Server, Version};
use futures::StreamExt as _;
use queue::{
    Message, Ports, Priority,
    jetstream::{self, Settings},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// What is lost on its way comes again after this time, long after the test has failed.
const LEASE: Duration = Duration::from_secs(300);
/// What a broker may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// Longer than a given up pull is remembered, and much shorter than its requests would lie at the server.
const SOON: Duration = Duration::from_millis(400);
/// How long requests lie at the server that nobody withdraws.
const HELD: Duration = Duration::from_secs(2);
/// Rounds, of which one at least must show that requests are withdrawn: none ends earlier by itself, and where the machine stalls all
/// may have ended so.
const ROUNDS: usize = 5;

/// Two processes of one broker.
async fn two_processes(version: Version, prefix: &str) -> Option<(Ports, Ports)> {
    let server = crate::nats::shared(version)?;
    let settings = Settings {
        bucket_prefix: prefix.to_owned(),
        lease: LEASE,
        timeout: Duration::from_secs(20),
        ..Settings::new(&server.url)
    };
    let open = async || {
        let broker = jetstream::open(settings.clone()).await.expect("open the broker's ports");
        broker.make_pool("readers").await.expect("make the pool");
        broker.ports
    };
    Some((open().await, open().await))
}

/// Returns when no request for tasks of "readers" lies at the server. Who withdraws them and who publishes have connections of
/// their own, so that the server may hear of one long after the other.
async fn nobody_asks(version: Version, prefix: &str) {
    let server = crate::nats::shared(version).expect("it runs");
    let client = async_nats::connect(&server.url).await.expect("connect");
    let gone = async {
        for class in ["critical", "high", "normal", "low"] {
            let subject = format!("$JS.API.CONSUMER.INFO.{prefix}-tasks-readers.{class}");
            loop {
                let answer = client.request(subject.clone(), "".into()).await.expect("an answer");
                let state: serde_json::Value = serde_json::from_slice(&answer.payload).expect("a consumer's state");
                if state["num_waiting"].as_u64().expect("a count") == 0 {
                    break;
                }
                sleep(Duration::from_millis(5)).await;
            }
        }
    };
    timeout(PATIENCE, gone).await.expect("nobody asks");
}

fn message(pool: &str, id: String) -> Message {
    Message { id, pool: pool.to_owned(), priority: Priority::Normal, body: "work".into() }
}

async fn pull_one_elsewhere(ports: &Ports) -> u32 {
    let mut found = ports.queue.pull("readers", 1, PATIENCE).await.expect("pull");
    let delivery = found.pop().expect("a message");
    ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
    delivery.deliveries
}

on_each_version! {
    a_pull_that_was_given_up_is_sent_nothing_more
    a_pull_that_looks_keeps_what_the_one_before_it_has_asked_for
    a_process_that_leaves_is_sent_nothing_that_its_last_pull_has_asked_for
    pulling_again_after_leaving_finds_what_is_there
    what_comes_while_pulls_are_given_up_goes_to_others_before_a_lease_ends
}

async fn a_pull_that_was_given_up_is_sent_nothing_more(version: Version) {
    let Some((one, two)) = two_processes(version, "given-up").await else { return };
    let mut withdrawn = 0;
    for round in 0..ROUNDS {
        let begun = Instant::now();
        let queue = Arc::clone(&one.queue);
        let pull = tokio::spawn(async move { queue.pull("readers", 1, LEASE).await });
        sleep(SOON).await;
        pull.abort();
        assert!(pull.await.is_err(), "nothing was there to be pulled");
        sleep(SOON).await;
        nobody_asks(version, "given-up").await;
        withdrawn += usize::from(begun.elapsed() < HELD);
        two.queue.publish(vec![message("readers", round.to_string())]).await.expect("publish");
        // The server says how often it has sent it to anyone.
        assert_eq!(pull_one_elsewhere(&two).await, 1, "round {round}");
        two.queue.leave("readers");
    }
    assert!(withdrawn > 0, "requests lay there until their time was over each time");
}

/// While a server stands still the second pull looks, for longer than the first one's requests are kept without anybody.
async fn a_pull_that_looks_keeps_what_the_one_before_it_has_asked_for(version: Version) {
    let Some(program) = crate::nats::program(version) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&program, folder.path(), crate::nats::free_port(), false);
    let settings = Settings { timeout: Duration::from_secs(20), silence: PATIENCE, ..Settings::new(&server.url) };
    let broker = jetstream::open(settings).await.expect("open the broker's ports");
    broker.make_pool("readers").await.expect("make the pool");
    let client = async_nats::connect(&server.url).await.expect("connect");
    let mut requests = client.subscribe("$JS.API.CONSUMER.MSG.NEXT.*.*").await.expect("subscribe");
    client.flush().await.expect("heard by the server");
    // Requests that are to wait for a message, of those that come until there is none for a while.
    let mut waiting = async || {
        let mut count = 0;
        while let Ok(Some(request)) = timeout(SOON, requests.next()).await {
            let body: serde_json::Value = serde_json::from_slice(&request.payload).expect("JSON");
            count += usize::from(!body["expires"].is_null());
        }
        count
    };
    let pull = || {
        let queue = Arc::clone(&broker.ports.queue);
        tokio::spawn(async move { queue.pull("readers", 1, LEASE).await })
    };
    let mut counts = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let first = pull();
        let one_of_each = waiting().await == Priority::ALL.len();
        server.stands_still(true);
        first.abort();
        let second = pull();
        sleep(SOON).await;
        server.stands_still(false);
        let more = waiting().await;
        // Those that lay there until their time was over are made again.
        let is_in_time = one_of_each && begun.elapsed() < HELD;
        broker.ports.queue.leave("readers");
        assert!(second.await.expect("the pull ends well").expect("pull").is_empty());
        waiting().await;
        if is_in_time {
            counts.push(more);
        }
    }
    assert!(counts.contains(&0), "requests were made anew each time: {counts:?}");
}

async fn a_process_that_leaves_is_sent_nothing_that_its_last_pull_has_asked_for(version: Version) {
    let Some((one, two)) = two_processes(version, "leaving").await else { return };
    let mut withdrawn = 0;
    for round in 0..ROUNDS {
        let begun = Instant::now();
        let queue = Arc::clone(&one.queue);
        let pull = tokio::spawn(async move { queue.pull("readers", 1, LEASE).await });
        sleep(SOON).await;
        // Its request for another priority lies at the server still.
        two.queue.publish(vec![message("readers", format!("first-{round}"))]).await.expect("publish");
        let taken = pull.await.expect("the pull ends well").expect("pull").remove(0);
        one.queue.ack(&taken.receipt).await.expect("acknowledge");
        one.queue.leave("readers");
        sleep(SOON / 2).await;
        nobody_asks(version, "leaving").await;
        withdrawn += usize::from(begun.elapsed() < HELD);
        let urgent = Message { priority: Priority::High, ..message("readers", format!("second-{round}")) };
        two.queue.publish(vec![urgent]).await.expect("publish");
        assert_eq!(pull_one_elsewhere(&two).await, 1, "round {round}");
        two.queue.leave("readers");
    }
    assert!(withdrawn > 0, "requests lay there until their time was over each time");
}

async fn pulling_again_after_leaving_finds_what_is_there(version: Version) {
    let Some((one, two)) = two_processes(version, "coming-back").await else { return };
    for round in 0..20 {
        let queue = Arc::clone(&one.queue);
        let pull = tokio::spawn(async move { queue.pull("readers", 1, LEASE).await });
        sleep(Duration::from_millis(round)).await;
        pull.abort();
        one.queue.leave("readers");
        let queue = Arc::clone(&one.queue);
        let again = tokio::spawn(async move { queue.pull("readers", 1, PATIENCE).await });
        sleep(Duration::from_millis(round % 5)).await;
        two.queue.publish(vec![message("readers", round.to_string())]).await.expect("publish");
        let found = again.await.expect("the pull ends well").expect("pull").pop().expect("a message");
        assert_eq!(found.message.id, round.to_string());
        one.queue.ack(&found.receipt).await.expect("acknowledge");
    }
}

/// Messages are published before, while and after pulls are given up and their requests withdrawn, at ever other moments.
async fn what_comes_while_pulls_are_given_up_goes_to_others_before_a_lease_ends(version: Version) {
    let Some((one, two)) = two_processes(version, "race").await else { return };
    let mut pools = JoinSet::new();
    for pool in 0..12 {
        let (one, two) = (one.clone(), two.clone());
        pools.spawn(async move { give_up_and_publish(&one, &two, &format!("pool-{pool}"), pool).await });
    }
    pools.join_all().await;
}

async fn give_up_and_publish(one: &Ports, two: &Ports, pool: &str, seed: u64) {
    for round in 0..12_u64 {
        // Not random, but different each time.
        let hash = blake3::hash(&[seed.to_le_bytes(), round.to_le_bytes()].concat());
        let moments: Vec<Duration> =
            hash.as_bytes().iter().map(|byte| Duration::from_micros(u64::from(*byte) * 40)).collect();
        let queue = Arc::clone(&one.queue);
        let name = pool.to_owned();
        let pull = tokio::spawn(async move { queue.pull(&name, 1, LEASE).await });
        sleep(Duration::from_millis(30)).await;
        let mut wanted = BTreeSet::new();
        let publisher = {
            let (queue, name, moments) = (Arc::clone(&two.queue), pool.to_owned(), moments.clone());
            let ids: Vec<String> = (0..12).map(|number| format!("{round}-{number}")).collect();
            wanted.extend(ids.iter().cloned());
            tokio::spawn(async move {
                for (id, moment) in ids.into_iter().zip(&moments) {
                    sleep(*moment).await;
                    queue.publish(vec![message(&name, id)]).await.expect("publish");
                }
            })
        };
        sleep(moments[20]).await;
        pull.abort();
        if round % 2 == 0 {
            sleep(moments[21]).await;
            one.queue.leave(pool);
        }
        publisher.await.expect("published");
        if let Ok(found) = pull.await {
            for delivery in found.expect("pull") {
                one.queue.ack(&delivery.receipt).await.expect("acknowledge");
                wanted.remove(&delivery.message.id);
            }
        }
        while !wanted.is_empty() {
            let found = two.queue.pull(pool, 8, PATIENCE).await.expect("pull");
            assert!(!found.is_empty(), "{pool}: {wanted:?} did not come");
            for delivery in found {
                two.queue.ack(&delivery.receipt).await.expect("acknowledge");
                assert!(wanted.remove(&delivery.message.id), "{} came twice", delivery.message.id);
            }
        }
        two.queue.leave(pool);
    }
}
