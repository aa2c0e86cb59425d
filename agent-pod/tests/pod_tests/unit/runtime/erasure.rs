//! Workers that carry out what was erased while they were away.

use std::{path::Path, sync::Arc, time::Duration};

use agent_pod::runtime::erasure::{Folder, Follower, Order};
use tokio::time::Instant;

use super::ports::CountedRecords;

fn folder(path: &Path) -> Folder {
    Folder { path: path.to_path_buf(), services: None, redis: None, also: Order::default() }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_as_a_worker_begins_is_asked_again() {
    let place = tempfile::tempdir().expect("a folder");
    let mut ports = queue::memory::open();
    let records = CountedRecords::new(&ports.records, "folders/", 1..=3);
    ports.records = Arc::<CountedRecords>::clone(&records);
    let began = Instant::now();
    Follower::open(ports.clone(), folder(place.path()), "one").await.expect("opened");
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(ports.records.scan("folders/", None, 10).await.expect("read").len(), 1, "it is known");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_on_to_fail_is_told() {
    let place = tempfile::tempdir().expect("a folder");
    let mut ports = queue::memory::open();
    ports.records = CountedRecords::new(&ports.records, "folders/", 1..=usize::MAX);
    let began = Instant::now();
    let error = Follower::open(ports, folder(place.path()), "one").await.err().expect("an error");
    assert_eq!(error.to_string(), "failed to carry out what was erased meanwhile");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
