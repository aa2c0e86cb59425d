//! Small state, compare-and-set.

use std::sync::Arc;

use queue::{Error, Versioned};

use super::{Fixture, soon};

pub async fn a_record_is_created_read_changed_and_deleted(fixture: &Fixture) {
    let records = &fixture.ports.records;
    assert_eq!(records.get("a").await.expect("get"), None);
    let first = records.create("a", "one".into()).await.expect("create");
    assert_eq!(records.get("a").await.expect("get"), Some(Versioned { revision: first, bytes: "one".into() }));
    let second = records.update("a", first, "two".into()).await.expect("update");
    assert!(second > first);
    assert_eq!(records.get("a").await.expect("get"), Some(Versioned { revision: second, bytes: "two".into() }));
    records.delete("a").await.expect("delete");
    records.delete("a").await.expect("deleting nothing");
    assert_eq!(records.get("a").await.expect("get"), None);
}

pub async fn creating_twice_is_a_conflict(fixture: &Fixture) {
    let records = &fixture.ports.records;
    records.create("a", "one".into()).await.expect("create");
    let again = records.create("a", "two".into()).await;
    assert!(matches!(&again, Err(Error::Conflict { key }) if key == "a"), "{again:?}");
    assert_eq!(records.get("a").await.expect("get").expect("a record").bytes, "one");
}

pub async fn changing_an_old_revision_is_a_conflict(fixture: &Fixture) {
    let records = &fixture.ports.records;
    let first = records.create("a", "one".into()).await.expect("create");
    records.update("a", first, "two".into()).await.expect("update");
    let late = records.update("a", first, "three".into()).await;
    assert!(matches!(late, Err(Error::Conflict { .. })), "{late:?}");
    let missing = records.update("b", first, "one".into()).await;
    assert!(matches!(missing, Err(Error::Conflict { .. })), "{missing:?}");
    assert_eq!(records.get("a").await.expect("get").expect("a record").bytes, "two");
}

pub async fn a_record_created_again_does_not_repeat_a_revision(fixture: &Fixture) {
    let records = &fixture.ports.records;
    let first = records.create("a", "one".into()).await.expect("create");
    records.delete("a").await.expect("delete");
    let second = records.create("a", "two".into()).await.expect("create");
    assert!(second > first);
    let late = records.update("a", first, "three".into()).await;
    assert!(matches!(late, Err(Error::Conflict { .. })), "{late:?}");
}

pub async fn a_record_is_removed_as_it_was_read_or_not_at_all(fixture: &Fixture) {
    let records = &fixture.ports.records;
    let first = records.create("a", "one".into()).await.expect("create");
    let second = records.update("a", first, "two".into()).await.expect("update");
    let late = records.remove("a", first).await;
    assert!(matches!(&late, Err(Error::Conflict { key }) if key == "a"), "{late:?}");
    assert_eq!(records.get("a").await.expect("get").expect("a record").bytes, "two");
    records.remove("a", second).await.expect("remove");
    records.remove("a", second).await.expect("removing nothing");
    assert_eq!(records.get("a").await.expect("get"), None);
    records.create("a", "three".into()).await.expect("create");
}

