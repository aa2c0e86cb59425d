//! Publish, pull, acknowledge; pools; depth.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use queue::{Delivery, Depth, Discarded, Message, Priority};
use tokio::task::JoinHandle;

use super::{Fixture, LONG, message, soon, with_priority};

/// A pool from which all of so many messages are gone.
fn nothing_after(messages: u64) -> Depth {
    Depth { arrived: messages, finished: messages, ..Depth::default() }
}

pub async fn a_message_is_published_pulled_and_acknowledged(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    assert_eq!(delivery.message, message("a"));
    assert_eq!(delivery.deliveries, 1);
    assert!(delivery.published_at.abs_diff(fixture.now()) <= fixture.tolerance());
    assert_eq!((delivery.receipt.id.as_str(), delivery.receipt.pool.as_str()), ("a", "readers"));
    fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
    fixture.skip(LONG);
    assert!(fixture.pull(1).await.is_empty());
    assert_eq!(fixture.ports.queue.depth("readers").await.expect("depth"), nothing_after(1));
}

pub async fn pulling_nothing_returns_nothing(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let none = fixture.ports.queue.pull("readers", 0, LONG).await.expect("pull");
    assert!(none.is_empty());
    let elsewhere = fixture.ports.queue.pull("nobody", 4, Duration::ZERO).await.expect("pull");
    assert!(elsewhere.is_empty());
}

pub async fn a_waiting_pull_wakes_when_a_message_is_published(fixture: &Fixture) {
    for round in 0..20 {
        let pull = fixture.waiting_pull().await;
        let id = format!("m{round}");
        fixture.publish(&[&id]).await;
        let delivery = soon(pull).await.expect("the pull ends well");
        assert_eq!(delivery.message.id, id);
        fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
    }
}

pub async fn every_waiting_pull_gets_its_message(fixture: &Fixture) {
    let pulls: Vec<_> = (0..8).map(|_| fixture.spawn_pull()).collect();
    fixture.sleepers(8).await;
    let ids: Vec<String> = (0..8).map(|number| format!("m{number}")).collect();
    fixture.publish_all(ids.iter().map(|id| message(id)).collect()).await;
    let mut pulled = Vec::new();
    for pull in pulls {
        pulled.push(soon(pull).await.expect("the pull ends well").message.id);
    }
    pulled.sort();
    assert_eq!(pulled, ids);
}

pub async fn a_waiting_pull_ends_when_its_time_is_over(fixture: &Fixture) {
    const WAIT: Duration = Duration::from_secs(5);
    let queue = Arc::clone(&fixture.ports.queue);
    let pull = tokio::spawn(async move {
        let begun = Instant::now();
        let found = queue.pull("readers", 1, WAIT).await.expect("pull");
        (found, begun.elapsed())
    });
    let is_by_hand = fixture.scaled(true, false);
    fixture.sleepers(1).await;
    fixture.almost_pass(WAIT).await;
    if is_by_hand {
        fixture.sleepers(1).await;
        assert!(!pull.is_finished());
    }
    fixture.pass_the_rest(WAIT).await;
    let (found, waited) = soon(pull).await.expect("the pull ends well");
    assert!(found.is_empty());
    assert!(is_by_hand || waited >= WAIT, "it ended after {waited:?}");
}

/// A pull that waits, of one message.
async fn waits(fixture: &Fixture) -> JoinHandle<Vec<Delivery>> {
    let queue = Arc::clone(&fixture.ports.queue);
    let pull = tokio::spawn(async move { queue.pull("readers", 1, LONG).await.expect("pull") });
    fixture.sleepers(1).await;
    pull
}

pub async fn a_waiting_pull_ends_when_its_process_leaves(fixture: &Fixture) {
    for round in 0..10 {
        let pull = waits(fixture).await;
        fixture.ports.queue.leave("readers");
        // The next one asks again, also while the one before it ends.
        let next = fixture.spawn_pull();
        assert!(soon(pull).await.expect("the pull ends well").is_empty(), "nothing was there");
        let id = format!("m{round}");
        fixture.publish(&[&id]).await;
        let delivery = soon(next).await.expect("the pull ends well");
        assert_eq!(delivery.message.id, id);
        fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
    }
}

/// What is on its way to a pull when its process leaves is delivered at once: the pull takes it along, or the next one has it.
pub async fn a_pull_takes_along_what_comes_while_its_process_leaves(fixture: &Fixture) {
    let mut again = 0;
    for round in 0..30 {
        let pull = waits(fixture).await;
        let id = format!("m{round}");
        let leave = async {
            tokio::time::sleep(Duration::from_micros(100 * round)).await;
            fixture.ports.queue.leave("readers");
        };
        let ids = [id.as_str()];
        tokio::join!(fixture.publish(&ids), leave);
        let delivery = match soon(pull).await.expect("the pull ends well").pop() {
            Some(delivery) => delivery,
            // A message that were lost on its way would be there only when its lease ends.
            None => {
                let next = tokio::time::timeout(fixture.lease / 2, fixture.spawn_pull()).await;
                next.expect("it comes at once").expect("the pull ends well")
            }
        };
        assert!(delivery.message.id == id && delivery.deliveries <= 2, "{delivery:?}");
        again += u64::from(delivery.deliveries == 2);
        fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
    }
    // A broker that has just chosen this pull takes back what finds nobody there any more, and counts it as delivered.
    if let Some(none) = fixture.scaled(Some(0), None) {
        assert_eq!(again, none, "delivered a second time");
    }
}

