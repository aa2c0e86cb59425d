//! Deliver this at that time.

use std::{sync::Arc, time::Duration};

use queue::{Alarm, Millis};

use super::{Fixture, LONG, soon};

fn alarm(id: &str, at: Millis) -> Alarm {
    Alarm { id: id.to_owned(), at, body: format!("{id} at {at}").into() }
}

async fn set(fixture: &Fixture, alarms: &[(&str, Millis)]) {
    let alarms = alarms.iter().map(|(id, at)| alarm(id, *at)).collect();
    fixture.ports.timers.set(alarms).await.expect("set");
}

/// What is due now; a broker is given time until it is `count`.
async fn due(fixture: &Fixture, count: usize) -> Vec<Alarm> {
    let wait = if count == 0 { Duration::ZERO } else { fixture.patience() };
    let mut found = Vec::new();
    soon(async {
        loop {
            found.extend(fixture.ports.timers.due(fixture.now(), 100, wait).await.expect("due"));
            if wait.is_zero() || found.len() >= count {
                break;
            }
        }
    })
    .await;
    found
}

/// Nothing is due, unless a machine that stood still has let that time come.
async fn nothing_is_due_before(fixture: &Fixture, time: Millis) {
    let found = due(fixture, 0).await;
    assert!(found.is_empty() || fixture.now() >= time, "{found:?} before {time}");
}

/// A moment after now. Moments lie far enough apart for the implementation to tell them apart; before one that must not have
/// come yet, there are some for a busy machine.
fn moment(fixture: &Fixture, number: u64) -> Millis {
    fixture.now() + number * fixture.scaled(100, 1_500)
}

fn spawn_due(fixture: &Fixture) -> tokio::task::JoinHandle<Vec<Alarm>> {
    let (timers, now) = (Arc::clone(&fixture.ports.timers), fixture.now());
    tokio::spawn(async move { timers.due(now, 100, LONG).await.expect("due") })
}

pub async fn alarms_are_delivered_oldest_first_when_their_time_has_come(fixture: &Fixture) {
    let times = [3, 4, 5, 9].map(|number| moment(fixture, number));
    set(fixture, &[("c", times[2]), ("a", times[1]), ("b", times[0]), ("d", times[3])]).await;
    nothing_is_due_before(fixture, times[0]).await;
    fixture.reach(times[2]).await;
    fixture.alarms(3).await;
    assert_eq!(due(fixture, 3).await, [alarm("b", times[0]), alarm("a", times[1]), alarm("c", times[2])]);
    for (id, at) in [("a", times[1]), ("b", times[0]), ("c", times[2])] {
        fixture.ports.timers.done(&alarm(id, at)).await.expect("done");
    }
    fixture.reach(times[3]).await;
    assert_eq!(due(fixture, 1).await, [alarm("d", times[3])]);
}

pub async fn a_waiting_call_wakes_when_an_alarm_becomes_due(fixture: &Fixture) {
    let time = moment(fixture, 4);
    set(fixture, &[("a", time)]).await;
    let waiting = spawn_due(fixture);
    fixture.sleepers(1).await;
    fixture.reach(time).await;
    assert_eq!(soon(waiting).await.expect("the call ends well"), [alarm("a", time)]);
}

pub async fn a_waiting_call_wakes_when_a_due_alarm_is_set(fixture: &Fixture) {
    for round in 0..10 {
        let waiting = spawn_due(fixture);
        fixture.sleepers(1).await;
        let set_now = alarm(&format!("a{round}"), fixture.now());
        fixture.ports.timers.set(vec![set_now.clone()]).await.expect("set");
        assert_eq!(soon(waiting).await.expect("the call ends well"), std::slice::from_ref(&set_now));
        fixture.ports.timers.done(&set_now).await.expect("done");
    }
}

