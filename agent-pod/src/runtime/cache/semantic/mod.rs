//! Answers to prompts that are nearly the same.
//!
//! What may answer each other at all lies in one *scope*: a digest of tenant, pipeline version, stage, models, the values of
//! the metadata that the pipeline names, and the template's own words. Within a scope an answer serves a prompt whose guard
//! (numbers, names, turning words) is equal and whose vector is near. Vectors are always scanned in memory; the folder keeps
//! them over a restart, Redis shares them.
//!
//! ```text
//! FOLDER/semantic/SCOPE/KEY      an answer with its question
//! FOLDER/semantic/shadow.json    how many were checked, how many of them were wrong
//! ```

pub mod guard;
pub mod index;
pub(super) mod redis;
pub mod shadow;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use self::{index::Index, shadow::Checked};
use super::{
    Levels,
    counts::{Counts, LevelStatistics, count},
    disk::{self, Bound},
    erased::ErasedResults,
    kept::{Kept, Question},
    redis::Redis,
    selection::Selection,
};
use crate::runtime::now;

/// Bytes of answers and vectors in memory; scopes that nobody asked for longest go first.
const MEMORY_BYTES: usize = 64 << 20;
/// Bytes that a scope takes up without any answer.
const EMPTY_SCOPE: usize = 512;
/// Bytes of answers in the folder; the oldest go first.
const DISK_BYTES: u64 = 256 << 20;

/// A prompt, the scope that it lies in, and what counts as near.
#[derive(Clone, Debug)]
pub struct Near {
    /// Digest of everything that must be equal.
    pub scope: String,
    /// Where the prompt lies.
    pub question: Question,
    /// Lowest cosine.
    pub similarity: f32,
    /// Longest age of an answer.
    pub ttl: Duration,
    /// Most answers of the scope.
    pub most: usize,
}

/// What the semantic part has done so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SemanticStatistics {
    /// Lookups after the exact part had nothing. Skipped are prompts that cannot be compared: too long, or outside of any
    /// scope.
    #[serde(flatten)]
    pub level: LevelStatistics,
    /// Hits that were worked all the same, and those whose answer would have been wrong.
    #[serde(flatten)]
    pub checked: Checked,
    /// The measured share of wrong answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong_ratio: Option<f64>,
}

/// The folder of the semantic part below that of the cache.
pub(super) fn folder(cache: &Path) -> PathBuf {
    cache.join("semantic")
}

/// The semantic part of a cache.
pub(super) struct Semantic {
    folder: PathBuf,
    bound: Bound,
    scopes: Mutex<Scopes>,
    /// Held while a folder is read, so that it is read once.
    loading: tokio::sync::Mutex<()>,
    pub(super) counts: Counts,
    checked: Mutex<Checked>,
}

#[derive(Default)]
struct Scopes {
    by_name: HashMap<String, Scope>,
    uses: u64,
}

#[derive(Default)]
struct Scope {
    index: Index,
    /// Whether its folder was read.
    loaded: bool,
    /// Until where its stream was read.
    seen: String,
    /// The last use of all.
    used: u64,
}

impl Semantic {
    /// The part below a cache's folder.
    pub(super) fn open(cache: &Path) -> io::Result<Self> {
        let (folder, bound) = (folder(cache), Bound::new(DISK_BYTES));
        bound.enforce(&folder)?;
        Ok(Self {
            folder,
            bound,
            scopes: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
            counts: Counts::default(),
            checked: Mutex::default(),
        })
    }

    /// An answer to nearly this prompt. Whatever fails is a miss.
    pub(super) async fn nearest(&self, near: &Near, levels: Levels, redis: Option<&Redis>) -> Option<Arc<Kept>> {
        if levels.disk {
            self.load(near).await;
        }
        if let Some(redis) = redis {
            self.catch_up(near, redis).await;
        }
        let now = now();
        let found = self
            .lock()
            .scope(&near.scope)
            .index
            .nearest(&near.question, near.similarity, |kept| kept.is_fresh(near.ttl, now));
        count(if found.is_some() { &self.counts.hits } else { &self.counts.misses });
        found
    }

    /// Keeps an answer for prompts that are nearly the same as its own.
    pub(super) async fn keep(&self, key: &str, near: &Near, kept: Kept, levels: Levels, redis: Option<&Redis>) {
        let kept = Arc::new(kept);
        let gone = self.lock().add(&near.scope, key, Arc::clone(&kept), near.most);
        count(&self.counts.stores);
        let Some(bytes) = kept.encode(key) else { return };
        if let Some(redis) = redis {
            redis::append(redis, near, key, &bytes);
        }
        if levels.disk {
            let (folder, bound, key) = (self.folder.clone(), self.bound.clone(), key.to_owned());
            let scope = folder.join(&near.scope);
            let written = tokio::task::spawn_blocking(move || {
                disk::write(&scope.join(key), &bytes)?;
                // They may have gone already.
                gone.iter().for_each(|key| drop(std::fs::remove_file(scope.join(key))));
                bound.wrote(&folder, bytes.len() as u64)
            });
            if let Err(error) = written.await.map_err(io::Error::other).and_then(|written| written) {
                count(&self.counts.errors);
                tracing::warn!(%error, "an answer could not be kept on disk");
            }
        }
    }

