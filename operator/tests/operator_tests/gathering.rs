//! What comes one after the other about one object is looked at once.

use std::{convert::Infallible, time::Duration};

use futures::{StreamExt, stream};
use operator::gathering::gathered;
use tokio::time::Instant;

const PAUSE: Duration = Duration::from_millis(300);

/// Names at the given milliseconds; then nothing more, without an end.
fn named(words: Vec<(u64, &'static str)>) -> impl futures::Stream<Item = Result<&'static str, Infallible>> + Send {
    let began = Instant::now();
    let words = stream::iter(words).then(move |(at, name)| async move {
        tokio::time::sleep_until(began + Duration::from_millis(at)).await;
        Ok(name)
    });
    words.chain(stream::pending())
}

/// What was passed on within so many milliseconds, and when.
async fn passed(words: Vec<(u64, &'static str)>, within: u64) -> Vec<(u64, &'static str)> {
    let began = Instant::now();
    let mut stream = std::pin::pin!(gathered(named(words), PAUSE));
    let mut all = Vec::new();
    let end = began + Duration::from_millis(within);
    while let Ok(Some(Ok(name))) = tokio::time::timeout_at(end, stream.next()).await {
        all.push((u64::try_from(began.elapsed().as_millis()).expect("short") / 100 * 100, name));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn words_about_one_object_are_one_after_the_pause_of_the_first() {
    assert_eq!(passed(vec![(0, "a"), (100, "a"), (250, "a")], 2_000).await, [(300, "a")]);
}

#[tokio::test(start_paused = true)]
async fn objects_do_not_wait_for_each_other() {
    assert_eq!(passed(vec![(0, "a"), (100, "b"), (200, "a")], 2_000).await, [(300, "a"), (400, "b")]);
}

#[tokio::test(start_paused = true)]
async fn a_word_after_the_pause_is_passed_on_as_well() {
    assert_eq!(passed(vec![(0, "a"), (500, "a")], 2_000).await, [(300, "a"), (800, "a")]);
}

#[tokio::test(start_paused = true)]
async fn words_without_end_do_not_put_it_off_for_ever() {
    let words = (0..100).map(|word| (word * 20, "a")).collect();
    let all = passed(words, 2_000).await;
    assert!((5..=7).contains(&all.len()), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn errors_pass_at_once_and_lose_nothing() {
    let began = Instant::now();
    let words = stream::iter([Ok("a"), Err("interrupted")]).chain(stream::pending());
    let mut stream = std::pin::pin!(gathered(words, PAUSE));
    assert_eq!(stream.next().await, Some(Err("interrupted")));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(stream.next().await, Some(Ok("a")));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_triggers() {
    let mut stream = std::pin::pin!(gathered(stream::iter([Ok::<_, Infallible>("a")]), PAUSE));
    assert_eq!(stream.next().await, None);
}
