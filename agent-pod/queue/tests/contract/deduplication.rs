//! One id is worked once.

use std::time::Duration;

use queue::DEDUPLICATION_WINDOW;

use super::{Fixture, message};

pub async fn an_id_that_is_queued_is_swallowed(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let mut other = message("a");
    other.body = "another body".into();
    other.pool = "writers".to_owned();
    fixture.publish_all(vec![other]).await;
    fixture.publish(&["a"]).await;
    let deliveries = fixture.pull(8).await;
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0].message, message("a"));
    assert_eq!(fixture.ports.queue.depth("writers").await.expect("depth").total(), 0);
}

pub async fn an_id_that_is_in_work_is_swallowed(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    fixture.publish(&["a"]).await;
    assert!(fixture.pull(8).await.is_empty());
    fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
    assert!(fixture.pull(8).await.is_empty());
}

pub async fn an_id_is_swallowed_for_a_while_after_its_acknowledgement(fixture: &Fixture) {
    for round in 0..3 {
        fixture.publish(&["a"]).await;
        let delivery = fixture.pull_one().await;
        fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
        fixture.clock.advance(DEDUPLICATION_WINDOW - Duration::from_millis(1));
        // Other acknowledgements clear away what is old, and must leave what is not.
        for other in 0..8 {
            fixture.publish(&[&format!("other {round} {other}")]).await;
            let delivery = fixture.pull_one().await;
            fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
        }
        fixture.publish(&["a"]).await;
        assert!(fixture.pull(8).await.is_empty(), "within the window, round {round}");
        fixture.clock.advance(Duration::from_millis(1));
    }
}

pub async fn an_id_given_twice_in_one_call_is_published_once(fixture: &Fixture) {
    fixture.publish(&["a", "b", "a"]).await;
    assert_eq!(fixture.pull_ids(8).await, ["a", "b"]);
}
