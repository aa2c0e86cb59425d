//! What processes say of themselves; it vanishes by itself.

use super::{Fixture, soon};

async fn say(fixture: &Fixture, key: &str, status: &str) {
    fixture.ports.statuses.publish(key, status.to_owned().into()).await.expect("publish");
}

async fn said(fixture: &Fixture, prefix: &str) -> Vec<(String, String)> {
    let found = fixture.ports.statuses.all(prefix).await.expect("read");
    found.into_iter().map(|(key, status)| (key, String::from_utf8(status.to_vec()).expect("text"))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(key, status)| ((*key).to_owned(), (*status).to_owned())).collect()
}

pub async fn the_last_status_of_each_key_is_seen_in_order(fixture: &Fixture) {
    assert_eq!(said(fixture, "").await, []);
    say(fixture, "readers/b", "1").await;
    say(fixture, "readers/a.1 x", "2").await;
    say(fixture, "writers/a", "3").await;
    say(fixture, "readers/b", "4").await;
    assert_eq!(said(fixture, "readers/").await, pairs(&[("readers/a.1 x", "2"), ("readers/b", "4")]));
    assert_eq!(said(fixture, "").await.len(), 3);
    assert_eq!(said(fixture, "readers/c").await, []);
}

pub async fn a_status_that_is_taken_back_is_gone(fixture: &Fixture) {
    say(fixture, "readers/a", "1").await;
    say(fixture, "readers/b", "2").await;
    fixture.ports.statuses.remove("readers/a").await.expect("remove");
    fixture.ports.statuses.remove("readers/a").await.expect("removing nothing");
    assert_eq!(said(fixture, "").await, pairs(&[("readers/b", "2")]));
}

pub async fn a_status_that_is_not_said_again_is_gone_after_its_time(fixture: &Fixture) {
    say(fixture, "readers/silent", "1").await;
    say(fixture, "readers/speaks", "1").await;
    fixture.almost_pass(fixture.status_ttl).await;
    assert_eq!(said(fixture, "").await.len(), 2);
    say(fixture, "readers/speaks", "2").await;
    fixture.pass_the_rest(fixture.status_ttl).await;
    let alone = pairs(&[("readers/speaks", "2")]);
    // A broker lets go of what is too old when it comes by; what is said must not have become too old itself by then.
    soon(async {
        while said(fixture, "").await != alone {
            say(fixture, "readers/speaks", "2").await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub async fn who_watches_a_key_hears_what_is_said_and_taken_back(fixture: &Fixture) {
    let statuses = &fixture.ports.statuses;
    say(fixture, "_orders/readers", "before").await;
    let mut heard = statuses.watch("_orders/readers").await.expect("watch");
    say(fixture, "_orders/readers-2", "to others").await;
    say(fixture, "_orders", "to nobody").await;
    say(fixture, "_orders/readers", "1").await;
    soon(heard.changed()).await.expect("the store is open");
    assert_eq!(heard.borrow_and_update().as_deref(), Some(&b"1"[..]));
    statuses.remove("_orders/readers").await.expect("remove");
    soon(heard.changed()).await.expect("the store is open");
    assert_eq!(*heard.borrow_and_update(), None);
    say(fixture, "_orders/readers", "2").await;
    soon(heard.wait_for(|word| word.as_deref() == Some(&b"2"[..]))).await.expect("the store is open");
    assert_eq!(
        said(fixture, "_orders/readers").await,
        pairs(&[("_orders/readers", "2"), ("_orders/readers-2", "to others")])
    );
}
