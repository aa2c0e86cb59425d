//! Progress and tokens; may be lost.

use std::time::Duration;

use super::{Fixture, soon};

async fn publish(fixture: &Fixture, subject: &str, body: &str) {
    fixture.ports.events.publish(subject, body.to_owned().into()).await.expect("publish");
}

pub async fn watchers_see_the_subjects_of_their_prefix(fixture: &Fixture) {
    let mut documents = fixture.ports.events.watch("document/").await.expect("watch");
    let mut all = fixture.ports.events.watch("").await.expect("watch");
    publish(fixture, "document/1", "started").await;
    publish(fixture, "pool/readers", "scaled").await;
    publish(fixture, "document/2", "started").await;
    for subject in ["document/1", "document/2"] {
        let event = soon(documents.recv()).await.expect("an event");
        assert_eq!((event.0.as_str(), event.1.as_ref()), (subject, &b"started"[..]));
    }
    for subject in ["document/1", "pool/readers", "document/2"] {
        assert_eq!(soon(all.recv()).await.expect("an event").0, subject);
    }
}

pub async fn a_slow_watcher_loses_the_oldest(fixture: &Fixture) {
    const EVENTS: usize = 10_000;
    let mut watcher = fixture.ports.events.watch("token/").await.expect("watch");
    let mut fast = fixture.ports.events.watch("token/").await.expect("watch");
    let last = format!("token/{}", EVENTS - 1);
    let arrived = tokio::spawn(async move { while fast.recv().await.expect("an event").0 != last {} });
    for number in 0..EVENTS {
        // What finds no room on its way to a broker is lost, which of the last ones must not be.
        if number + 200 > EVENTS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        publish(fixture, &format!("token/{number}"), "").await;
    }
    // All have come by now: the slow watcher has slept through them.
    soon(arrived).await.expect("the fast watcher sees the last");
    let mut seen = Vec::new();
    loop {
        let (subject, _) = soon(watcher.recv()).await.expect("an event");
        let number: usize = subject["token/".len()..].parse().expect("a number");
        seen.push(number);
        if number == EVENTS - 1 {
            break;
        }
    }
    assert!(seen.is_sorted(), "in order");
    assert!(seen.len() < EVENTS / 2, "{} events were kept", seen.len());
    assert!(seen.len() >= 100, "only {} events were kept", seen.len());
    let newest: Vec<usize> = (EVENTS - 100..EVENTS).collect();
    assert!(seen.ends_with(&newest), "the newest are kept");
}

pub async fn events_from_before_the_watch_are_not_seen(fixture: &Fixture) {
    publish(fixture, "document/1", "early").await;
    let mut watcher = fixture.ports.events.watch("document/").await.expect("watch");
    publish(fixture, "document/1", "late").await;
    assert_eq!(soon(watcher.recv()).await.expect("an event").1, "late");
}

pub async fn a_watcher_that_left_disturbs_nobody(fixture: &Fixture) {
    drop(fixture.ports.events.watch("document/").await.expect("watch"));
    let mut watcher = fixture.ports.events.watch("document/").await.expect("watch");
    for number in 0..50 {
        publish(fixture, "document/1", &number.to_string()).await;
        assert_eq!(soon(watcher.recv()).await.expect("an event").1, number.to_string());
    }
}
