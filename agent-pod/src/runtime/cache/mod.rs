//! Results of stages by content: memory before Redis before disk, one computation for equal requests that are in flight
//! together.
//!
//! A key is the digest of the stage's whole specification, the model, the rendered inputs, versions of what was searched,
//! and the tenant. So a hit can only be what the same work would give again. A level that fails costs a little time and
//! never a document: it is a miss, and the work is done.
//!
//! Beside it, and only where a pipeline asks for it, [`semantic`] answers prompts that are nearly the same; what it gives is
//! never kept under the exact key.

pub mod counts;
pub mod disk;
pub mod erased;
pub mod inventory;
pub mod kept;
pub mod link;
pub mod orders;
pub mod redis;
pub mod selection;
pub mod semantic;

use std::{
    io,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use moka::future::Cache as Memory;

use self::{
    counts::{Counts, count},
    disk::Disk,
    inventory::Holding,
    kept::Kept,
    redis::Redis,
    semantic::{Near, Semantic},
};
pub use self::{
    counts::{LevelStatistics, Statistics},
    erased::ErasedResults,
    kept::{Output, Owner, Question},
    link::Settings as RedisSettings,
    selection::Selection,
};
use super::now;

/// Bytes of results in memory.
const MEMORY_BYTES: u64 = 64 << 20;

/// Longest time for what is on its way to the server, before it is looked for there.
pub const SETTLE: Duration = Duration::from_secs(5);

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

/// Where an answer of the cache comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Memory, or the work of another request for the same that was in flight.
    Memory,
    /// The shared server.
    Redis,
    /// The folder.
    Disk,
    /// The answer to a nearly equal prompt, wherever that was kept.
    Semantic,
}

impl Level {
    /// As records and results call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Disk => "disk",
            Self::Semantic => "semantic",
        }
    }
}

/// Work whose result is kept.
#[async_trait]
pub trait Work: Sync {
    /// Why it fails.
    type Error: Send + Sync + 'static;

    /// Whose the result is.
    fn owner(&self) -> Owner;

    /// Whether a kept result is still worth something: what it refers to is there.
    async fn usable(&self, kept: &Output) -> Result<bool, Self::Error>;

    /// Does the work.
    async fn compute(&self) -> Result<Output, Self::Error>;

    /// Whether a failure is of the one who did the work alone: others who asked for the same may do better.
    fn is_personal(&self, _: &Self::Error) -> bool {
        false
    }
}

/// The cache.
pub struct StageCache {
    memory: Memory<String, Arc<Kept>>,
    memory_counts: Counts,
    redis: Option<Redis>,
    redis_settings: Option<RedisSettings>,
    disk: Disk,
    semantic: Semantic,
    computed: AtomicU64,
}

impl StageCache {
    /// A cache with its disk level in `folder`.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let memory = Memory::builder()
            .max_capacity(MEMORY_BYTES)
            .weigher(|key: &String, kept: &Arc<Kept>| u32::try_from(key.len() + kept.weight()).unwrap_or(u32::MAX))
            .build();
        Ok(Self {
            memory,
            memory_counts: Counts::default(),
            redis: None,
            redis_settings: None,
            disk: Disk::open(folder)?,
            semantic: Semantic::open(folder)?,
            computed: AtomicU64::new(0),
        })
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

    /// The result under `key`, and which level had it. The work is done at most once for requests that meet here.
    pub async fn get_or_compute<W: Work>(
        &self,
        key: &str,
        levels: Levels,
        work: &W,
    ) -> Result<(Output, Option<Level>), Arc<W::Error>> {
        self.fill(key, levels, work, true).await
    }

    /// The result under `key`, where a level has it.
    pub async fn get<W: Work>(&self, key: &str, levels: Levels, work: &W) -> Result<Option<(Output, Level)>, W::Error> {
        if levels.memory {
            if let Some(kept) = self.memory.get(key).await {
                if may_be_used(&kept, levels, work).await? {
                    count(&self.memory_counts.hits);
                    return Ok(Some((kept.output.clone(), Level::Memory)));
                }
                self.memory.invalidate(key).await;
            }
            count(&self.memory_counts.misses);
        }
        let Some((kept, level)) = self.find(key, levels, work).await? else { return Ok(None) };
        if levels.memory {
            self.memory.insert(key.to_owned(), Arc::clone(&kept)).await;
            count(&self.memory_counts.stores);
        }
        Ok(Some((kept.output.clone(), level)))
    }

