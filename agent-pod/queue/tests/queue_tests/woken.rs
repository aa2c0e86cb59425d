//! A pool that sleeps is woken by the first task that is published to it, at no cost before and without taking the task.

use std::time::{Duration, Instant};

use crate::nats::Version;
use queue::{
    Depth, Message, Priority,
    jetstream::{self, JetStream, Settings, Woken},
};

/// What a broker may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// Long enough for what comes at all to come.
const MOMENT: Duration = Duration::from_millis(300);

async fn open(url: &str, prefix: &str) -> JetStream {
    let timeout = Duration::from_secs(20);
    let settings = Settings { bucket_prefix: prefix.to_owned(), timeout, ..Settings::new(url) };
    jetstream::open(settings).await.expect("open the broker's ports")
}

fn message(pool: &str, id: &str) -> Message {
    Message { id: id.to_owned(), pool: pool.to_owned(), priority: Priority::Low, body: "work".into() }
}

async fn wakes(woken: &mut Woken) -> bool {
    tokio::time::timeout(PATIENCE, woken.wait()).await.is_ok()
}

async fn sleeps(woken: &mut Woken) -> bool {
    tokio::time::timeout(MOMENT, woken.wait()).await.is_err()
}

on_each_version! {
    the_first_task_of_a_pool_wakes_and_stays_where_it_is
    tasks_of_before_and_of_other_pools_do_not_wake
    who_waits_is_woken_when_the_connection_breaks
}

async fn the_first_task_of_a_pool_wakes_and_stays_where_it_is(version: Version) {
    let Some(server) = crate::nats::shared(version) else { return };
    let (operator, gateway) = (open(&server.url, "woken").await, open(&server.url, "woken").await);
    let mut woken = operator.woken("readers").await.expect("wait for a pool that nobody has made");
    assert_eq!(operator.ports.queue.depth("readers").await.expect("depth"), Depth::default());
    assert!(sleeps(&mut woken).await);
    gateway.ports.queue.publish(vec![message("readers", "a"), message("readers", "b")]).await.expect("publish");
    assert!(wakes(&mut woken).await);
    assert!(!sleeps(&mut woken).await, "it stays awake");
    // The server counts what waits a moment after it has taken it.
    let begun = Instant::now();
    let seen = loop {
        let depth = operator.ports.queue.depth("readers").await.expect("depth");
        let seen = (depth.pending, depth.in_work, depth.arrived);
        if seen == ([0, 0, 0, 2], 0, 2) || begun.elapsed() > PATIENCE {
            break seen;
        }
    };
    assert_eq!(seen, ([0, 0, 0, 2], 0, 2));
    let pulled = gateway.ports.queue.pull("readers", 2, PATIENCE).await.expect("pull");
    assert_eq!(pulled.iter().map(|delivery| delivery.deliveries).collect::<Vec<_>>(), [1, 1]);
}

async fn tasks_of_before_and_of_other_pools_do_not_wake(version: Version) {
    let Some(server) = crate::nats::shared(version) else { return };
    let (operator, gateway) = (open(&server.url, "asleep").await, open(&server.url, "asleep").await);
    gateway.ports.queue.publish(vec![message("readers", "before")]).await.expect("publish");
    let mut woken = operator.woken("readers").await.expect("wait");
    gateway.ports.queue.publish(vec![message("readers-2", "a"), message("read", "b")]).await.expect("publish");
    assert!(sleeps(&mut woken).await);
    gateway.ports.queue.publish(vec![message("readers", "after")]).await.expect("publish");
    assert!(wakes(&mut woken).await);
}

async fn who_waits_is_woken_when_the_connection_breaks(version: Version) {
    let Some(program) = crate::nats::program(version) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = crate::nats::Server::start(&program, folder.path(), crate::nats::free_port(), false);
    let operator = open(&server.url, "broken").await;
    let mut woken = operator.woken("readers").await.expect("wait");
    assert!(sleeps(&mut woken).await);
    drop(server);
    assert!(wakes(&mut woken).await, "what is published now would not be seen");
}
