//! A message belongs to a worker while its lease runs, and not a moment longer.

use std::time::Duration;

use queue::{Error, Receipt};

use super::{Fixture, LEASE, LONG, soon};

const MOMENT: Duration = Duration::from_millis(1);

/// All three calls that need a lease are refused.
async fn assert_lease_over(fixture: &Fixture, receipt: &Receipt) {
    let queue = &fixture.ports.queue;
    let outcomes =
        [queue.ack(receipt).await, queue.extend(receipt, LEASE).await, queue.release(receipt, Duration::ZERO).await];
    for outcome in outcomes {
        assert!(matches!(&outcome, Err(Error::LeaseOver { id }) if *id == receipt.id), "{outcome:?}");
    }
}

pub async fn a_lease_that_ends_delivers_the_message_again(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    for deliveries in 1..=3 {
        let delivery = fixture.pull_one().await;
        assert_eq!(delivery.deliveries, deliveries);
        fixture.clock.advance(LEASE - MOMENT);
        assert!(fixture.pull(1).await.is_empty());
        fixture.clock.advance(MOMENT);
    }
}

pub async fn a_waiting_pull_wakes_when_a_lease_ends(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    fixture.pull_one().await;
    let pull = fixture.waiting_pull().await;
    fixture.clock.advance(LEASE);
    assert_eq!(soon(pull).await.expect("the pull ends well").deliveries, 2);
}

pub async fn extending_keeps_the_message(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    for _ in 0..5 {
        fixture.clock.advance(LEASE - MOMENT);
        fixture.ports.queue.extend(&delivery.receipt, LEASE).await.expect("extend");
    }
    fixture.clock.advance(LEASE - MOMENT);
    assert!(fixture.pull(1).await.is_empty());
    fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
}

pub async fn a_shortened_lease_wakes_a_waiting_pull(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    let pull = fixture.waiting_pull().await;
    fixture.ports.queue.extend(&delivery.receipt, Duration::from_secs(1)).await.expect("extend");
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(soon(pull).await.expect("the pull ends well").deliveries, 2);
}

pub async fn after_its_lease_a_receipt_changes_nothing(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    fixture.clock.advance(LEASE);
    assert_lease_over(fixture, &delivery.receipt).await;
    assert_eq!(fixture.pull_one().await.deliveries, 2);
}

pub async fn a_receipt_of_an_earlier_delivery_changes_nothing(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let first = fixture.pull_one().await;
    fixture.clock.advance(LEASE);
    let second = fixture.pull_one().await;
    assert_ne!(first.receipt, second.receipt);
    assert_lease_over(fixture, &first.receipt).await;
    fixture.ports.queue.ack(&second.receipt).await.expect("acknowledge");
}

pub async fn acknowledging_twice_is_refused(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
    assert_lease_over(fixture, &delivery.receipt).await;
    let unknown = Receipt { id: "unknown".to_owned(), pool: "nobody".to_owned(), lease: 1 };
    assert_lease_over(fixture, &unknown).await;
}

pub async fn a_released_message_comes_back_at_once(fixture: &Fixture) {
    fixture.publish(&["a", "b"]).await;
    let delivery = fixture.pull_one().await;
    fixture.ports.queue.release(&delivery.receipt, Duration::ZERO).await.expect("release");
    assert_lease_over(fixture, &delivery.receipt).await;
    let again = fixture.pull_one().await;
    assert_eq!((again.message.id.as_str(), again.deliveries), ("a", 2));
}

pub async fn a_released_message_comes_back_after_its_delay(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    fixture.ports.queue.release(&delivery.receipt, LONG).await.expect("release");
    assert_lease_over(fixture, &delivery.receipt).await;
    fixture.clock.advance(LONG - MOMENT);
    assert!(fixture.pull(1).await.is_empty());
    fixture.clock.advance(MOMENT);
    assert_eq!(fixture.pull_one().await.deliveries, 2);
}

pub async fn a_waiting_pull_wakes_when_a_delay_ends(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    let pull = fixture.waiting_pull().await;
    // Sooner than the lease would have ended, which is what the pull waits for until now.
    fixture.ports.queue.release(&delivery.receipt, Duration::from_secs(2)).await.expect("release");
    fixture.clock.advance(Duration::from_secs(2));
    assert_eq!(soon(pull).await.expect("the pull ends well").deliveries, 2);
}
