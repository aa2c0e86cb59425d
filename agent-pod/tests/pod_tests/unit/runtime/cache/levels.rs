//! What every level promises, on each of them, and how they work together.

use super::*;

#[tokio::test]
async fn what_was_made_once_is_given_again_whole() {
    for (place, levels) in each_alone() {
        let cache = place.open().await;
        let work = Counted::new(Ok("text "));
        let (made, kept) = ask(&cache, "key", levels, &work).await;
        assert!(!kept);
        assert_eq!(ask(&cache, "key", levels, &work).await, (made, true), "{levels:?}");
        assert_eq!(work.done(), 1);
        ask(&cache, "other key", levels, &work).await;
        assert_eq!(work.done(), 2);
    }
}

#[tokio::test]
async fn a_new_process_finds_it_everywhere_but_in_memory() {
    for (place, levels) in each_alone() {
        let work = Counted::new(Ok("text "));
        ask(&place.open().await, "key", levels, &work).await;
        let (_, kept) = ask(&place.open().await, "key", levels, &work).await;
        assert_eq!(kept, !levels.memory, "{levels:?}");
    }
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    for (place, levels) in each_alone() {
        let cache = place.open().await;
        let failing = Counted::new(Err("no"));
        assert_eq!(*cache.get_or_compute("key", levels, &failing).await.expect_err("a failure"), "no");
        cache.settle(PATIENT).await;
        let (_, kept) = ask(&cache, "key", levels, &Counted::new(Ok("text "))).await;
        assert!(!kept, "{levels:?}");
    }
}