    /// Reads the folder of a scope, once. What cannot be read is not there.
    async fn load(&self, near: &Near) {
        let is_loaded = || self.lock().scope(&near.scope).loaded;
        if is_loaded() {
            return;
        }
        let _alone = self.loading.lock().await;
        if is_loaded() {
            return;
        }
        let (folder, ttl) = (self.folder.join(&near.scope), near.ttl);
        let read = tokio::task::spawn_blocking(move || read(&folder, ttl)).await;
        let read = read.map_err(io::Error::other).and_then(|read| read).unwrap_or_else(|error| {
            count(&self.counts.errors);
            tracing::warn!(%error, "kept answers could not be read from disk");
            Vec::new()
        });
        let mut scopes = self.lock();
        for (key, kept) in read {
            scopes.add(&near.scope, &key, Arc::new(kept), near.most);
        }
        scopes.scope(&near.scope).loaded = true;
    }

    /// Reads what other processes have shared since the last time.
    async fn catch_up(&self, near: &Near, redis: &Redis) {
        let seen = self.lock().scope(&near.scope).seen.clone();
        let Some((found, last)) = redis::since(redis, &near.scope, &seen).await else { return };
        let mut scopes = self.lock();
        for (key, kept) in found {
            scopes.add(&near.scope, &key, Arc::new(kept), near.most);
        }
        if let Some(last) = last {
            scopes.scope(&near.scope).seen = last;
        }
    }

    /// Counts an answer that was worked all the same.
    pub(super) async fn checked(&self, wrong: bool, levels: Levels, redis: Option<&Redis>) {
        {
            let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
            *checked = checked.plus(wrong);
        }
        if let Some(redis) = redis {
            redis::checked(redis, wrong);
        }
        if levels.disk {
            let folder = self.folder.clone();
            let added = tokio::task::spawn_blocking(move || shadow::add(&folder, wrong)).await;
            if let Err(error) = added.map_err(io::Error::other).and_then(|added| added) {
                tracing::warn!(%error, "a checked answer could not be counted on disk");
            }
        }
    }

    /// While this is held, no folder is read.
    pub(super) async fn loading(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.loading.lock().await
    }

    /// Forgets what is meant, in memory.
    pub(super) fn forget(&self, selection: &Selection) {
        self.lock().by_name.values_mut().for_each(|scope| scope.index.forget(|kept| selection.means(&kept.head())));
    }

    /// Removes what an erasure is about from memory; how many there were.
    pub(super) fn erase(&self, erased: &ErasedResults) -> u64 {
        let removed = |scope: &mut Scope| scope.index.erase(|key, kept| erased.means(key, &kept.head())) as u64;
        self.lock().by_name.values_mut().map(removed).sum()
    }

    /// How many answers are in memory, and how large they are.
    pub(super) fn in_memory(&self) -> (u64, u64) {
        let scopes = self.lock();
        scopes.by_name.values().fold((0, 0), |(entries, bytes), scope| {
            (entries + scope.index.count() as u64, bytes + scope.index.weight() as u64)
        })
    }

    pub(super) fn statistics(&self) -> SemanticStatistics {
        let checked = *self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let level = LevelStatistics::from(&self.counts);
        SemanticStatistics { level, checked, wrong_ratio: checked.wrong_ratio() }
    }

    fn lock(&self) -> MutexGuard<'_, Scopes> {
        // A panic leaves at worst an answer less.
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scopes {
    fn scope(&mut self, name: &str) -> &mut Scope {
        self.uses += 1;
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.to_owned(), Scope::default());
        }
        let scope = self.by_name.get_mut(name).expect("it was there or was just added");
        scope.used = self.uses;
        scope
    }

    /// Adds an answer and keeps all of them within the memory; gives the keys of those that the scope has no place for.
    fn add(&mut self, name: &str, key: &str, kept: Arc<Kept>, most: usize) -> Vec<String> {
        let gone = self.scope(name).index.add(key, kept, most);
        self.fit(name, MEMORY_BYTES);
        gone
    }

    /// Scopes that were not asked for longest go whole: a part of one would look as if its folder had been read.
    fn fit(&mut self, name: &str, most: usize) {
        let weight =
            |scopes: &Self| scopes.by_name.values().map(|scope| scope.index.weight() + EMPTY_SCOPE).sum::<usize>();
        while weight(self) > most {
            let others = self.by_name.iter().filter(|(other, _)| *other != name);
            match others.min_by_key(|(_, scope)| scope.used).map(|(other, _)| other.clone()) {
                Some(other) => drop(self.by_name.remove(&other)),
                None => {
                    let gone = self.scope(name).index.forget_oldest(1);
                    if gone.is_empty() {
                        return;
                    }
                }
            }
        }
    }
}

/// The answers in a folder. Files that count no more are removed.
fn read(folder: &Path, ttl: Duration) -> io::Result<Vec<(String, Kept)>> {
    let files = match std::fs::read_dir(folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let (mut answers, now) = (Vec::new(), now());
    for file in files {
        let file = file?;
        // What is half-written begins with a dot.
        let Some(key) = file.file_name().into_string().ok().filter(|key| !key.starts_with('.')) else { continue };
        let kept = std::fs::read(file.path()).ok().and_then(|bytes| Kept::decode(&key, &bytes));
        match kept.filter(|kept| kept.question.is_some() && kept.is_fresh(ttl, now)) {
            Some(kept) => answers.push((key, kept)),
            // Another process may have removed it meanwhile.
            None => drop(std::fs::remove_file(file.path())),
        }
    }
    Ok(answers)
}