/// What a pull that is given up was about to get, the next one has at once.
pub async fn a_pull_that_was_given_up_takes_no_message_along(fixture: &Fixture) {
    let mut again = 0;
    for round in 0..30 {
        let pull = fixture.waiting_pull().await;
        fixture.publish(&[&format!("m{round}")]).await;
        pull.abort();
        let delivery = match pull.await {
            Ok(delivery) => delivery,
            // Nobody has it: it is there for the next one long before a lease ends.
            Err(_) => {
                let next = tokio::time::timeout(fixture.lease / 2, fixture.spawn_pull()).await;
                next.expect("it comes at once").expect("the pull ends well")
            }
        };
        assert!(delivery.deliveries <= 2, "round {round}: {delivery:?}");
        again += u64::from(delivery.deliveries == 2);
        fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
    }
    // A broker that has sent it to who is gone counts it as delivered, when nobody here asks for it in time.
    if let Some(none) = fixture.scaled(Some(0), None) {
        assert_eq!(again, none, "delivered a second time");
    }
}

pub async fn pools_are_separate(fixture: &Fixture) {
    let mut elsewhere = message("b");
    elsewhere.pool = "writers".to_owned();
    fixture.publish_all(vec![message("a"), elsewhere]).await;
    assert_eq!(fixture.counted("readers").await.total(), 1);
    assert_eq!(fixture.counted("writers").await.total(), 1);
    assert_eq!(fixture.pull_ids(8).await, ["a"]);
    let writers = fixture.ports.queue.pull("writers", 8, Duration::ZERO).await.expect("pull");
    assert_eq!(writers.len(), 1);
    assert_eq!(writers[0].message.id, "b");
    assert_eq!(fixture.ports.queue.depth("reader").await.expect("depth"), Depth::default());
}

pub async fn depth_counts_what_is_not_acknowledged(fixture: &Fixture) {
    let depth = async || fixture.ports.queue.depth("readers").await.expect("depth");
    assert_eq!(depth().await, Depth::default());
    let classes = [(Priority::Critical, 1), (Priority::High, 2), (Priority::Normal, 3), (Priority::Low, 4)];
    for (priority, count) in classes {
        let ids = (0..count).map(|number| with_priority(&format!("{priority:?}{number}"), priority));
        fixture.publish_all(ids.collect()).await;
    }
    fixture.pass(Duration::from_secs(1)).await;
    let before = fixture.counted("readers").await;
    assert_eq!((before.pending, before.in_work), ([1, 2, 3, 4], 0));
    assert!(before.oldest >= Some(Duration::from_secs(1)), "{before:?}");
    assert!(before.oldest < Some(LONG), "{before:?}");

    let first = fixture.pull_one().await;
    assert_eq!(first.message.priority, Priority::Critical);
    let working = depth().await;
    assert_eq!((working.pending, working.in_work, working.total()), ([0, 2, 3, 4], 1, 10));

    fixture.ports.queue.ack(&first.receipt).await.expect("acknowledge");
    let after = depth().await;
    assert_eq!((after.pending, after.in_work, after.total()), ([0, 2, 3, 4], 0, 9));

    // Where it is counted until it can be pulled again is the implementation's.
    let second = fixture.pull_one().await;
    fixture.ports.queue.release(&second.receipt, LONG).await.expect("release");
    assert_eq!(depth().await.total(), 9);
}

pub async fn depth_counts_what_ever_came_and_went_and_tells_the_oldest_that_waits(fixture: &Fixture) {
    let queue = &fixture.ports.queue;
    let depth = async || queue.depth("readers").await.expect("depth");
    let counts = async || {
        let depth = fixture.counted("readers").await;
        (depth.arrived, depth.finished)
    };
    fixture.publish(&["old"]).await;
    fixture.pass(Duration::from_secs(2)).await;
    fixture.publish_all(vec![with_priority("young", Priority::Low), message("old")]).await;
    assert_eq!(counts().await, (2, 0), "what is swallowed has not arrived");
    let before = depth().await;
    assert!(before.oldest_wait >= Some(Duration::from_secs(2)), "{before:?}");

    let old = fixture.pull_one().await;
    assert_eq!(old.message.id, "old");
    let held = depth().await;
    assert!(held.oldest >= Some(Duration::from_secs(2)), "{held:?}");
    assert!(held.oldest_wait.is_some() && held.oldest_wait < held.oldest, "nobody waits as long any more: {held:?}");
    let young = fixture.pull_one().await;
    assert_eq!((depth().await.oldest_wait, counts().await), (None, (2, 0)));

    queue.ack(&old.receipt).await.expect("acknowledge");
    assert_eq!(counts().await, (2, 1));
    fixture.publish(&["third"]).await;
    assert_eq!(queue.discard("readers", Priority::Normal, "third").await.expect("discard"), Discarded::Removed);
    assert_eq!(counts().await, (3, 2));
    queue.ack(&young.receipt).await.expect("acknowledge");
    assert_eq!(depth().await, nothing_after(3));
    assert_eq!(queue.depth("writers").await.expect("depth"), Depth::default(), "of this pool alone");
}