    /// Does the work after [`Self::get`] has found nothing, and keeps its result. Where the same was asked for meanwhile, it
    /// is done once.
    pub async fn compute<W: Work>(
        &self,
        key: &str,
        levels: Levels,
        work: &W,
    ) -> Result<(Output, Option<Level>), Arc<W::Error>> {
        self.fill(key, levels, work, false).await
    }

    /// `look`: whether the levels are asked before the work is done.
    async fn fill<W: Work>(
        &self,
        key: &str,
        levels: Levels,
        work: &W,
        look: bool,
    ) -> Result<(Output, Option<Level>), Arc<W::Error>> {
        if !levels.memory {
            let (kept, level) = self.find_or_compute(key, levels, work, look).await.map_err(Arc::new)?;
            return Ok((kept.output.clone(), level));
        }
        if let Some(kept) = self.memory.get(key).await
            && !may_be_used(&kept, levels, work).await.map_err(Arc::new)?
        {
            self.memory.invalidate(key).await;
        }
        let (found, is_own) = (OnceLock::new(), AtomicBool::new(false));
        let kept = loop {
            let fill = self.memory.try_get_with_by_ref(key, async {
                is_own.store(true, Ordering::Relaxed);
                if look {
                    count(&self.memory_counts.misses);
                }
                let (kept, level) = self.find_or_compute(key, levels, work, look).await?;
                count(&self.memory_counts.stores);
                // The only place that sets it, once a call.
                let _ = found.set(level);
                Ok(kept)
            });
            let filled: Result<Arc<Kept>, Arc<W::Error>> = fill.await;
            match filled {
                Ok(kept) => break kept,
                // Another did the work. It is asked for again at most as often as there are others: each does it once.
                Err(error) if !is_own.load(Ordering::Relaxed) && work.is_personal(&error) => {}
                Err(error) => return Err(error),
            }
        };
        let level = found.get().copied().unwrap_or_else(|| {
            count(&self.memory_counts.hits);
            Some(Level::Memory)
        });
        Ok((kept.output.clone(), level))
    }

    async fn find_or_compute<W: Work>(
        &self,
        key: &str,
        levels: Levels,
        work: &W,
        look: bool,
    ) -> Result<(Arc<Kept>, Option<Level>), W::Error> {
        if look && let Some((kept, level)) = self.find(key, levels, work).await? {
            return Ok((kept, Some(level)));
        }
        let output = work.compute().await?;
        count(&self.computed);
        let kept = Arc::new(Kept { made_at: now(), owner: work.owner(), output, question: None });
        if let Some(redis) = self.redis(levels) {
            redis.put(key, Arc::clone(&kept), levels.ttl);
        }
        if levels.disk {
            self.disk.put(key, Arc::clone(&kept)).await;
        }
        Ok((kept, None))
    }

    /// Looks through the levels below memory and gives what one has to those above it.
    async fn find<W: Work>(&self, key: &str, levels: Levels, work: &W) -> Result<Option<(Arc<Kept>, Level)>, W::Error> {
        let redis = self.redis(levels);
        if let Some(redis) = redis
            && let Some(kept) = redis.get(key).await
        {
            if may_be_used(&kept, levels, work).await? {
                count(&redis.counts().hits);
                return Ok(Some((Arc::new(kept), Level::Redis)));
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
                return Ok(Some((kept, Level::Disk)));
            }
            count(&self.disk.counts.misses);
        }
        Ok(None)
    }

    fn redis(&self, levels: Levels) -> Option<&Redis> {
        self.redis.as_ref().filter(|_| levels.redis)
    }