pub async fn a_scan_goes_in_order_by_prefix_from_after_to_limit(fixture: &Fixture) {
    let records = &fixture.ports.records;
    for key in ["doc/3", "doc/1", "other", "doc/2", "doc", "doc/4", "dod"] {
        records.create(key, key.to_owned().into()).await.expect("create");
    }
    let scan = async |prefix: &str, after: Option<&str>, limit: usize| -> Vec<String> {
        let found = records.scan(prefix, after, limit).await.expect("scan");
        assert!(found.iter().all(|(key, record)| record.bytes == key.as_bytes()));
        found.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(scan("doc/", None, 10).await, ["doc/1", "doc/2", "doc/3", "doc/4"]);
    assert_eq!(scan("doc/", None, 2).await, ["doc/1", "doc/2"]);
    assert_eq!(scan("doc/", Some("doc/2"), 10).await, ["doc/3", "doc/4"]);
    assert_eq!(scan("doc/", Some("a"), 1).await, ["doc/1"]);
    assert!(scan("doc/", Some("e"), 10).await.is_empty());
    assert!(scan("doc/", None, 0).await.is_empty());
    assert_eq!(scan("", None, 100).await.len(), 7);
}

/// A broker keeps the keys below `documents/NAME/` apart by name: nobody sees that.
pub async fn records_of_several_names_are_seen_as_one_order(fixture: &Fixture) {
    let records = &fixture.ports.records;
    assert_eq!(records.get("documents/a/1").await.expect("get"), None);
    records.delete("documents/a/1").await.expect("deleting nothing");
    records.remove("documents/a/1", 1).await.expect("removing nothing");
    let missing = records.update("documents/a/1", 1, "two".into()).await;
    assert!(matches!(missing, Err(Error::Conflict { .. })), "{missing:?}");
    assert!(records.scan("documents/a/", None, 10).await.expect("scan").is_empty());
    let long = format!("documents/{}/1", "n.".repeat(120));
    let like_long = format!("documents/{}m./1", "n.".repeat(119));
    let keys = [
        "documents/a/1",
        "documents/a/2",
        "documents/a-b/1",
        "documents/b.c/x/y",
        "documents/b",
        "documents/",
        "plans/a",
    ];
    for key in keys.into_iter().chain([long.as_str(), like_long.as_str()]) {
        let first = records.create(key, "one".into()).await.expect("create");
        let again = records.create(key, "two".into()).await;
        assert!(matches!(again, Err(Error::Conflict { .. })), "{key}: {again:?}");
        records.update(key, first, key.to_owned().into()).await.expect("update");
    }
    let scan = async |prefix: &str, after: Option<&str>, limit: usize| -> Vec<String> {
        let found = records.scan(prefix, after, limit).await.expect("scan");
        assert!(found.iter().all(|(key, record)| record.bytes == key.as_bytes()));
        found.into_iter().map(|(key, _)| key).collect()
    };
    let mut all = keys.map(str::to_owned).to_vec();
    all.extend([long.clone(), like_long]);
    all.sort();
    assert_eq!(scan("", None, 100).await, all);
    assert_eq!(scan("documents/", None, 100).await, all[..8]);
    assert_eq!(scan("documents/", None, 3).await, all[..3]);
    assert_eq!(scan("documents/", Some(&all[2]), 3).await, all[3..6]);
    assert_eq!(scan("documents/a", None, 100).await, ["documents/a-b/1", "documents/a/1", "documents/a/2"]);
    assert_eq!(scan("documents/a/", None, 100).await, ["documents/a/1", "documents/a/2"]);
    assert_eq!(scan("documents/b.c/x", None, 100).await, ["documents/b.c/x/y"]);
    assert_eq!(scan("documents/none/", None, 100).await, [""; 0]);
    for key in &all[..8] {
        records.delete(key).await.expect("delete");
    }
    assert_eq!(scan("", None, 100).await, ["plans/a"]);
}

pub async fn writers_in_parallel_lose_no_increment(fixture: &Fixture) {
    let records = Arc::clone(&fixture.ports.records);
    records.create("count", "0".into()).await.expect("create");
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let records = Arc::clone(&records);
        writers.spawn(async move {
            for _ in 0..20 {
                loop {
                    let Versioned { revision, bytes } = records.get("count").await.expect("get").expect("a record");
                    let count: u32 = std::str::from_utf8(&bytes).expect("text").parse().expect("a number");
                    match records.update("count", revision, (count + 1).to_string().into()).await {
                        Ok(_) => break,
                        Err(Error::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
    }
    soon(writers.join_all()).await;
    assert_eq!(records.get("count").await.expect("get").expect("a record").bytes, "160");
}
