//! Who listens for the first task of a pool that sleeps, and for how long.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use operator::scaling::{seen::Pool, sleepers::Sleepers};
use tokio::sync::Notify;

fn pool(namespace: &str, name: &str) -> Pool {
    (namespace.to_owned(), name.to_owned())
}

/// Somebody who listens until `task` comes, and holds `connection` until then.
async fn listen(connection: Arc<()>, task: Arc<Notify>) {
    task.notified().await;
    drop(connection);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_gone_leaves_nobody_behind_who_listens() {
    let (connection, task) = (Arc::new(()), Arc::new(Notify::new()));
    let mut sleepers = Sleepers::default();
    let pools = [pool("one", "gone"), pool("one", "there"), pool("other", "gone")];
    for pool in pools.iter().chain(&pools) {
        sleepers.wait_for(pool.clone(), || listen(Arc::clone(&connection), Arc::clone(&task)));
    }
    assert_eq!(Arc::strong_count(&connection), 4, "one for each pool");
    sleepers.only("one", |pool| pool == "there");
    // Gives those who were told to end the time to do it.
    assert!(tokio::time::timeout(Duration::from_secs(1), sleepers.next()).await.is_err());
    assert_eq!(Arc::strong_count(&connection), 3);
    task.notify_waiters();
    let mut woken = [sleepers.next().await, sleepers.next().await];
    woken.sort();
    assert_eq!(woken, [pool("one", "there"), pool("other", "gone")]);
    assert_eq!(Arc::strong_count(&connection), 1);
}

#[tokio::test]
async fn one_who_was_given_up_in_his_last_moment_is_not_taken_for_the_next_one() {
    let mut sleepers = Sleepers::default();
    sleepers.wait_for(pool("one", "readers"), || std::future::ready(()));
    // It ends, and nobody has looked yet.
    tokio::task::yield_now().await;
    sleepers.only("one", |_| false);
    sleepers.wait_for(pool("one", "readers"), std::future::pending);
    assert_eq!(sleepers.next().now_or_never(), None);
    tokio::task::yield_now().await;
    assert_eq!(sleepers.next().now_or_never(), None);
}
