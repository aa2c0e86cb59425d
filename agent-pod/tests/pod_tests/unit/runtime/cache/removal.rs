//! What is counted, and what is removed by age, owner or origin.

use agent_pod::runtime::{
    cache::{ErasedResults, inventory::Holding},
    now,
};

use super::*;

#[tokio::test]
async fn what_is_kept_is_counted_and_removed_by_age() {
    let Some(place) = Place::with_redis() else { return };
    let levels = Levels { redis: true, disk: true, ..NONE };
    let (cache, work) = (place.open().await, Counted::new(Ok("text ")));
    for n in 0..3 {
        ask(&cache, &format!("key {n}"), levels, &work).await;
    }
    // Someone else's values stay.
    place.redis.as_ref().expect("a server").command("SET other value").expect("an answer");
    let (folder, settings) = (place.folder.path().join("cache"), settings(&place));
    let on_disk = inventory::on_disk(&folder).expect("counted");
    let on_redis = inventory::on_redis(&settings).await.expect("counted");
    assert_eq!((on_disk.entries, on_redis.entries), (3, 3));
    assert_eq!(on_disk.bytes, on_redis.bytes, "both keep the same bytes");
    let before = |limit| {
        let (folder, settings) = (folder.clone(), settings.clone());
        let selection = Selection::default().made_before(limit);
        async move {
            let disk = inventory::clear_disk(&folder, &selection).expect("cleared");
            (disk, inventory::clear_redis(&settings, &selection).await.expect("cleared"))
        }
    };
    let (disk, redis) = before(Some(now() - 3_600_000)).await;
    assert_eq!((disk.entries, redis.entries), (0, 0), "nothing is an hour old");
    let (disk, redis) = before(Some(now() + 1)).await;
    assert_eq!((disk, redis), (on_disk, on_redis));
    assert_eq!(inventory::on_redis(&settings).await.expect("counted").entries, 0);
    ask(&cache, "key 0", levels, &work).await;
    assert_eq!(before(None).await.0.entries, 1);
    assert!(place.redis.as_ref().expect("a server").command("GET other").expect("an answer").contains("value"));
}

/// Work for somebody.
struct Owned(Owner);
#[async_trait]
impl Work for Owned {
    type Error = &'static str;

    fn owner(&self) -> Owner {
        self.0
    }

    async fn usable(&self, _: &Output) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn compute(&self) -> Result<Output, Self::Error> {
        Ok(output("text"))
    }
}

#[tokio::test]
async fn results_of_a_tenant_or_of_a_document_are_removed_alone() {
    let Some(place) = Place::with_redis() else { return };
    let all = Levels { memory: true, redis: true, disk: true, ttl: HOUR };
    let cache = place.open().await;
    let owners = [("one", "a"), ("one", "b"), ("two", "a")].map(|(tenant, payload)| Owner::new(tenant, payload));
    for (n, owner) in owners.iter().enumerate() {
        cache.get_or_compute(&format!("key {n}"), all, &Owned(*owner)).await.expect("a result");
        cache
            .keep_near(&format!("near {n}"), &near(&format!("scope {n}"), 0, 0.0), (*owner, output("text")), all)
            .await;
        cache.settle(PATIENT).await;
    }
    let is_there = |n: usize| {
        let (cache, owner) = (&cache, owners[n]);
        async move {
            let exact = cache.get(&format!("key {n}"), all, &Owned(owner)).await.expect("a lookup").is_some();
            let near = cache.nearest(&near(&format!("scope {n}"), 0, 0.0), all).await.is_some();
            assert_eq!(exact, near, "both parts hold the same of {n}");
            exact
        }
    };
    let forget = |selection: Selection| {
        let (cache, settings) = (&cache, settings(&place));
        async move {
            let removed = inventory::clear_redis(&settings, &selection).await.expect("cleared");
            assert_eq!(cache.forget(&selection).await.expect("cleared").entries, removed.entries);
            (removed.entries, removed.semantic.entries)
        }
    };
    assert_eq!(forget(Selection::of(Some("three"), None)).await, (0, 0));
    assert_eq!(forget(Selection::of(Some("one"), Some("b"))).await, (2, 1));
    assert_eq!((is_there(0).await, is_there(1).await, is_there(2).await), (true, false, true));
    assert_eq!(forget(Selection::of(Some("two"), None)).await, (2, 1));
    assert_eq!((is_there(0).await, is_there(2).await), (true, false));
    assert_eq!(forget(Selection::of(None, Some("a"))).await, (2, 1));
    assert!(!is_there(0).await);
    assert_eq!((cache.in_memory(), cache.on_disk().await.expect("counted")), (Holding::default(), Holding::default()));
}

#[tokio::test]
async fn an_erasure_removes_what_a_document_had_and_what_was_made_from_it_from_every_level() {
    let Some(place) = Place::with_redis() else { return };
    let all = Levels { memory: true, redis: true, disk: true, ttl: HOUR };
    let (cache, other) = (place.open().await, place.open().await);
    let owners = [("one", "a"), ("one", "b"), ("two", "a"), ("three", "c")];
    let owners = owners.map(|(tenant, payload)| Owner::new(tenant, payload));
    for (n, owner) in owners.iter().enumerate() {
        cache.get_or_compute(&format!("key {n}"), all, &Owned(*owner)).await.expect("a result");
        let near = near(&format!("scope {n}"), 0, 0.0);
        cache.keep_near(&format!("key {n}"), &near, (*owner, output("text")), all).await;
    }
    cache.settle(PATIENT).await;
    // Another process has taken some of it from the server.
    assert!(other.nearest(&near("scope 1", 0, 0.0), Levels { disk: false, ..all }).await.is_some());
    let there = async |n: usize| {
        let exact = cache.get(&format!("key {n}"), all, &Owned(owners[n])).await.expect("a lookup").is_some();
        let near = cache.nearest(&near(&format!("scope {n}"), 0, 0.0), all).await.is_some();
        assert_eq!(exact, near, "both parts hold the same of {n}");
        exact
    };
    let erase = async |erased: ErasedResults| {
        let erased = Arc::new(erased);
        let (on_redis, left) = inventory::erase_redis(&settings(&place), &erased).await.expect("erased");
        let (on_disk, (in_memory, in_memory_left)) = cache.erase(&erased).await;
        let (on_disk, on_disk_left) = on_disk.expect("erased");
        assert_eq!((left, on_disk_left, in_memory_left), (0, 0, 0));
        assert_eq!((on_redis, in_memory), (on_disk, on_disk));
        on_redis
    };
    assert_eq!(erase(ErasedResults::default()).await, 0);
    let mut document = ErasedResults::default();
    document.add_payload("one", "b");
    assert_eq!(erase(document.clone()).await, 2);
    assert_eq!(other.erase(&Arc::new(document)).await.1, (1, 0), "what it had taken");
    assert_eq!([there(0).await, there(1).await, there(2).await, there(3).await], [true, false, true, true]);
    // What it had from others, by the key.
    let mut had = ErasedResults::default();
    had.keys.insert("key 3".to_owned());
    assert_eq!(erase(had).await, 2);
    let mut tenant = ErasedResults::default();
    tenant.add_tenant("two");
    assert_eq!(erase(tenant).await, 2);
    assert_eq!([there(0).await, there(2).await, there(3).await], [true, false, false]);
}
