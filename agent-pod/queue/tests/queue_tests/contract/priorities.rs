//! Who is served next.

use queue::Priority;

use super::{Fixture, with_priority};

/// Returns when all of them can be pulled.
async fn fill(fixture: &Fixture, priority: Priority, count: usize) {
    let messages = (0..count).map(|number| with_priority(&format!("{priority:?} {number:03}"), priority));
    fixture.publish_all(messages.collect()).await;
    fixture.counted("readers").await;
}

pub async fn while_all_classes_wait_they_share_by_weight(fixture: &Fixture) {
    for priority in Priority::ALL {
        fill(fixture, priority, 100).await;
    }
    let mut served = [0; 4];
    for _ in 0..150 {
        served[fixture.pull_one().await.message.priority as usize] += 1;
    }
    assert_eq!(served, [80, 40, 20, 10]);
}

pub async fn a_low_message_is_served_under_a_stream_of_critical_ones(fixture: &Fixture) {
    fill(fixture, Priority::Critical, 50).await;
    for _ in 0..20 {
        fixture.pull_one().await;
    }
    for round in 0..3 {
        fixture.publish_all(vec![with_priority(&format!("patient {round}"), Priority::Low)]).await;
        let mut pulls = 0;
        loop {
            pulls += 1;
            fixture.publish_all(vec![with_priority(&format!("urgent {round} {pulls}"), Priority::Critical)]).await;
            if fixture.pull_one().await.message.priority == Priority::Low {
                break;
            }
            assert!(pulls < 16, "a low message waited for {pulls} pulls");
        }
    }
}

pub async fn within_a_class_the_first_comes_first(fixture: &Fixture) {
    fill(fixture, Priority::High, 40).await;
    let pulled = fixture.pull_ids(40).await;
    let expected: Vec<String> = (0..40).map(|number| format!("High {number:03}")).collect();
    assert_eq!(pulled, expected);
}

pub async fn a_batch_is_filled_by_weight(fixture: &Fixture) {
    for priority in [Priority::High, Priority::Low] {
        fill(fixture, priority, 20).await;
    }
    let batch = fixture.pull(10).await;
    let low = batch.iter().filter(|delivery| delivery.message.priority == Priority::Low).count();
    assert_eq!((batch.len(), low), (10, 2));
}
