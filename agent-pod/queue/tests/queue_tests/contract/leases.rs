//! A message belongs to a worker while its lease runs, and not a moment longer.

use std::time::Duration;

use queue::{Error, Receipt};

use super::{Fixture, LONG, soon};

/// All three calls that need a lease are refused.
async fn assert_lease_over(fixture: &Fixture, receipt: &Receipt) {
    let queue = &fixture.ports.queue;
    let outcomes =
        [queue.ack(receipt).await, queue.extend(receipt).await, queue.release(receipt, Duration::ZERO).await];
    for outcome in outcomes {
        assert!(matches!(&outcome, Err(Error::LeaseOver { id }) if *id == receipt.id), "{outcome:?}");
    }
}

pub async fn a_lease_that_ends_delivers_the_message_again(fixture: &Fixture) {
    assert_eq!(fixture.ports.queue.lease(), fixture.lease);
    fixture.publish(&["a"]).await;
    for deliveries in 1..=3 {
        let delivery = fixture.pull_one().await;
        assert_eq!(delivery.deliveries, deliveries);
        fixture.almost_pass(fixture.lease).await;
        assert!(fixture.pull(1).await.is_empty());
        if deliveries < 3 {
            fixture.pass_the_rest(fixture.lease).await;
        }
    }
}

pub async fn a_waiting_pull_wakes_when_a_lease_ends(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    fixture.pull_one().await;
    let pull = fixture.waiting_pull().await;
    fixture.pass(fixture.lease).await;
    assert_eq!(soon(pull).await.expect("the pull ends well").deliveries, 2);
}

pub async fn extending_keeps_the_message(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    // For more than a lease in all.
    for _ in 0..5 {
        fixture.almost_pass(fixture.lease).await;
        fixture.ports.queue.extend(&delivery.receipt).await.expect("extend");
    }
    fixture.almost_pass(fixture.lease).await;
    assert!(fixture.pull(1).await.is_empty());
    fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
}

pub async fn after_its_lease_a_receipt_changes_nothing(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    fixture.pass(fixture.lease).await;
    assert_lease_over(fixture, &delivery.receipt).await;
    assert_eq!(fixture.pull_one().await.deliveries, 2);
}

pub async fn a_receipt_of_an_earlier_delivery_changes_nothing(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let first = fixture.pull_one().await;
    fixture.pass(fixture.lease).await;
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
    // Longer than a lease: it is not the lease that brings it back.
    let delay = fixture.scaled(LONG, fixture.lease * 5 / 2);
    let most = fixture.scaled(LONG - Duration::from_millis(1), fixture.lease * 5 / 4);
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    fixture.ports.queue.release(&delivery.receipt, delay).await.expect("release");
    assert_lease_over(fixture, &delivery.receipt).await;
    fixture.pass(most).await;
    assert!(fixture.pull(1).await.is_empty());
    fixture.pass(delay - most).await;
    assert_eq!(fixture.pull_one().await.deliveries, 2);
}

pub async fn a_waiting_pull_wakes_when_a_delay_ends(fixture: &Fixture) {
    // Sooner than the lease would have ended, which is what the pull waits for until now.
    let delay = fixture.lease / 15;
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    let pull = fixture.waiting_pull().await;
    fixture.ports.queue.release(&delivery.receipt, delay).await.expect("release");
    fixture.pass(delay).await;
    assert_eq!(soon(pull).await.expect("the pull ends well").deliveries, 2);
}
