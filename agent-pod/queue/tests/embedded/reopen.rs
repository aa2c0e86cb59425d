//! A folder that is closed and opened again, or opened twice.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use queue::{Alarm, DEDUPLICATION_WINDOW, Error, Faults, clock::ManualClock, embedded};
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use crate::{LEASE, chain, message, pull};

#[tokio::test]
async fn everything_is_there_after_the_folder_is_opened_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let large = Bytes::from_iter(
        (0..200_000_u32).flat_map(|number| blake3::hash(&number.to_le_bytes()).as_bytes()[..2].to_vec()),
    );
    let alarm = Alarm { id: "alarm".to_owned(), at: 100, body: "wake up".into() };
    let (revision, small_digest, large_digest) = {
        let ports = embedded::open(folder.path()).expect("open").ports;
        ports.queue.publish(["a", "b", "c", "d"].map(message).to_vec()).await.expect("publish");
        let mut deliveries = pull(&ports, 3).await;
        ports.queue.ack(&deliveries.remove(0).receipt).await.expect("acknowledge");
        ports.queue.release(&deliveries.remove(0).receipt, LEASE).await.expect("release");
        ports.timers.set(vec![alarm.clone()]).await.expect("set");
        assert_eq!(ports.timers.due(100, 1, Duration::ZERO).await.expect("due").len(), 1);
        let small_digest = ports.payloads.put("small".into()).await.expect("put");
        let large_digest = ports.payloads.put(large.clone()).await.expect("put");
        (ports.records.create("key", "value".into()).await.expect("create"), small_digest, large_digest)
    };

    let ports = embedded::open(folder.path()).expect("open again").ports;
    let depth = ports.queue.depth("readers").await.expect("depth");
    assert_eq!((depth.pending, depth.in_work), ([0, 0, 3, 0], 0), "no lease outlives the process");
    assert_eq!((depth.arrived, depth.finished), (4, 1), "what came and went stays counted");
    let deliveries = pull(&ports, 8).await;
    let counts: Vec<_> =
        deliveries.iter().map(|delivery| (delivery.message.id.as_str(), delivery.deliveries)).collect();
    assert_eq!(counts, [("c", 2), ("d", 1)], "a was acknowledged, b is delayed, c was in work");
    assert_eq!(deliveries[0].message, message("c"));
    ports.queue.publish(vec![message("a")]).await.expect("publish");
    assert!(pull(&ports, 8).await.is_empty(), "an id stays known after a restart");
    assert_eq!(ports.timers.due(100, 1, Duration::ZERO).await.expect("due"), [alarm]);
    assert_eq!(ports.payloads.get(&small_digest).await.expect("get"), "small");
    assert!(ports.payloads.get(&large_digest).await.expect("get") == large);
    let record = ports.records.get("key").await.expect("get").expect("a record");
    assert_eq!((record.revision, record.bytes), (revision, "value".into()));
}

#[tokio::test]
async fn receipts_from_before_a_restart_are_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let receipt = {
        let ports = embedded::open(folder.path()).expect("open").ports;
        ports.queue.publish(vec![message("a")]).await.expect("publish");
        pull(&ports, 1).await.remove(0).receipt
    };
    let ports = embedded::open(folder.path()).expect("open again").ports;
    assert!(matches!(ports.queue.ack(&receipt).await, Err(Error::LeaseOver { .. })));
    assert_eq!(pull(&ports, 1).await[0].deliveries, 2);
    assert!(matches!(ports.queue.ack(&receipt).await, Err(Error::LeaseOver { .. })));
}

#[tokio::test]
async fn a_folder_in_use_is_named_in_the_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = embedded::open(folder.path()).expect("open");
    let second = embedded::open(folder.path()).err().expect("the folder is in use");
    let text = chain(&second);
    assert!(text.contains("in use by another process"), "{text}");
    assert!(text.contains(&folder.path().display().to_string()), "{text}");
    first.ports.records.create("a", "1".into()).await.expect("the first is not disturbed");
    drop(first);
    embedded::open(folder.path()).expect("open when it is free");
}

#[test]
fn a_folder_that_cannot_be_created_is_named_in_the_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").expect("write");
    let error = embedded::open(&file.join("state")).err().expect("no folder can be there");
    assert!(chain(&error).contains(&file.display().to_string()), "{}", chain(&error));
}

#[test]
fn a_state_file_that_is_none_is_an_error_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("state.redb");
    let garbage = "this is no state file, ".repeat(1000);
    std::fs::write(&file, &garbage).expect("write");
    let error = embedded::open(folder.path()).err().expect("nothing to open");
    assert!(chain(&error).contains("state.redb"), "{}", chain(&error));
    assert_eq!(std::fs::read_to_string(&file).expect("read"), garbage);
}

#[test]
fn what_a_kill_left_of_a_file_being_created_is_removed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unfinished = folder.path().join("state.redb.new-abc");
    std::fs::write(&unfinished, [0; 4096]).expect("write");
    embedded::open(folder.path()).expect("open");
    assert!(!unfinished.exists());
}

#[tokio::test]
async fn acknowledged_ids_take_no_room_for_ever() {
    const IDS: TableDefinition<&str, (u64, Option<u64>)> = TableDefinition::new("ids");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clock = Arc::new(ManualClock::at(1_000_000));
    {
        let ports = embedded::open_at(folder.path(), Arc::<ManualClock>::clone(&clock), LEASE, Faults::default())
            .expect("open")
            .ports;
        for round in 0..4 {
            let ids: Vec<String> = (0..20).map(|number| format!("{round}-{number}")).collect();
            ports.queue.publish(ids.iter().map(|id| message(id)).collect()).await.expect("publish");
            for delivery in pull(&ports, 20).await {
                ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
            }
            clock.advance(DEDUPLICATION_WINDOW);
        }
    }
    let database = Database::open(folder.path().join("state.redb")).expect("open the file");
    let transaction = database.begin_read().expect("begin");
    let known = transaction.open_table(IDS).expect("the table").len().expect("count");
    assert_eq!(known, 20, "those of the last round");
}
