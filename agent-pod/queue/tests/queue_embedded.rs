//! What only the durable implementation can show: restarts, kills, damage, a full disk, and that it behaves like the one
//! in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

#[path = "embedded/crash.rs"]
mod crash;
#[path = "embedded/damage.rs"]
mod damage;
#[path = "embedded/file_limit.rs"]
mod file_limit;
#[path = "embedded/full_disk.rs"]
mod full_disk;
#[path = "embedded/model.rs"]
mod model;
#[path = "embedded/reopen.rs"]
mod reopen;
#[path = "embedded/scrub.rs"]
mod scrub;
#[path = "embedded/throughput.rs"]
mod throughput;

use std::{error::Error as _, time::Duration};

use queue::{Delivery, Message, Ports, Priority};

/// A lease that does not end while a test runs.
const LEASE: Duration = Duration::from_secs(600);

fn message(id: &str) -> Message {
    Message {
        id: id.to_owned(),
        pool: "readers".to_owned(),
        priority: Priority::Normal,
        body: format!("body of {id}").into(),
    }
}

/// What can be pulled now.
async fn pull(ports: &Ports, max: usize) -> Vec<Delivery> {
    ports.queue.pull("readers", max, Duration::ZERO).await.expect("pull")
}

/// An error with all that caused it, as a person sees it.
fn chain(error: &queue::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}
