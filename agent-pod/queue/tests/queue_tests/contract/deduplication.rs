//! One id is worked once.

use super::{Fixture, message};

pub async fn an_id_that_is_queued_is_swallowed(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let mut other = message("a");
    other.body = "another body".into();
    fixture.publish_all(vec![other]).await;
    // Longer than ids are remembered after their acknowledgement: this one was not acknowledged.
    fixture.pass(fixture.window).await;
    fixture.publish(&["a"]).await;
    let deliveries = fixture.pull(8).await;
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0].message, message("a"));
}

/// A broker that keeps a stream a pool does not see this.
pub async fn an_id_that_is_queued_is_swallowed_in_every_pool(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let mut other = message("a");
    other.pool = "writers".to_owned();
    fixture.publish_all(vec![other]).await;
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

pub async fn an_id_that_is_in_work_for_long_is_swallowed(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    let delivery = fixture.pull_one().await;
    for _ in 0..10 {
        fixture.pass(fixture.window / 8).await;
        fixture.ports.queue.extend(&delivery.receipt).await.expect("extend");
    }
    fixture.publish(&["a"]).await;
    assert!(fixture.pull(8).await.is_empty());
    assert_eq!(fixture.ports.queue.depth("readers").await.expect("depth").total(), 1);
}

pub async fn an_id_is_swallowed_for_a_while_after_it_was_worked_at_once(fixture: &Fixture) {
    for round in 0..2 {
        if round > 0 {
            fixture.pass_the_rest(fixture.window).await;
        }
        fixture.publish_anew("a").await;
        let delivery = fixture.pull_one().await;
        assert_eq!(delivery.message.id, "a", "round {round}");
        fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
        fixture.almost_pass(fixture.window).await;
        // Other acknowledgements clear away what is old, and must leave what is not.
        for other in 0..8 {
            fixture.publish(&[&format!("other {round} {other}")]).await;
            let delivery = fixture.pull_one().await;
            fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
        }
        fixture.publish(&["a"]).await;
        assert!(fixture.pull(8).await.is_empty(), "within the window, round {round}");
    }
}

/// A broker counts the window from the publish.
pub async fn the_window_counts_from_the_acknowledgement(fixture: &Fixture) {
    fixture.publish(&["a"]).await;
    fixture.pass(fixture.window).await;
    let delivery = fixture.pull_one().await;
    fixture.ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
    fixture.almost_pass(fixture.window).await;
    fixture.publish(&["a"]).await;
    assert!(fixture.pull(8).await.is_empty());
}

pub async fn an_id_given_twice_in_one_call_is_published_once(fixture: &Fixture) {
    fixture.publish(&["a", "b", "a"]).await;
    // A broker that has taken a message may be a moment away from giving it out.
    for id in ["a", "b"] {
        assert_eq!(fixture.pull_one().await.message.id, id);
    }
    assert!(fixture.pull(8).await.is_empty());
}
