//! A disk that refuses writes, once or for a while. Every call that fails must have had no effect, every call that
//! succeeds its whole effect, and work must go on afterwards.

use std::{sync::Arc, time::Duration};

use queue::{Error, Faults, Ports, clock::SystemClock, embedded};
use tempfile::TempDir;

use crate::{LEASE, chain, message, pull};

fn open(folder: &TempDir, faults: &Faults) -> Ports {
    embedded::open_at(folder.path(), Arc::new(SystemClock::default()), LEASE, faults.clone()).expect("open").ports
}

/// Whether it succeeded; a failure must be the store's.
fn succeeded<T>(outcome: Result<T, Error>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(Error::Store { .. }) => false,
        Err(other) => panic!("{}", chain(&other)),
    }
}

/// What the state must be after the calls whose outcomes are known.
async fn assert_state(ports: &Ports, published: &[(String, bool)], created: &[(String, bool)], context: &str) {
    let mut ids: Vec<String> = pull(ports, usize::MAX).await.into_iter().map(|delivery| delivery.message.id).collect();
    ids.sort();
    let mut expected: Vec<String> = published.iter().filter(|(_, done)| *done).map(|(id, _)| id.clone()).collect();
    expected.sort();
    assert_eq!(ids, expected, "{context}");
    for (key, done) in created {
        let record = ports.records.get(key).await.expect("get");
        assert_eq!(record.is_some(), *done, "{key}, {context}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refused_write_fails_its_companions_wholly_and_nothing_else() {
    let mut nth = 0;
    loop {
        nth += 1;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let faults = Faults::default();
        let ports = open(&folder, &faults);
        faults.fail_write(nth);
        let before = faults.writes();

        let (mut published, mut created) = (Vec::new(), Vec::new());
        for round in 0..2 {
            let ids = [format!("m{round}a"), format!("m{round}b")];
            let keys = [format!("r{round}a"), format!("r{round}b")];
            let (first, second, third, fourth) = tokio::join!(
                ports.queue.publish(vec![message(&ids[0])]),
                ports.records.create(&keys[0], vec![7; 9000].into()),
                ports.queue.publish(vec![message(&ids[1])]),
                ports.records.create(&keys[1], "value".into()),
            );
            published.extend(ids.into_iter().zip([succeeded(first), succeeded(third)]));
            created.extend(keys.into_iter().zip([succeeded(second), succeeded(fourth)]));
        }
        let reached = faults.writes() - before >= nth;
        let context = format!("write {nth} refused");
        faults.heal();
        assert_state(&ports, &published, &created, &context).await;
        ports.records.create("afterwards", "value".into()).await.expect("work goes on");
        drop(ports);
        let ports = open(&folder, &Faults::default());
        assert_state(&ports, &published, &created, &format!("{context}, opened again")).await;
        assert!(ports.records.get("afterwards").await.expect("get").is_some());
        if !reached {
            assert!(nth > 4, "some writes were refused");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_until_it_has_room_again() {
    for nth in [1, 2, 3, 5, 8] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let faults = Faults::default();
        let ports = open(&folder, &faults);
        ports.queue.publish(vec![message("before")]).await.expect("publish");
        faults.fail_writes_from(nth);
        let mut published = vec![("before".to_owned(), true)];
        let mut refused = 0;
        for number in 0..20 {
            let id = format!("m{number}");
            let done = succeeded(ports.queue.publish(vec![message(&id)]).await);
            published.push((id, done));
            refused += usize::from(!done);
            if refused == 2 {
                break;
            }
        }
        assert_eq!(refused, 2, "the disk stays full");
        let error = ports.records.create("a", "1".into()).await.expect_err("the disk is full");
        assert!(chain(&error).contains("no space left"), "{}", chain(&error));

        faults.heal();
        assert_eq!(ports.records.get("a").await.expect("reads work again"), None);
        ports.queue.publish(vec![message("after")]).await.expect("there is room again");
        published.push(("after".to_owned(), true));
        assert_state(&ports, &published, &[], &format!("full from write {nth}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_waiting_pulls_survive_a_refused_write() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let faults = Faults::default();
    let ports = open(&folder, &faults);
    ports.queue.publish(vec![message("a")]).await.expect("publish");
    let delivery = pull(&ports, 1).await.remove(0);
    let queue = Arc::clone(&ports.queue);
    let waiting = tokio::spawn(async move { queue.pull("readers", 1, Duration::from_secs(60)).await });
    tokio::task::yield_now().await;

    faults.fail_write(1);
    assert!(!succeeded(ports.queue.publish(vec![message("b")]).await));
    ports.queue.ack(&delivery.receipt).await.expect("the lease still runs");
    ports.queue.publish(vec![message("b")]).await.expect("publish again");
    let pulled = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time").expect("ends well");
    // The waiting pull may itself have been in the transaction that failed.
    let ids: Vec<String> = match pulled {
        Ok(deliveries) => deliveries.into_iter().map(|delivery| delivery.message.id).collect(),
        Err(_) => pull(&ports, 1).await.into_iter().map(|delivery| delivery.message.id).collect(),
    };
    assert_eq!(ids, ["b"]);
}
