//! Results of stages by content: memory before Redis before disk, one computation for equal requests that are in flight
//! together.
//!
//! A key is the digest of the stage's whole specification, the model, the rendered inputs, versions of what was searched,
//! and the tenant. So a hit can only be what the same work would give again. A level that fails costs a little time and
//! never a document: it is a miss, and the work is done.

mod counts;
mod disk;
pub mod inventory;
mod kept;
mod link;
mod redis;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io,
    path::Path,
    sync::{Arc, OnceLock, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use moka::future::Cache as Memory;

use self::{
    counts::{Counts, count},
    disk::Disk,
    kept::Kept,
    redis::Redis,
};
pub use self::{
    counts::{LevelStatistics, Statistics},
    kept::Output,
    link::Settings as RedisSettings,
};
use super::now;

/// Bytes of results in memory.
const MEMORY_BYTES: u64 = 64 << 20;

/// Longest time for what is on its way to the server, before it is looked for there.
const SETTLE: Duration = Duration::from_secs(5);

/// Which levels are used, and for how long a result counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// In the process.
    pub memory: bool,
    /// On the server that processes share; without one it is left out.
    pub redis: bool,
    /// In the folder.
    pub disk: bool,
    /// Longest age of a result.
    pub ttl: Duration,
}

impl Levels {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self.memory || self.redis || self.disk
    }
}

/// Work whose result is kept.
#[async_trait]
pub trait Work: Sync {
    /// Why it fails.
    type Error: Send + Sync + 'static;

    /// Whether a kept result is still worth something: what it refers to is there.
    async fn usable(&self, kept: &Output) -> Result<bool, Self::Error>;

    /// Does the work.
    async fn compute(&self) -> Result<Output, Self::Error>;
}

/// The cache.
pub struct StageCache {
    memory: Memory<String, Arc<Kept>>,
    memory_counts: Counts,
    redis: Option<Redis>,
    redis_settings: Option<RedisSettings>,
    disk: Disk,
    computed: AtomicU64,
}

/// Where a result comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Kept,
    Computed,
}

impl StageCache {
    /// A cache with its disk level in `folder`.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let memory = Memory::builder()
            .max_capacity(MEMORY_BYTES)
            .weigher(|key: &String, kept: &Arc<Kept>| u32::try_from(key.len() + kept.weight()).unwrap_or(u32::MAX))
            .build();
        let disk = Disk::open(folder)?;
        let (redis, redis_settings) = (None, None);
        let (memory_counts, computed) = (Counts::default(), AtomicU64::new(0));
        Ok(Self { memory, memory_counts, redis, redis_settings, disk, computed })
    }

    /// Adds the level on a server. Waits a moment for it to answer and goes on without it where it does not; it is tried
    /// again as long as the cache is used.
    pub async fn use_redis(&mut self, settings: RedisSettings) {
        self.redis_settings = Some(settings.clone());
        self.redis = Some(Redis::open(settings).await);
    }

    /// The server, where one is used.
    pub fn redis_settings(&self) -> Option<&RedisSettings> {
        self.redis_settings.as_ref()
    }

    /// Removes results from memory, and what is on its way to the server comes to rest; how many were there, and how many of
    /// all are not there any more.
    pub async fn forget(&self, keys: &BTreeSet<String>) -> (u64, u64) {
        self.settle(SETTLE).await;
        let (mut removed, mut absent) = (0, 0);
        for key in keys {
            removed += u64::from(self.memory.remove(key).await.is_some());
            absent += u64::from(!self.memory.contains_key(key));
        }
        (removed, absent)
    }

    /// The result under `key`, and whether the cache had it. The work is done at most once for requests that meet here.
    pub async fn get_or_compute<W: Work>(
        &self,
        key: &str,
        levels: Levels,
        work: &W,
    ) -> Result<(Output, bool), Arc<W::Error>> {
        if !levels.memory {
            let (kept, source) = self.find_or_compute(key, levels, work).await.map_err(Arc::new)?;
            return Ok((kept.output.clone(), source == Source::Kept));
        }
        if let Some(kept) = self.memory.get(key).await
            && !may_be_used(&kept, levels, work).await.map_err(Arc::new)?
        {
            self.memory.invalidate(key).await;
        }
        let found = OnceLock::new();
        let filled = self.memory.try_get_with_by_ref(key, async {
            count(&self.memory_counts.misses);
            let (kept, source) = self.find_or_compute(key, levels, work).await?;
            count(&self.memory_counts.stores);
            // The only place that sets it, once a call.
            let _ = found.set(source);
            Ok(kept)
        });
        let kept = filled.await?;
        let source = found.get().copied().unwrap_or_else(|| {
            count(&self.memory_counts.hits);
            Source::Kept
        });
        Ok((kept.output.clone(), source == Source::Kept))
    }

    /// Looks through the levels below memory, does the work where none has the result, and gives it to the levels above
    /// the one that had it.
    async fn find_or_compute<W: Work>(
        &self,
        key: &str,
        levels: Levels,
        work: &W,
    ) -> Result<(Arc<Kept>, Source), W::Error> {
        let redis = self.redis.as_ref().filter(|_| levels.redis);
        if let Some(redis) = redis
            && let Some(kept) = redis.get(key).await
        {
            if may_be_used(&kept, levels, work).await? {
                count(&redis.counts().hits);
                return Ok((Arc::new(kept), Source::Kept));
            }
            count(&redis.counts().misses);
        }
        if levels.disk
            && let Some(kept) = self.disk.get(key).await
        {
            if may_be_used(&kept, levels, work).await? {
                count(&self.disk.counts.hits);
                let kept = Arc::new(kept);
                if let Some(redis) = redis {
                    redis.put(key, Arc::clone(&kept), levels.ttl);
                }
                return Ok((kept, Source::Kept));
            }
            count(&self.disk.counts.misses);
        }
        let output = work.compute().await?;
        count(&self.computed);
        let kept = Arc::new(Kept { made_at: now(), output });
        if let Some(redis) = redis {
            redis.put(key, Arc::clone(&kept), levels.ttl);
        }
        if levels.disk {
            self.disk.put(key, Arc::clone(&kept)).await;
        }
        Ok((kept, Source::Computed))
    }

    /// Waits until what was made so far is kept, at most so long.
    pub async fn settle(&self, longest: Duration) {
        if let Some(redis) = &self.redis {
            redis.settle(longest).await;
        }
    }

    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            computed: self.computed.load(Ordering::Relaxed),
            memory: LevelStatistics::from(&self.memory_counts),
            redis: self.redis.as_ref().map(Redis::statistics),
            disk: LevelStatistics::from(&self.disk.counts),
        }
    }
}

/// Whether a kept result may be used.
async fn may_be_used<W: Work>(kept: &Kept, levels: Levels, work: &W) -> Result<bool, W::Error> {
    let fresh = u128::from(now().saturating_sub(kept.made_at)) <= levels.ttl.as_millis();
    Ok(fresh && work.usable(&kept.output).await?)
}
