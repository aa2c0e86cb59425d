//! Caches of several processes in folders and at a server of their own, and work that counts how often it is done.

mod disk;
mod erased;
mod kept;
mod levels;
mod link;
mod nearly_equal;
mod redis;
mod removal;
mod selection;
mod semantic;
mod server;
mod told;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use agent_pod::runtime::cache::{
    Level, Levels, Output, Owner, Question, RedisSettings, Selection, StageCache, Work, inventory,
    kept::Kept,
    semantic::{Near, shadow::Checked},
};
use async_trait::async_trait;
use serde_json::json;
use tempfile::TempDir;

use crate::support::redis_server::RedisServer;

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

fn settings(place: &Place) -> RedisSettings {
    RedisSettings::new(&place.redis.as_ref().expect("a server").url(), PATIENT).expect("a URL")
}

/// A prompt at so many degrees.
fn near(scope: &str, guard: u8, degrees: f32) -> Near {
    let vector = vec![degrees.to_radians().cos(), degrees.to_radians().sin()];
    let question = Question { guard: [guard; 16], vector };
    Near { scope: scope.to_owned(), question, similarity: 0.95, ttl: HOUR, most: 3 }
}
