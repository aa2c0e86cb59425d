//! What waits in a pool can be looked at without taking it: a bounded number of messages, each for its part of the queue.

use std::{collections::BTreeSet, time::Duration};

use crate::nats::Version;
use queue::{
    Depth, Message, Priority,
    jetstream::{self, JetStream, Sampled, Settings},
};

/// What a broker may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

async fn open(url: &str, prefix: &str) -> JetStream {
    let timeout = Duration::from_secs(20);
    let settings = Settings { bucket_prefix: prefix.to_owned(), timeout, ..Settings::new(url) };
    jetstream::open(settings).await.expect("open the broker's ports")
}

/// Publishes messages, and returns when they count: the server counts them a moment after it has taken them.
async fn publish(broker: &JetStream, priority: Priority, bodies: impl Iterator<Item = String>) {
    for body in bodies {
        let message = Message { id: body.clone(), pool: "readers".to_owned(), priority, body: body.into() };
        broker.ports.queue.publish(vec![message]).await.expect("publish");
    }
    let counted = async {
        loop {
            let depth = broker.ports.queue.depth("readers").await.expect("depth");
            if depth.total() + depth.finished == depth.arrived {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("they count");
}

async fn sample(broker: &JetStream, most: usize) -> (Depth, Vec<Sampled>) {
    broker.sample("readers", most).await.expect("look at the pool").expect("the pool is there")
}

/// How many messages the sampled ones of a kind stand for.
fn of_kind(sample: &[Sampled], kind: &str) -> f64 {
    sample.iter().filter(|one| one.body.starts_with(kind.as_bytes())).map(|one| one.stands_for).sum()
}

fn bodies(sample: &[Sampled]) -> BTreeSet<Vec<u8>> {
    sample.iter().map(|one| one.body.to_vec()).collect()
}

on_each_version! {
    a_short_queue_is_seen_whole_and_stays_as_it_is
    a_long_queue_is_told_by_a_few_of_its_messages
    what_was_pulled_is_no_part_of_it
    a_pool_that_is_not_there_is_told_from_an_empty_one
}

async fn a_short_queue_is_seen_whole_and_stays_as_it_is(version: Version) {
    let Some(server) = crate::nats::shared(version) else { return };
    let broker = open(&server.url, "sample-short").await;
    publish(&broker, Priority::Normal, (0..3).map(|number| format!("parse-{number}"))).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    publish(&broker, Priority::Critical, std::iter::once("draft-0".to_owned())).await;
    let (depth, found) = sample(&broker, 16).await;
    assert_eq!((depth.pending, depth.in_work), ([1, 0, 3, 0], 0));
    assert_eq!(bodies(&found).len(), 4, "{found:?}");
    assert!(found.iter().all(|one| (one.stands_for - 1.0).abs() < 1e-9), "{found:?}");
    let urgent: Vec<_> = found.iter().filter(|one| one.priority == Priority::Critical).collect();
    assert_eq!((urgent.len(), &urgent[0].body[..]), (1, &b"draft-0"[..]));
    let longest = found.iter().map(|one| one.waited).max();
    assert_eq!(longest, depth.oldest_wait, "each says how long it has waited");
    assert!(longest >= Some(urgent[0].waited + Duration::from_millis(50)), "{found:?}");
    assert_eq!(sample(&broker, 16).await.1.len(), 4, "nothing was taken");
    assert_eq!(broker.ports.queue.depth("readers").await.expect("depth").pending, depth.pending);
    assert!(sample(&broker, 0).await.1.is_empty());
}

async fn a_long_queue_is_told_by_a_few_of_its_messages(version: Version) {
    let Some(server) = crate::nats::shared(version) else { return };
    let broker = open(&server.url, "sample-long").await;
    publish(&broker, Priority::Normal, (0..150).map(|number| format!("parse-{number}"))).await;
    publish(&broker, Priority::Normal, (0..50).map(|number| format!("draft-{number}"))).await;
    let (depth, found) = sample(&broker, 16).await;
    assert_eq!(depth.pending[Priority::Normal as usize], 200);
    assert_eq!(found.len(), 16);
    assert!((of_kind(&found, "parse") - 150.0).abs() <= 13.0, "{found:?}");
    assert!((of_kind(&found, "parse") + of_kind(&found, "draft") - 200.0).abs() < 1e-6);
}

async fn what_was_pulled_is_no_part_of_it(version: Version) {
    let Some(server) = crate::nats::shared(version) else { return };
    let broker = open(&server.url, "sample-pulled").await;
    publish(&broker, Priority::Normal, (0..6).map(|number| format!("parse-{number}"))).await;
    let pulled = broker.ports.queue.pull("readers", 2, Duration::from_secs(20)).await.expect("pull");
    let pulled: BTreeSet<Vec<u8>> = pulled.iter().map(|delivery| delivery.message.body.to_vec()).collect();
    let (depth, found) = sample(&broker, 16).await;
    assert_eq!((depth.pending[Priority::Normal as usize], depth.in_work), (4, 2));
    assert_eq!(found.len(), 4);
    assert!(bodies(&found).is_disjoint(&pulled), "{found:?}");
}

async fn a_pool_that_is_not_there_is_told_from_an_empty_one(version: Version) {
    let Some(server) = crate::nats::shared(version) else { return };
    let broker = open(&server.url, "sample-none").await;
    let look = async || broker.sample("readers", 16).await.expect("look at the pool");
    assert_eq!(look().await, None, "nobody has made it");
    broker.make_pool("readers").await.expect("make it");
    assert_eq!(look().await, Some((Depth::default(), Vec::new())));
    publish(&broker, Priority::Normal, std::iter::once("parse-0".to_owned())).await;
    broker.remove_pool("readers").await.expect("remove it");
    assert_eq!(look().await, None, "somebody has removed it");
}
