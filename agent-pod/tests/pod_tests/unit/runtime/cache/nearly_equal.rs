//! Answers to nearly equal prompts.

use super::*;

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
