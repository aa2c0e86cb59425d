//! Answers of each level of the cache: how long a stage waits for one, without the work around it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde_json::json;

use super::measure::{self, Measured};
use crate::{
    Error, Result,
    commands::cache::settings,
    runtime::cache::{Level, Levels, Output, Owner, Question, RedisSettings, StageCache, Work, semantic::Near},
};

const SUITE: &str = "cache";
/// Results that are kept, and asked for once a round.
const RESULTS: usize = 1_000;
/// Letters of one: a page of text, which is not compressed to nothing.
const LETTERS: usize = 2_000;
/// As all-MiniLM-L6-v2 makes them.
const DIMENSIONS: usize = 384;
/// Longest that Redis is waited for: what it takes is measured, so it may take longer than a stage would wait.
const ANSWER: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(3_600);

pub(super) async fn run(redis: Option<&str>, rounds: usize) -> Result<Vec<Measured>> {
    let redis = redis.map(|url| settings(url, ANSWER)).transpose()?;
    let mut measured = Vec::new();
    let levels = [("memory", Level::Memory), ("disk", Level::Disk)].into_iter();
    for (name, level) in levels.chain(redis.is_some().then_some(("redis", Level::Redis))) {
        let folder = tempfile::tempdir().map_err(Error::system("make a folder"))?;
        let cache = open(folder.path(), redis.as_ref()).await?;
        let what = format!("a result of 2 KB from {name}");
        measured.push(exact(&cache, (&what, level), rounds).await?);
    }
    let folder = tempfile::tempdir().map_err(Error::system("make a folder"))?;
    measured.push(near(&open(folder.path(), None).await?, rounds).await?);
    Ok(measured)
}

async fn open(folder: &Path, redis: Option<&RedisSettings>) -> Result<StageCache> {
    let mut cache = StageCache::open(folder).map_err(Error::system("open a cache"))?;
    if let Some(settings) = redis {
        cache.use_redis(settings.clone()).await;
    }
    Ok(cache)
}

/// Only one level, so that nothing above it answers.
async fn exact(cache: &StageCache, (name, level): (&str, Level), rounds: usize) -> Result<Measured> {
    let levels =
        Levels { memory: level == Level::Memory, redis: level == Level::Redis, disk: level == Level::Disk, ttl: TTL };
    // Other measurements may have left theirs on the server.
    let run = uuid::Uuid::now_v7();
    let results: Vec<Kept> = (0..RESULTS).map(|n| Kept { key: key(&format!("{run} {n}")), text: text(n) }).collect();
    for result in &results {
        // It cannot fail.
        let _ = cache.get_or_compute(&result.key, levels, result).await;
        // Stores wait in a short queue.
        cache.settle(ANSWER).await;
    }
    let (mut microseconds, mut cpu) = (Vec::new(), measure::cpu_seconds());
    for round in 0..=rounds {
        if round == 1 {
            (microseconds, cpu) = (Vec::new(), measure::cpu_seconds());
        }
        for result in &results {
            let begun = Instant::now();
            let Ok(found) = cache.get(&result.key, levels, result).await;
            microseconds.push(begun.elapsed().as_secs_f64() * 1_000_000.0);
            if found.is_none() {
                return Err(Error::system("measure the cache")(format!(
                    "{} did not have what it was given",
                    level.word()
                )));
            }
        }
    }
    Ok(Measured::of(SUITE, name, "µs", microseconds, measure::cpu_seconds() - cpu))
}

/// Vectors that point anywhere: a scan takes the same time whatever they are.
async fn near(cache: &StageCache, rounds: usize) -> Result<Measured> {
    let levels = Levels { memory: true, redis: false, disk: false, ttl: TTL };
    let owner = Owner::new("bench", "bench");
    let asked: Vec<Near> = (0..RESULTS)
        .map(|n| Near {
            scope: "bench".to_owned(),
            question: Question { guard: [0; 16], vector: vector(n) },
            similarity: 0.95,
            ttl: TTL,
            most: RESULTS,
        })
        .collect();
    for (n, near) in asked.iter().enumerate() {
        cache.keep_near(&key(&n.to_string()), near, (owner, output(&text(n))), levels).await;
    }
    let (mut microseconds, mut cpu) = (Vec::new(), measure::cpu_seconds());
    for round in 0..=rounds {
        if round == 1 {
            (microseconds, cpu) = (Vec::new(), measure::cpu_seconds());
        }
        for near in &asked {
            let begun = Instant::now();
            let found = cache.nearest(near, levels).await;
            microseconds.push(begun.elapsed().as_secs_f64() * 1_000_000.0);
            if found.is_none() {
                return Err(Error::system("measure the cache")("a prompt did not find its own answer"));
            }
        }
    }
    let name = "the nearest of 1,000 prompts, its vector known";
    Ok(Measured::of(SUITE, name, "µs", microseconds, measure::cpu_seconds() - cpu))
}

/// A result that is there already.
struct Kept {
    key: String,
    text: String,
}

#[async_trait]
impl Work for Kept {
    type Error = std::convert::Infallible;

    fn owner(&self) -> Owner {
        Owner::new("bench", &self.key)
    }

    async fn usable(&self, _: &Output) -> std::result::Result<bool, Self::Error> {
        Ok(true)
    }

    async fn compute(&self) -> std::result::Result<Output, Self::Error> {
        Ok(output(&self.text))
    }
}

fn output(text: &str) -> Output {
    let value = json!({"text": text, "finish": "stop"});
    Output { value, references: Vec::new(), prompt_tokens: 0, completion_tokens: 0, model: None }
}

fn key(name: &str) -> String {
    blake3::hash(name.as_bytes()).to_hex().to_string()
}

fn text(n: usize) -> String {
    (0..).flat_map(|part: usize| key(&format!("{n} {part}")).into_bytes()).take(LETTERS).map(char::from).collect()
}

fn vector(n: usize) -> Vec<f32> {
    let mut bytes = vec![0; DIMENSIONS];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut bytes);
    let values: Vec<f32> = bytes.into_iter().map(|byte| f32::from(byte) - 127.5).collect();
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.into_iter().map(|value| value / length).collect()
}
