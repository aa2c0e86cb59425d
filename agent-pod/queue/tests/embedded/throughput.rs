//! How fast group commit is on this disk: printed for people, asserted by nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue::{Message, embedded};

use crate::message;

const WORKERS: usize = 16;
const MESSAGES_EACH: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_worker_publishes_pulls_and_acknowledges() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ports = embedded::open(folder.path()).expect("open").ports;
    let started = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let queue = Arc::clone(&ports.queue);
        workers.spawn(async move {
            for number in 0..MESSAGES_EACH {
                let message = Message { id: format!("{worker}-{number}"), ..message("") };
                queue.publish(vec![message]).await.expect("publish");
                for delivery in queue.pull("readers", 1, Duration::from_secs(20)).await.expect("pull") {
                    queue.ack(&delivery.receipt).await.expect("acknowledge");
                }
            }
        });
    }
    workers.join_all().await;
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(ports.queue.depth("readers").await.expect("depth").total(), 0);
    let rate = (WORKERS * MESSAGES_EACH) as f64 / seconds;
    println!("{rate:.0} messages/s published, pulled and acknowledged by {WORKERS} workers");
}
