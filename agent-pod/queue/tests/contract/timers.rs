//! Deliver this at that time.

use std::time::Duration;

use queue::{Alarm, Millis};

use super::{Fixture, LONG, START, soon};

const REDELIVERY: Millis = 30_000;

fn alarm(id: &str, at: Millis) -> Alarm {
    Alarm { id: id.to_owned(), at, body: format!("{id} at {at}").into() }
}

async fn set(fixture: &Fixture, alarms: &[(&str, Millis)]) {
    let alarms = alarms.iter().map(|(id, at)| alarm(id, *at)).collect();
    fixture.ports.timers.set(alarms).await.expect("set");
}

async fn due(fixture: &Fixture, now: Millis) -> Vec<Alarm> {
    fixture.ports.timers.due(now, 100, Duration::ZERO).await.expect("due")
}

fn spawn_due(fixture: &Fixture, now: Millis) -> tokio::task::JoinHandle<Vec<Alarm>> {
    let timers = fixture.ports.timers.clone();
    tokio::spawn(async move { timers.due(now, 100, LONG).await.expect("due") })
}

pub async fn alarms_are_delivered_oldest_first_when_their_time_has_come(fixture: &Fixture) {
    set(fixture, &[("c", 300), ("a", 200), ("b", 100), ("d", 400)]).await;
    assert!(due(fixture, 99).await.is_empty());
    assert_eq!(due(fixture, 300).await, [alarm("b", 100), alarm("a", 200), alarm("c", 300)]);
    assert_eq!(due(fixture, 400).await, [alarm("d", 400)]);
}

pub async fn a_waiting_call_wakes_when_an_alarm_becomes_due(fixture: &Fixture) {
    set(fixture, &[("a", START + 5_000)]).await;
    let waiting = spawn_due(fixture, START);
    fixture.sleepers(1).await;
    fixture.clock.advance(Duration::from_secs(5));
    assert_eq!(soon(waiting).await.expect("the call ends well"), [alarm("a", START + 5_000)]);
}

pub async fn a_waiting_call_wakes_when_a_due_alarm_is_set(fixture: &Fixture) {
    for round in 0..10 {
        let waiting = spawn_due(fixture, START);
        fixture.sleepers(1).await;
        let id = format!("a{round}");
        set(fixture, &[(&id, START)]).await;
        assert_eq!(soon(waiting).await.expect("the call ends well"), [alarm(&id, START)]);
    }
}

pub async fn setting_again_replaces_time_and_body(fixture: &Fixture) {
    set(fixture, &[("a", 100)]).await;
    set(fixture, &[("a", 200)]).await;
    assert!(due(fixture, 100).await.is_empty());
    assert_eq!(due(fixture, 200).await, [alarm("a", 200)]);
    let other_body = Alarm { body: "other".into(), ..alarm("a", 200) };
    fixture.ports.timers.set(vec![other_body.clone()]).await.expect("set");
    assert_eq!(due(fixture, 200).await, [other_body]);
}

pub async fn a_cancelled_alarm_is_not_delivered(fixture: &Fixture) {
    set(fixture, &[("a", 100), ("b", 100)]).await;
    fixture.ports.timers.cancel("a").await.expect("cancel");
    fixture.ports.timers.cancel("a").await.expect("cancelling nothing");
    assert_eq!(due(fixture, 100).await, [alarm("b", 100)]);
}

pub async fn an_alarm_that_is_not_done_is_delivered_again(fixture: &Fixture) {
    set(fixture, &[("a", 100), ("b", 100)]).await;
    assert_eq!(due(fixture, 100).await.len(), 2);
    fixture.ports.timers.done(&alarm("b", 100)).await.expect("done");
    assert!(due(fixture, 100 + REDELIVERY - 1).await.is_empty());
    assert_eq!(due(fixture, 100 + REDELIVERY).await, [alarm("a", 100)]);
    assert!(due(fixture, 100 + REDELIVERY).await.is_empty());
    assert_eq!(due(fixture, 100 + 2 * REDELIVERY).await, [alarm("a", 100)]);
}

pub async fn done_keeps_an_alarm_that_was_set_again(fixture: &Fixture) {
    set(fixture, &[("a", 100)]).await;
    let delivered = due(fixture, 100).await;
    set(fixture, &[("a", 150)]).await;
    fixture.ports.timers.done(&delivered[0]).await.expect("done");
    assert_eq!(due(fixture, 150).await, [alarm("a", 150)]);
    fixture.ports.timers.done(&alarm("a", 150)).await.expect("done");
    assert!(due(fixture, Millis::MAX / 2).await.is_empty());
}

pub async fn no_more_than_max_are_delivered_at_once(fixture: &Fixture) {
    set(fixture, &[("a", 100), ("b", 101), ("c", 102)]).await;
    let timers = &fixture.ports.timers;
    assert_eq!(timers.due(200, 2, LONG).await.expect("due"), [alarm("a", 100), alarm("b", 101)]);
    assert_eq!(timers.due(200, 2, LONG).await.expect("due"), [alarm("c", 102)]);
    assert!(timers.due(200, 0, LONG).await.expect("due").is_empty());
}