pub async fn setting_again_replaces_time_and_body(fixture: &Fixture) {
    let [first, between, second] = [1, 2, 5].map(|number| moment(fixture, number));
    set(fixture, &[("a", first)]).await;
    set(fixture, &[("a", second)]).await;
    fixture.reach(between).await;
    nothing_is_due_before(fixture, second).await;
    fixture.reach(second).await;
    assert_eq!(due(fixture, 1).await, [alarm("a", second)]);
    let other_body = Alarm { body: "other".into(), ..alarm("a", second) };
    fixture.ports.timers.set(vec![other_body.clone()]).await.expect("set");
    assert_eq!(due(fixture, 1).await, [other_body]);
}

pub async fn an_alarm_that_is_due_is_replaced_before_it_is_delivered(fixture: &Fixture) {
    let [first, second] = [0, 4].map(|number| moment(fixture, number));
    set(fixture, &[("a", first)]).await;
    fixture.alarms(1).await;
    set(fixture, &[("a", second)]).await;
    nothing_is_due_before(fixture, second).await;
    fixture.reach(second).await;
    assert_eq!(due(fixture, 1).await, [alarm("a", second)]);
}

pub async fn a_cancelled_alarm_is_not_delivered(fixture: &Fixture) {
    let time = moment(fixture, 1);
    set(fixture, &[("a", time), ("b", time)]).await;
    fixture.ports.timers.cancel("a").await.expect("cancel");
    fixture.ports.timers.cancel("a").await.expect("cancelling nothing");
    fixture.reach(time).await;
    assert_eq!(due(fixture, 1).await, [alarm("b", time)]);
    fixture.ports.timers.cancel("b").await.expect("cancel what is out for delivery");
    fixture.pass(fixture.redelivery).await;
    assert!(due(fixture, 0).await.is_empty());
}

pub async fn an_alarm_that_is_not_done_is_delivered_again(fixture: &Fixture) {
    let time = fixture.now();
    set(fixture, &[("a", time), ("b", time)]).await;
    fixture.alarms(2).await;
    assert_eq!(due(fixture, 2).await.len(), 2);
    fixture.ports.timers.done(&alarm("b", time)).await.expect("done");
    fixture.almost_pass(fixture.redelivery).await;
    assert!(due(fixture, 0).await.is_empty());
    fixture.pass_the_rest(fixture.redelivery).await;
    assert_eq!(due(fixture, 1).await, [alarm("a", time)]);
    assert!(due(fixture, 0).await.is_empty());
    fixture.pass(fixture.redelivery).await;
    assert_eq!(due(fixture, 1).await, [alarm("a", time)]);
}

pub async fn done_keeps_an_alarm_that_was_set_again(fixture: &Fixture) {
    let [first, second] = [0, 2].map(|number| moment(fixture, number));
    set(fixture, &[("a", first)]).await;
    let delivered = due(fixture, 1).await;
    set(fixture, &[("a", second)]).await;
    fixture.ports.timers.done(&delivered[0]).await.expect("done");
    fixture.reach(second).await;
    assert_eq!(due(fixture, 1).await, [alarm("a", second)]);
    fixture.ports.timers.done(&alarm("a", second)).await.expect("done");
    fixture.pass(fixture.redelivery * 5 / 4).await;
    assert!(due(fixture, 0).await.is_empty());
}

pub async fn no_more_than_max_are_delivered_at_once(fixture: &Fixture) {
    let start = fixture.now();
    let alarms = [("a", start), ("b", start + 1), ("c", start + 2)];
    set(fixture, &alarms).await;
    fixture.reach(start + 2).await;
    fixture.alarms(3).await;
    let timers = &fixture.ports.timers;
    let first = timers.due(fixture.now(), 2, LONG).await.expect("due");
    let second = timers.due(fixture.now(), 2, LONG).await.expect("due");
    assert_eq!((first.len(), second.len()), (2, 1));
    let delivered: Vec<Alarm> = first.into_iter().chain(second).collect();
    assert_eq!(delivered, alarms.map(|(id, at)| alarm(id, at)));
    assert!(timers.due(fixture.now(), 0, LONG).await.expect("due").is_empty());
}
