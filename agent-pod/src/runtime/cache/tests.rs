//! What every level promises, on each of them; then how they work together, and without Redis.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize},
    time::Instant,
};

use serde_json::json;
use tempfile::TempDir;

use super::*;

#[path = "../../../tests/support/redis_server.rs"]
mod redis_server;

use redis_server::RedisServer;

const HOUR: Duration = Duration::from_secs(3_600);
const NONE: Levels = Levels { memory: false, redis: false, disk: false, ttl: HOUR };
/// Tests run beside a build; whether an answer comes in time is not what they are about.
const PATIENT: Duration = Duration::from_secs(20);

/// Where the levels of a test lie.
struct Place {
    folder: TempDir,
    redis: Option<RedisServer>,
    answer: Duration,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), redis: None, answer: PATIENT }
    }

    fn with_redis() -> Option<Self> {
        Some(Self { redis: Some(RedisServer::start()?), ..Self::new() })
    }

    fn redis(&mut self) -> &mut RedisServer {
        self.redis.as_mut().expect("a server")
    }

    /// A process that begins.
    async fn open(&self) -> StageCache {
        let mut cache = StageCache::open(&self.folder.path().join("cache")).expect("a cache");
        if let Some(redis) = &self.redis {
            cache.use_redis(RedisSettings::new(&redis.url(), self.answer).expect("a URL")).await;
        }
        cache
    }
}

/// Each level alone; Redis only where there is one.
fn each_alone() -> Vec<(Place, Levels)> {
    let mut all = vec![(Place::new(), Levels { memory: true, ..NONE }), (Place::new(), Levels { disk: true, ..NONE })];
    all.extend(Place::with_redis().map(|place| (place, Levels { redis: true, ..NONE })));
    all
}

/// Work that counts how often it is done.
struct Counted {
    result: Result<&'static str, &'static str>,
    done: AtomicUsize,
    usable: AtomicBool,
}

impl Counted {
    fn new(result: Result<&'static str, &'static str>) -> Self {
        Self { result, done: AtomicUsize::new(0), usable: AtomicBool::new(true) }
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Work for Counted {
    type Error = &'static str;

    async fn usable(&self, _: &Output) -> Result<bool, Self::Error> {
        Ok(self.usable.load(Ordering::Relaxed))
    }

    async fn compute(&self) -> Result<Output, Self::Error> {
        self.done.fetch_add(1, Ordering::Relaxed);
        let value = json!({"text": self.result?.repeat(1_000)});
        Ok(Output { value, references: vec!["00".to_owned()], prompt_tokens: 1, completion_tokens: 2, model: None })
    }
}

/// Asks the cache, and waits until all levels have what was made.
async fn ask(cache: &StageCache, key: &str, levels: Levels, work: &Counted) -> (Output, bool) {
    let answer = cache.get_or_compute(key, levels, work).await.expect("a result");
    cache.settle(PATIENT).await;
    answer
}

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
    for damage in [&b""[..], b"DKC1", b"something else"] {
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
    for command in ["SET docket:cache:1:key foreign", "SET docket:cache:1:key DKC1", "LPUSH docket:cache:1:key a b"] {
        ask(&cache, "key", levels, &work).await;
        let redis = place.redis();
        redis.command("DEL docket:cache:1:key").expect("an answer");
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
async fn a_server_that_is_gone_stops_nothing_and_is_used_again_when_it_is_back() {
    let Some(mut place) = Place::with_redis() else { return };
    let levels = Levels { redis: true, ..NONE };
    let (cache, work) = (place.open().await, Counted::new(Ok("text ")));
    place.redis().kill();
    for n in 0..20 {
        assert!(!ask(&cache, &format!("key {n}"), levels, &work).await.1);
    }
    let redis = cache.statistics().redis.expect("the level");
    assert_eq!(redis.errors, 5, "{redis:?}");
    assert_ne!(redis.breaker, Some("closed"));
    assert!(redis.skipped >= 30, "{redis:?}");
    let port = place.redis().port();
    place.redis = RedisServer::start_at(port);
    assert!(place.redis.is_some(), "the port is free again");
    answers_again(&cache, levels, &work).await;
}

/// Asks until Redis has a result.
async fn answers_again(cache: &StageCache, levels: Levels, work: &Counted) {
    tokio::time::timeout(PATIENT, async {
        while !ask(cache, "key", levels, work).await.1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("Redis is used again");
    assert_eq!(cache.statistics().redis.expect("the level").breaker, Some("closed"));
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_five_times() {
    let Some(place) = Place::with_redis() else { return };
    let place = Place { answer: Duration::from_millis(200), ..place };
    let levels = Levels { redis: true, ..NONE };
    let (cache, work) = (place.open().await, Counted::new(Ok("text ")));
    assert_eq!(cache.statistics().redis.expect("the level").breaker, Some("closed"));
    place.redis.as_ref().expect("a server").freeze();
    for n in 0..20 {
        let asked = cache.get_or_compute(&format!("key {n}"), levels, &work).await;
        assert!(!asked.expect("a result").1);
    }
    let redis = cache.statistics().redis.expect("the level");
    assert!((5..=6).contains(&redis.errors), "five lookups, and at most one store that gave up: {redis:?}");
    assert_eq!((redis.hits, work.done()), (0, 20));
}

#[tokio::test]
async fn a_server_that_never_was_is_left_out() {
    let Some(mut place) = Place::with_redis() else { return };
    place.redis().kill();
    let levels = Levels { memory: true, redis: true, disk: true, ttl: HOUR };
    let (cache, work) = (place.open().await, Counted::new(Ok("text ")));
    assert!(!ask(&cache, "key", levels, &work).await.1);
    assert!(ask(&cache, "key", levels, &work).await.1);
    let redis = cache.statistics().redis.expect("the level");
    assert_eq!((redis.errors, redis.skipped), (0, 2), "neither the lookup nor the store was tried: {redis:?}");
}

/// Says what a lookup costs with the default time-out where the server hangs; nothing here asserts a time.
#[tokio::test(flavor = "multi_thread")]
async fn lookups_end_with_the_default_time_out_too() {
    let Some(place) = Place::with_redis() else { return };
    let place = Place { answer: Duration::from_millis(2), ..place };
    let cache = place.open().await;
    place.redis.as_ref().expect("a server").freeze();
    let work = Counted::new(Ok("text "));
    let mut slowest = Duration::ZERO;
    for n in 0..10 {
        let begun = Instant::now();
        let asked = cache.get_or_compute(&format!("key {n}"), Levels { redis: true, ..NONE }, &work).await;
        assert!(!asked.expect("a result").1);
        slowest = slowest.max(begun.elapsed());
    }
    eprintln!("the slowest of 10 lookups at a server that hangs took {slowest:?}");
}

fn settings(place: &Place) -> RedisSettings {
    RedisSettings::new(&place.redis.as_ref().expect("a server").url(), PATIENT).expect("a URL")
}

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
        async move {
            let disk = inventory::clear_disk(&folder, limit).expect("cleared");
            (disk, inventory::clear_redis(&settings, limit).await.expect("cleared"))
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