#[tokio::test]
async fn a_result_counts_no_longer_than_its_time() {
    for (place, levels) in each_alone() {
        let cache = place.open().await;
        let levels = Levels { ttl: Duration::from_millis(20), ..levels };
        let work = Counted::new(Ok("text "));
        ask(&cache, "key", levels, &work).await;
        tokio::time::timeout(PATIENT, async {
            while ask(&cache, "key", levels, &work).await.1 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("it is made again");
        assert_eq!(work.done(), 2, "{levels:?}");
    }
}

#[tokio::test]
async fn a_result_of_no_use_is_made_again() {
    for (place, levels) in each_alone() {
        let cache = place.open().await;
        let work = Counted::new(Ok("text "));
        ask(&cache, "key", levels, &work).await;
        work.usable.store(false, Ordering::Relaxed);
        assert!(!ask(&cache, "key", levels, &work).await.1, "{levels:?}");
        work.usable.store(true, Ordering::Relaxed);
        assert!(ask(&cache, "key", levels, &work).await.1, "{levels:?}");
        assert_eq!(work.done(), 2);
    }
}

#[tokio::test]
async fn a_damaged_file_is_made_again() {
    let place = Place::new();
    let levels = Levels { disk: true, ..NONE };
    let (cache, work) = (place.open().await, Counted::new(Ok("text ")));
    for damage in [&b""[..], b"DKC2", b"something else"] {
        ask(&cache, "key", levels, &work).await;
        std::fs::write(place.folder.path().join("cache/ke/y"), damage).expect("written");
        assert!(!ask(&cache, "key", levels, &work).await.1);
    }
    assert_eq!(cache.statistics().disk.errors, 0, "a miss is no error");
}

#[tokio::test]
async fn foreign_values_in_redis_are_misses_and_no_errors() {
    let Some(mut place) = Place::with_redis() else { return };
    let levels = Levels { redis: true, ..NONE };
    let (cache, work) = (place.open().await, Counted::new(Ok("text ")));
    for command in ["SET docket:cache:2:key foreign", "SET docket:cache:2:key DKC2", "LPUSH docket:cache:2:key a b"] {
        ask(&cache, "key", levels, &work).await;
        let redis = place.redis();
        redis.command("DEL docket:cache:2:key").expect("an answer");
        redis.command(command).expect("an answer");
        assert!(!ask(&cache, "key", levels, &work).await.1, "{command}");
    }
    let redis = cache.statistics().redis.expect("the level");
    assert_eq!((redis.errors, redis.breaker), (0, Some("closed")), "{redis:?}");
}

#[tokio::test]
async fn equal_requests_that_meet_are_worked_once() {
    let place = Place::new();
    let (cache, work) = (place.open().await, Counted::new(Ok("text ")));
    let levels = Levels { memory: true, disk: true, ..NONE };
    let asked = futures::future::join_all((0..10).map(|_| cache.get_or_compute("key", levels, &work))).await;
    assert!(asked.iter().all(Result::is_ok));
    assert_eq!(work.done(), 1);
    let statistics = cache.statistics();
    assert_eq!((statistics.computed, statistics.memory.hits, statistics.memory.misses), (1, 9, 1));
}

/// Work of one who may have nothing left for it; the others come before it is done.
struct Asker {
    is_poor: bool,
    done: AtomicUsize,
}

#[async_trait]
impl Work for Asker {
    type Error = &'static str;

    fn owner(&self) -> Owner {
        Owner::new("tenant", "payload")
    }

    async fn usable(&self, _: &Output) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn compute(&self) -> Result<Output, Self::Error> {
        self.done.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        if self.is_poor { Err("poor") } else { Ok(output("text")) }
    }

    fn is_personal(&self, error: &Self::Error) -> bool {
        *error == "poor"
    }
}

/// Whether those who meet get a result, and how often the work was done.
async fn meet(are_poor: &[bool]) -> (Vec<bool>, usize) {
    let place = Place::new();
    let (cache, levels) = (place.open().await, Levels { memory: true, ..NONE });
    let asker = |is_poor: &bool| Asker { is_poor: *is_poor, done: AtomicUsize::new(0) };
    let askers: Vec<Asker> = are_poor.iter().map(asker).collect();
    let asked = askers.iter().map(|asker| cache.get_or_compute("key", levels, asker));
    let results = futures::future::join_all(asked).await.iter().map(Result::is_ok).collect();
    (results, askers.iter().map(|asker| asker.done.load(Ordering::Relaxed)).sum())
}

#[tokio::test]
async fn a_failure_of_one_alone_is_not_that_of_others_who_ask_for_the_same() {
    assert_eq!(meet(&[true, false, false]).await, (vec![false, true, true], 2));
    assert_eq!(meet(&[true, true]).await, (vec![false, false], 2), "each has failed by itself");
}

#[tokio::test]
async fn a_hit_goes_to_the_levels_above() {
    let Some(place) = Place::with_redis() else { return };
    let all = Levels { memory: true, redis: true, disk: true, ttl: HOUR };
    let work = Counted::new(Ok("text "));
    ask(&place.open().await, "key", Levels { disk: true, ..NONE }, &work).await;
    // From disk to Redis and memory.
    let cache = place.open().await;
    assert!(ask(&cache, "key", all, &work).await.1);
    assert!(ask(&cache, "key", all, &work).await.1);
    let counts = cache.statistics();
    let redis = counts.redis.expect("the level");
    assert_eq!((counts.disk.hits, redis.misses, redis.stores, counts.memory.hits), (1, 1, 1, 1));
    // From Redis to memory, with no folder that knows it.
    let fresh = Place { redis: place.redis, ..Place::new() };
    let cache = fresh.open().await;
    assert!(ask(&cache, "key", all, &work).await.1);
    assert!(ask(&cache, "key", all, &work).await.1);
    let counts = cache.statistics();
    let redis = counts.redis.expect("the level");
    assert_eq!((redis.hits, counts.memory.hits, counts.disk.hits, counts.computed), (1, 1, 0, 0));
    assert_eq!(work.done(), 1);
}

#[tokio::test]
async fn a_level_that_is_not_named_is_neither_asked_nor_filled() {
    let Some(place) = Place::with_redis() else { return };
    let (cache, work) = (place.open().await, Counted::new(Ok("text ")));
    ask(&cache, "key", Levels { memory: true, disk: true, ..NONE }, &work).await;
    let redis = cache.statistics().redis.expect("the level");
    assert_eq!((redis.hits, redis.misses, redis.stores, redis.skipped), (0, 0, 0, 0));
    assert_eq!(inventory::on_redis(&settings(&place)).await.expect("an answer").entries, 0);
}

#[tokio::test]
async fn an_answer_says_which_level_had_it() {
    let Some(place) = Place::with_redis() else { return };
    let all = Levels { memory: true, redis: true, disk: true, ttl: HOUR };
    let work = Counted::new(Ok("text "));
    let cache = place.open().await;
    let level = |cache, levels| {
        let work = &work;
        async move { StageCache::get_or_compute(cache, "key", levels, work).await.expect("a result").1 }
    };
    assert_eq!(level(&cache, all).await, None);
    assert_eq!(level(&cache, all).await, Some(Level::Memory));
    cache.settle(PATIENT).await;
    assert_eq!(level(&cache, Levels { memory: false, ..all }).await, Some(Level::Redis));
    assert_eq!(level(&cache, Levels { disk: true, ..NONE }).await, Some(Level::Disk));
    let found = cache.get("key", all, &work).await.expect("a lookup").map(|(_, level)| level);
    assert_eq!(found, Some(Level::Memory));
    assert!(cache.get("other", all, &work).await.expect("a lookup").is_none());
    assert_eq!(work.done(), 1, "a lookup never works");
}
