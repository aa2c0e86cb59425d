//! Results of stages by content: memory before disk, one computation for equal requests that are in flight together.
//!
//! A key is the digest of the stage's whole specification, the model, the rendered inputs, versions of what was searched,
//! and the tenant. So a hit can only be what the same work would give again.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::future::Cache as Memory;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::now;

/// Bytes of results in memory.
const MEMORY_BYTES: u64 = 64 << 20;
/// Bytes of results on disk; the oldest go first, at the start.
const DISK_BYTES: u64 = 1 << 30;

/// What a stage made, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Output {
    /// The output.
    pub value: Value,
    /// Payloads that the output names; without them it is worth nothing.
    #[serde(default)]
    pub references: Vec<String>,
    /// Tokens read.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens written.
    #[serde(default)]
    pub completion_tokens: u64,
    /// The model, where one was used.
    #[serde(default)]
    pub model: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    made_at: u64,
    digest: String,
    output: String,
}

/// Which levels are used, and for how long a result counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// In the process.
    pub memory: bool,
    /// In the folder.
    pub disk: bool,
    /// Longest age of a result.
    pub ttl: Duration,
}

/// Hits and misses.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Answered from memory, or by another request that computed the same.
    pub memory_hits: AtomicU64,
    /// Answered from disk.
    pub disk_hits: AtomicU64,
    /// Computed.
    pub misses: AtomicU64,
}

/// The cache.
pub struct StageCache {
    folder: PathBuf,
    memory: Memory<String, Arc<(u64, Output)>>,
    /// Counts.
    pub statistics: Statistics,
}

impl StageCache {
    /// A cache with its disk level in `folder`.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        prune(folder, DISK_BYTES)?;
        let memory = Memory::builder()
            .max_capacity(MEMORY_BYTES)
            .weigher(|key: &String, entry: &Arc<(u64, Output)>| {
                // Length of the JSON would be exact; walking it is cheaper and near enough.
                u32::try_from(key.len() + 64 + weight(&entry.1.value)).unwrap_or(u32::MAX)
            })
            .build();
        Ok(Self { folder: folder.to_path_buf(), memory, statistics: Statistics::default() })
    }

    /// The result under `key`, and whether the cache had it. `compute` runs at most once for requests that meet here.
    pub async fn get_or_compute<E, F>(&self, key: &str, levels: Levels, compute: F) -> Result<(Output, bool), Arc<E>>
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<Output, E>> + Send,
    {
        let fresh = |made_at: u64| u128::from(now().saturating_sub(made_at)) <= levels.ttl.as_millis();
        if !levels.memory {
            if levels.disk
                && let Some((made_at, output)) = self.read(key).await
                && fresh(made_at)
            {
                self.statistics.disk_hits.fetch_add(1, Ordering::Relaxed);
                return Ok((output, true));
            }
            let output = compute.await.map_err(Arc::new)?;
            self.statistics.misses.fetch_add(1, Ordering::Relaxed);
            if levels.disk {
                self.write(key, now(), &output).await;
            }
            return Ok((output, false));
        }
        if let Some(entry) = self.memory.get(key).await
            && !fresh(entry.0)
        {
            self.memory.invalidate(key).await;
        }
        let computed = AtomicBool::new(false);
        let from_disk = AtomicBool::new(false);
        let entry = self
            .memory
            .try_get_with_by_ref(key, async {
                if levels.disk
                    && let Some((made_at, output)) = self.read(key).await
                    && fresh(made_at)
                {
                    from_disk.store(true, Ordering::Relaxed);
                    return Ok(Arc::new((made_at, output)));
                }
                computed.store(true, Ordering::Relaxed);
                let output = compute.await?;
                let made_at = now();
                if levels.disk {
                    self.write(key, made_at, &output).await;
                }
                Ok(Arc::new((made_at, output)))
            })
            .await?;
        let computed = computed.into_inner();
        let counter = match (computed, from_disk.into_inner()) {
            (true, _) => &self.statistics.misses,
            (false, true) => &self.statistics.disk_hits,
            (false, false) => &self.statistics.memory_hits,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok((entry.1.clone(), !computed))
    }

    /// Forgets a result that turned out to be of no use.
    pub async fn forget(&self, key: &str) {
        self.memory.invalidate(key).await;
        // It may never have been there.
        let _ = tokio::fs::remove_file(self.path(key)).await;
    }

    fn path(&self, key: &str) -> PathBuf {
        let (folder, name) = key.split_at(2.min(key.len()));
        self.folder.join(folder).join(name)
    }

    async fn read(&self, key: &str) -> Option<(u64, Output)> {
        let bytes = tokio::fs::read(self.path(key)).await.ok()?;
        let stored: OnDisk = serde_json::from_slice(&bytes).ok()?;
        if blake3::hash(stored.output.as_bytes()).to_hex().as_str() != stored.digest {
            return None;
        }
        Some((stored.made_at, serde_json::from_str(&stored.output).ok()?))
    }

    /// A result that cannot be kept costs only time later.
    async fn write(&self, key: &str, made_at: u64, output: &Output) {
        let path = self.path(key);
        let written = async {
            let output = serde_json::to_string(output)?;
            let digest = blake3::hash(output.as_bytes()).to_hex().to_string();
            let bytes = serde_json::to_vec(&OnDisk { made_at, digest, output })?;
            let folder = path.parent().unwrap_or(&self.folder).to_path_buf();
            tokio::task::spawn_blocking(move || {
                std::fs::create_dir_all(&folder)?;
                let mut file = tempfile::NamedTempFile::new_in(&folder)?;
                io::Write::write_all(&mut file, &bytes)?;
                file.persist(&path).map_err(|error| error.error)?;
                io::Result::Ok(())
            })
            .await
            .map_err(io::Error::other)?
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "a result could not be kept on disk; it will be computed again");
        }
    }
}

fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 16,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 16,
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + weight(value) + 16).sum::<usize>() + 16,
        Value::Null | Value::Bool(_) | Value::Number(_) => 16,
    }
}

/// Removes the files that were written longest ago until the rest fits.
fn prune(folder: &Path, limit: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for shard in std::fs::read_dir(folder)? {
        let shard = shard?.path();
        if !shard.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(shard)? {
            let file = file?;
            let metadata = file.metadata()?;
            files.push((metadata.modified()?, metadata.len(), file.path()));
        }
    }
    let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
    files.sort();
    for (_, size, path) in files {
        if total <= limit {
            break;
        }
        std::fs::remove_file(path)?;
        total -= size;
    }
    Ok(())
}