/// A broker counts what waits out a delay, and what was in work when its lease ended, as in work until it is pulled again.
pub async fn depth_counts_what_waits_what_is_in_work_and_the_oldest(fixture: &Fixture) {
    let depth = async || fixture.ports.queue.depth("readers").await.expect("depth");
    let classes = [(Priority::Critical, 1), (Priority::High, 2), (Priority::Normal, 3), (Priority::Low, 4)];
    for (priority, count) in classes {
        let ids = (0..count).map(|number| with_priority(&format!("{priority:?}{number}"), priority));
        fixture.publish_all(ids.collect()).await;
        fixture.pass(Duration::from_secs(1)).await;
    }
    let expected = |pending, (in_work, finished), (oldest, oldest_wait)| {
        let [oldest, oldest_wait] = [oldest, oldest_wait].map(|seconds| Some(Duration::from_secs(seconds)));
        Depth { pending, in_work, oldest, oldest_wait, arrived: 10, finished }
    };
    assert_eq!(depth().await, expected([1, 2, 3, 4], (0, 0), (4, 4)));

    let first = fixture.pull_one().await;
    assert_eq!(first.message.priority, Priority::Critical);
    assert_eq!(depth().await, expected([0, 2, 3, 4], (1, 0), (4, 3)));
    assert_eq!(depth().await.total(), 10);

    fixture.ports.queue.ack(&first.receipt).await.expect("acknowledge");
    assert_eq!(depth().await, expected([0, 2, 3, 4], (0, 1), (3, 3)));

    let second = fixture.pull_one().await;
    fixture.ports.queue.release(&second.receipt, Duration::from_secs(5)).await.expect("release");
    assert_eq!(depth().await, expected([0, 2, 3, 4], (0, 1), (3, 3)));

    fixture.pull_one().await;
    assert_eq!(depth().await.in_work, 1);
    fixture.pass(fixture.lease).await;
    // Nobody has pulled since, yet the lease is over.
    assert_eq!(depth().await, expected([0, 2, 3, 4], (0, 1), (33, 33)));
}

pub async fn workers_in_parallel_deliver_each_message_once(fixture: &Fixture) {
    const MESSAGES: usize = 200;
    let mut workers = tokio::task::JoinSet::new();
    for publisher in 0..4 {
        let queue = Arc::clone(&fixture.ports.queue);
        workers.spawn(async move {
            for number in 0..MESSAGES / 4 {
                let message = Message { id: format!("{publisher}-{number}"), ..message("") };
                queue.publish(vec![message]).await.expect("publish");
            }
            Vec::new()
        });
    }
    for _ in 0..8 {
        let queue = Arc::clone(&fixture.ports.queue);
        workers.spawn(async move {
            let mut worked = Vec::new();
            while worked.len() < MESSAGES / 8 {
                for delivery in queue.pull("readers", 1, LONG).await.expect("pull") {
                    queue.ack(&delivery.receipt).await.expect("acknowledge");
                    worked.push(delivery.message.id);
                }
            }
            worked
        });
    }
    let mut counts = BTreeMap::new();
    for id in soon(workers.join_all()).await.into_iter().flatten() {
        *counts.entry(id).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), MESSAGES);
    assert!(counts.values().all(|count| *count == 1));
    assert_eq!(fixture.ports.queue.depth("readers").await.expect("depth"), nothing_after(MESSAGES as u64));
}

pub async fn a_message_is_discarded_unless_a_worker_has_it(fixture: &Fixture) {
    let queue = &fixture.ports.queue;
    fixture.publish(&["a", "b"]).await;
    let in_work = fixture.pull_one().await;
    let discard = async |id: &str| queue.discard("readers", Priority::Normal, id).await.expect("discard");
    assert_eq!(discard("a").await, Discarded::InWork);
    assert_eq!(discard("b").await, Discarded::Removed);
    assert_eq!(discard("b").await, Discarded::Absent);
    assert_eq!(queue.discard("nobody's", Priority::Normal, "a").await.expect("discard"), Discarded::Absent);
    queue.ack(&in_work.receipt).await.expect("acknowledge");
    assert_eq!(discard("a").await, Discarded::Absent);
    assert!(fixture.pull(10).await.is_empty());
    assert_eq!(queue.depth("readers").await.expect("depth"), nothing_after(2));
}