    /// The answer to a prompt that is nearly the same, and the number of such answers so far, which names this one.
    pub async fn nearest(&self, near: &Near, levels: Levels) -> Option<(Output, u64)> {
        let kept = self.semantic.nearest(near, levels, self.redis(levels)).await?;
        Some((kept.output.clone(), self.semantic.counts.hits.load(Ordering::Relaxed)))
    }

    /// Keeps a fresh result also as an answer to prompts that are nearly the same.
    pub async fn keep_near(&self, key: &str, near: &Near, (owner, output): (Owner, Output), levels: Levels) {
        let kept = Kept { made_at: now(), owner, output, question: Some(near.question.clone()) };
        self.semantic.keep(key, near, kept, levels, self.redis(levels)).await;
    }

    /// Counts a prompt that cannot be compared with others.
    pub fn not_comparable(&self) {
        count(&self.semantic.counts.skipped);
    }

    /// Counts a prompt whose comparison failed.
    pub fn not_compared(&self) {
        count(&self.semantic.counts.errors);
    }

    /// Counts an answer of the semantic part that was worked all the same.
    pub async fn checked(&self, wrong: bool, levels: Levels) {
        self.semantic.checked(wrong, levels, self.redis(levels)).await;
    }

    /// Forgets what is meant in this process and its folder; says what was in the folder. The shared server is cleared by
    /// [`inventory::clear_redis`], once for all processes.
    pub async fn forget(&self, selection: &Selection) -> io::Result<Holding> {
        // The folder first: memory takes from it. While a scope is read from it nothing is removed, nor the other way round.
        let _alone = self.semantic.loading().await;
        let (folder, meant) = (self.disk.folder().to_path_buf(), selection.clone());
        let cleared = tokio::task::spawn_blocking(move || inventory::clear_disk(&folder, &meant)).await;
        let meant: Vec<Arc<String>> =
            self.memory.iter().filter(|(_, kept)| selection.means(&kept.head())).map(|(key, _)| key).collect();
        for key in meant {
            self.memory.invalidate(key.as_str()).await;
        }
        self.semantic.forget(selection);
        cleared.map_err(io::Error::other).and_then(|cleared| cleared)
    }

    /// Removes what an erasure is about from this process's folder, then from its memory, which takes from there; looks again
    /// in both. The shared server comes before, by [`inventory::erase_redis`]: both take from it.
    pub async fn erase(&self, erased: &Arc<ErasedResults>) -> (io::Result<(u64, u64)>, (u64, u64)) {
        let _alone = self.semantic.loading().await;
        let (folder, meant) = (self.disk.folder().to_path_buf(), Arc::clone(erased));
        let on_disk = tokio::task::spawn_blocking(move || inventory::erase_disk(&folder, &meant)).await;
        let held = || self.memory.iter().filter(|(key, kept)| erased.means(key, &kept.head())).map(|(key, _)| key);
        let keys: Vec<Arc<String>> = held().collect();
        let mut removed = 0;
        for key in keys {
            removed += u64::from(self.memory.remove(key.as_str()).await.is_some());
        }
        removed += self.semantic.erase(erased);
        let left = held().count() as u64;
        (on_disk.map_err(io::Error::other).and_then(|on_disk| on_disk), (removed, left))
    }

    /// What lies in this process's folder.
    pub async fn on_disk(&self) -> io::Result<Holding> {
        let folder = self.disk.folder().to_path_buf();
        let counted = tokio::task::spawn_blocking(move || inventory::on_disk(&folder)).await;
        counted.map_err(io::Error::other).and_then(|counted| counted)
    }

    /// What is in this process's memory.
    pub fn in_memory(&self) -> Holding {
        let mut holding = Holding::default();
        self.memory.iter().for_each(|(key, kept)| holding.add((key.len() + kept.weight()) as u64));
        let (entries, bytes) = self.semantic.in_memory();
        holding.add_semantic(entries, bytes);
        holding
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
            semantic: self.semantic.statistics(),
        }
    }
}

/// Whether a kept result may be used.
async fn may_be_used<W: Work>(kept: &Kept, levels: Levels, work: &W) -> Result<bool, W::Error> {
    Ok(kept.is_fresh(levels.ttl, now()) && work.usable(&kept.output).await?)
}
