//! Without Redis, and with one that does not answer.

use super::*;

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
    let place = Place { answer: Duration::from_secs(1), ..place };
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

/// Work during which the server begins to stand still.
struct Freezes<'a>(&'a RedisServer, Counted);

#[async_trait]
impl Work for Freezes<'_> {
    type Error = &'static str;

    fn owner(&self) -> Owner {
        self.1.owner()
    }

    async fn usable(&self, output: &Output) -> Result<bool, Self::Error> {
        self.1.usable(output).await
    }

    async fn compute(&self) -> Result<Output, Self::Error> {
        self.0.freeze();
        self.1.compute().await
    }
}

/// For longer than a connection and a store are waited for as a rule.
#[tokio::test]
async fn a_server_that_stands_still_is_waited_for_as_long_as_for_an_answer() {
    let Some(place) = Place::with_redis() else { return };
    let server = place.redis.as_ref().expect("a server");
    let thaw = async || {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        server.thaw();
    };
    server.freeze();
    let (cache, ()) = tokio::join!(place.open(), thaw());
    assert_eq!(cache.statistics().redis.expect("the level").breaker, Some("closed"), "the connection");
    let (levels, work) = (Levels { redis: true, ..NONE }, Freezes(server, Counted::new(Ok("text "))));
    cache.get_or_compute("key", levels, &work).await.expect("a result");
    tokio::join!(cache.settle(PATIENT), thaw());
    let redis = cache.statistics().redis.expect("the level");
    assert_eq!((redis.stores, redis.errors), (1, 0), "the store");
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
