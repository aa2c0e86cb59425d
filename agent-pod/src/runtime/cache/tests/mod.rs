//! What every level promises, on each of them; then how they work together, and without Redis.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicUsize},
    time::Instant,
};

use serde_json::json;
use tempfile::TempDir;

use super::{semantic::shadow::Checked, *};

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

    fn owner(&self) -> Owner {
        Owner::new("tenant", "payload")
    }

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
    let (output, level) = cache.get_or_compute(key, levels, work).await.expect("a result");
    cache.settle(PATIENT).await;
    (output, level.is_some())
}

/// A result of one text.
pub(super) fn kept(made_at: u64, text: &str) -> Kept {
    let output = output(text);
    Kept { made_at, owner: Owner::new("tenant", "payload"), output, question: None }
}

fn output(text: &str) -> Output {
    let value = json!({ "text": text });
    Output { value, references: Vec::new(), prompt_tokens: 0, completion_tokens: 0, model: None }
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
        assert!(asked.expect("a result").1.is_none());
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
        assert!(asked.expect("a result").1.is_none());
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

/// A prompt at so many degrees.
fn near(scope: &str, guard: u8, degrees: f32) -> Near {
    let vector = vec![degrees.to_radians().cos(), degrees.to_radians().sin()];
    let question = Question { guard: [guard; 16], vector };
    Near { scope: scope.to_owned(), question, similarity: 0.95, ttl: HOUR, most: 3 }
}

/// The text that a cache answers a prompt with.
async fn nearest(cache: &StageCache, near: &Near, levels: Levels) -> Option<String> {
    let (output, _) = cache.nearest(near, levels).await?;
    Some(output.value["text"].as_str().expect("a text").to_owned())
}

async fn keep(cache: &StageCache, near: &Near, text: &str, levels: Levels) {
    let owner = Owner::new("tenant", "payload");
    cache.keep_near(text, near, (owner, output(text)), levels).await;
    cache.settle(PATIENT).await;
}

#[tokio::test]
async fn a_nearly_equal_prompt_is_answered_within_its_scope() {
    for (place, levels) in each_alone() {
        let cache = place.open().await;
        keep(&cache, &near("scope", 0, 0.0), "first", levels).await;
        keep(&cache, &near("scope", 0, 90.0), "second", levels).await;
        assert_eq!(nearest(&cache, &near("scope", 0, 10.0), levels).await.as_deref(), Some("first"));
        assert_eq!(nearest(&cache, &near("scope", 0, 80.0), levels).await.as_deref(), Some("second"));
        assert_eq!(nearest(&cache, &near("scope", 0, 45.0), levels).await, None, "too far from both");
        assert_eq!(nearest(&cache, &near("scope", 1, 0.0), levels).await, None, "another guard");
        assert_eq!(nearest(&cache, &near("other", 0, 0.0), levels).await, None, "another scope");
        let counts = cache.statistics().semantic.level;
        assert_eq!((counts.hits, counts.misses, counts.stores, counts.errors), (2, 3, 2, 0), "{levels:?}");
    }
}

#[tokio::test]
async fn a_new_process_finds_answers_on_disk_and_on_the_server() {
    for (place, levels) in each_alone() {
        let (first, running) = (place.open().await, place.open().await);
        assert_eq!(nearest(&running, &near("scope", 0, 0.0), levels).await, None);
        keep(&first, &near("scope", 0, 0.0), "answer", levels).await;
        let found = nearest(&place.open().await, &near("scope", 0, 10.0), levels).await;
        assert_eq!(found.is_some(), !levels.memory, "{levels:?}");
        // One that has looked before sees what was added since, where it is shared.
        assert_eq!(nearest(&running, &near("scope", 0, 10.0), levels).await.is_some(), levels.redis, "{levels:?}");
    }
}

#[tokio::test]
async fn a_scope_holds_no_more_than_it_may_everywhere() {
    for (place, levels) in each_alone() {
        let cache = place.open().await;
        for n in 0..5_u8 {
            // Answers of one millisecond have no order.
            tokio::time::sleep(Duration::from_millis(2)).await;
            keep(&cache, &near("scope", 0, f32::from(n) * 60.0), &n.to_string(), levels).await;
        }
        let fresh = place.open().await;
        for cache in [&cache, &fresh].into_iter().take(if levels.memory { 1 } else { 2 }) {
            for n in 0..5_u8 {
                let found = nearest(cache, &near("scope", 0, f32::from(n) * 60.0), levels).await;
                assert_eq!(found.is_some(), n >= 2, "{n} of {levels:?}");
            }
        }
        let holding = match (levels.disk, levels.redis) {
            (true, _) => cache.on_disk().await.expect("counted"),
            (_, true) => inventory::on_redis(&settings(&place)).await.expect("counted"),
            _ => cache.in_memory(),
        };
        assert_eq!((holding.semantic.entries, holding.entries), (3, 3), "{levels:?}");
    }
}

#[tokio::test]
async fn an_answer_serves_others_no_longer_than_its_time() {
    for (place, levels) in each_alone() {
        let cache = place.open().await;
        let short = Near { ttl: Duration::from_millis(20), ..near("scope", 0, 0.0) };
        keep(&cache, &short, "answer", levels).await;
        tokio::time::timeout(PATIENT, async {
            while nearest(&cache, &short, levels).await.is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("it counts no more");
        assert_eq!(nearest(&place.open().await, &short, levels).await, None, "{levels:?}");
    }
}

#[tokio::test]
async fn damaged_and_foreign_answers_are_misses() {
    let Some(mut place) = Place::with_redis() else { return };
    let levels = Levels { redis: true, disk: true, ..NONE };
    keep(&place.open().await, &near("scope", 0, 0.0), "answer", levels).await;
    let file = place.folder.path().join("cache/semantic/scope/answer");
    let whole = std::fs::read(&file).expect("it is there");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("written");
    let redis = place.redis();
    for command in [
        "DEL docket:semantic:1:scope",
        "XADD docket:semantic:1:scope * k answer v DKC2",
        "XADD docket:semantic:1:scope * something else",
    ] {
        redis.command(command).expect("an answer");
    }
    let cache = place.open().await;
    assert_eq!(nearest(&cache, &near("scope", 0, 0.0), levels).await, None);
    assert!(!file.exists(), "what is worth nothing goes");
    keep(&cache, &near("scope", 0, 0.0), "again", levels).await;
    assert_eq!(nearest(&place.open().await, &near("scope", 0, 0.0), levels).await.as_deref(), Some("again"));
    place.redis().command("DEL docket:semantic:1:other").expect("an answer");
    place.redis().command("SET docket:semantic:1:other text").expect("an answer");
    assert_eq!(nearest(&cache, &near("other", 0, 0.0), levels).await, None);
    let redis = cache.statistics().redis.expect("the level");
    assert_eq!((redis.errors, redis.breaker), (0, Some("closed")), "{redis:?}");
}

#[tokio::test]
async fn without_its_server_the_semantic_part_answers_from_what_it_knows() {
    let Some(mut place) = Place::with_redis() else { return };
    let levels = Levels { memory: true, redis: true, ..NONE };
    let cache = place.open().await;
    keep(&cache, &near("scope", 0, 0.0), "answer", levels).await;
    place.redis().kill();
    for _ in 0..10 {
        assert_eq!(nearest(&cache, &near("scope", 0, 0.0), levels).await.as_deref(), Some("answer"));
        keep(&cache, &near("scope", 0, 90.0), "another", levels).await;
    }
    let statistics = cache.statistics();
    assert!((5..=6).contains(&statistics.redis.expect("the level").errors), "then it is left out");
    assert_eq!(statistics.semantic.level.errors, 0);
}

#[tokio::test]
async fn checked_answers_are_counted_for_all_processes() {
    let Some(place) = Place::with_redis() else { return };
    let levels = Levels { redis: true, disk: true, ..NONE };
    for wrong in [false, true, false] {
        let cache = place.open().await;
        cache.checked(wrong, levels).await;
        cache.settle(PATIENT).await;
        assert_eq!(cache.statistics().semantic.checked, Checked { checked: 1, wrong: u64::from(wrong) });
        assert_eq!(cache.statistics().semantic.wrong_ratio, Some(f64::from(u8::from(wrong))));
    }
    let all = Checked { checked: 3, wrong: 1 };
    assert_eq!(inventory::checked_on_disk(&place.folder.path().join("cache")), all);
    assert_eq!(inventory::checked_on_redis(&settings(&place)).await.expect("counted"), all);
}

#[tokio::test]
async fn processes_forget_what_they_are_told_at_once_or_when_they_come_back() {
    use super::orders;
    use crate::runtime::stop::Stop;

    let ports = queue::memory::open();
    let (here, away) = (Place::new(), Place::new());
    let levels = Levels { memory: true, disk: true, ..NONE };
    let work = Counted::new(Ok("text "));
    let cache = here.open().await;
    ask(&cache, "key", levels, &work).await;
    ask(&away.open().await, "key", levels, &work).await;
    let stop = Stop::default();
    let told = async {
        // The listener is there when it answers.
        let there = tokio::time::timeout(PATIENT, async {
            loop {
                let answers = orders::tell(&ports).await.expect("asked");
                if let [answer] = answers.as_slice() {
                    break answer.clone();
                }
            }
        });
        let there = there.await.expect("it answers");
        assert_eq!((there.process.as_str(), there.done), ("worker-1", true));
        assert_eq!(there.disk.map(|disk| disk.entries), Some(1));
        assert_eq!(there.memory.map(|memory| memory.entries), Some(1));
        let answers = orders::forget(&ports, &Selection::of(Some("tenant"), None)).await.expect("told");
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].done, answers[0].disk.map(|disk| disk.entries)), (true, Some(1)));
        stop.cordon();
    };
    let listening = orders::listen(&cache, &ports, "worker-1", (HashSet::new(), stop.clone()));
    tokio::join!(told, listening);
    assert!(!ask(&cache, "key", levels, &work).await.1);
    // The other one comes back.
    let cache = away.open().await;
    let obeyed = orders::catch_up(&cache, ports.records.as_ref()).await;
    assert_eq!((obeyed.len(), cache.on_disk().await.expect("counted").entries), (1, 0));
    assert!(!ask(&cache, "key", levels, &work).await.1);
    // An order says nothing of what is made after it.
    orders::catch_up(&cache, ports.records.as_ref()).await;
    assert!(ask(&cache, "key", levels, &work).await.1);
}
