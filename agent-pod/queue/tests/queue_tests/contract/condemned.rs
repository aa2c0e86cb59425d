//! Names that are condemned: of keeping and removing one wins.

use std::sync::Arc;
use std::time::Duration;

use queue::{Condemned, Error, payloads::condemned_name};

use super::{Fixture, soon};

pub async fn what_is_kept_is_not_removed(fixture: &Fixture) {
    let condemned = Condemned::new(Arc::clone(&fixture.ports.records));
    assert!(condemned.condemn("plans/a", 1_000).await.expect("condemn"));
    assert!(!condemned.condemn("plans/a", 2_000).await.expect("condemn again"), "it is marked already");
    let marks = condemned.page("plans/", None, 10).await.expect("marks");
    assert_eq!((marks[0].name.as_str(), marks[0].at, marks.len()), ("plans/a", 1_000, 1));
    condemned.keep("plans/a").await.expect("keep");
    assert!(condemned.begin_removal(&marks[0], 3_000).await.expect("begin").is_none());
    assert!(condemned.page("", None, 10).await.expect("marks").is_empty());
}

pub async fn who_keeps_what_is_being_removed_waits_for_its_end(fixture: &Fixture) {
    let condemned = Condemned::new(Arc::clone(&fixture.ports.records));
    condemned.condemn("a", 1_000).await.expect("condemn");
    let mark = condemned.page("", None, 10).await.expect("marks").remove(0);
    let removal = condemned.begin_removal(&mark, 2_000).await.expect("begin").expect("nobody keeps it");
    assert!(!condemned.keep_now("a").await.expect("keep"));
    assert!(condemned.begin_removal(&mark, 2_000).await.expect("begin").is_none(), "only one removes");
    let waiting = tokio::spawn({
        let condemned = condemned.clone();
        async move { condemned.keep("a").await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    condemned.end_removal(removal).await.expect("end");
    soon(waiting).await.expect("no panic").expect("kept");
}

pub async fn a_removal_whose_process_died_is_ended_by_another(fixture: &Fixture) {
    let condemned = Condemned::new(Arc::clone(&fixture.ports.records));
    drop(condemned.seize("a", 1_000).await.expect("seize"));
    let mark = condemned.page("", None, 10).await.expect("marks").remove(0);
    assert!(!mark.is_waiting() && !mark.is_abandoned(900_999) && mark.is_abandoned(901_000));
    let removal = condemned.seize("a", 901_000).await.expect("seize");
    assert!(condemned.begin_removal(&mark, 901_000).await.expect("begin").is_none());
    condemned.end_removal(removal).await.expect("end");
    assert!(condemned.keep_now("a").await.expect("keep"));
}

pub async fn a_payload_that_is_asked_for_or_put_again_is_kept(fixture: &Fixture) {
    let payloads = &fixture.ports.payloads;
    let condemned = Condemned::new(Arc::clone(&fixture.ports.records));
    let digest = payloads.put("hello".into()).await.expect("put");
    for ask in [true, false] {
        condemned.condemn(&condemned_name(&digest), 1_000).await.expect("condemn");
        let mark = condemned.page("payloads/", None, 10).await.expect("marks").remove(0);
        if ask {
            assert!(payloads.contains(&digest).await.expect("contains"));
        } else {
            assert_eq!(payloads.put("hello".into()).await.expect("put"), digest);
        }
        assert!(condemned.begin_removal(&mark, 2_000).await.expect("begin").is_none());
    }
    let removal = condemned.seize(&condemned_name(&digest), 3_000).await.expect("seize");
    assert!(!payloads.contains(&digest).await.expect("contains"), "it is on its way out");
    payloads.delete(&digest).await.expect("delete");
    let putting = tokio::spawn({
        let payloads = Arc::clone(payloads);
        async move { payloads.put("hello".into()).await }
    });
    condemned.end_removal(removal).await.expect("end");
    assert_eq!(soon(putting).await.expect("no panic").expect("put"), digest);
    assert_eq!(payloads.get(&digest).await.expect("it was stored anew"), "hello");
    let missing = payloads.get(&blake3::hash(b"never").to_hex()).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}
