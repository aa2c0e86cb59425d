//! Names of things that nobody refers to and that will be removed, written down among the records where all processes see
//! them. What a name means (a payload, a plan) is its owner's business.
//!
//! # The race
//! A payload is stored first and the record that names it is written second. Between the two, in any process, it looks like
//! one that nobody needs. And putting bytes that are there already stores nothing, so that the age of a payload says nothing
//! about who is about to name it.
//!
//! # Flow
//! ```text
//! sweeper:  condemn ───── a period passes ───── mark what records name ── begin_removal ── remove ── end_removal
//! writer:   keep ── look whether it is there, else store it ── write the record
//! ```
//! `condemn` creates a mark, `begin_removal` changes that mark and `keep` removes it, each by compare-and-set: of the last two
//! one fails.
//!
//! # Guarantee
//! Say a writer's `keep` returned at time K, and its record can be seen from R on, at most a period later. Then the record's
//! payload is there at R. For a removal needs a mark that was made a period before the marking began, at time M.
//! If the mark was made before K, `keep` has removed it, or has waited until the removal was over, and the writer stores the
//! payload anew. If it was made after K, then M is more than a period after K, so the record could be seen and named the
//! payload: it is not removed. Several sweepers change nothing about it, for they share the marks.
//!
//! # Assumptions
//! A writer's record follows its payload within the period (an hour, unless set otherwise), and clocks agree to within what
//! is left of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::{Error, Millis, Records, Result, Versioned};

/// Begins the keys.
const PREFIX: &str = "condemned/";
/// How long a removal that is under way is waited for: each takes a few calls of the store.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);
/// A removal that takes longer has lost its process; whoever sweeps next ends it. An erasure of a tenant removes thousands of
/// payloads together.
const ABANDONED_MILLIS: Millis = 900_000;
/// Tries of a change that others make too.
const TRIES: usize = 8;

/// The marks of a store.
#[derive(Clone)]
pub struct Condemned {
    records: Arc<dyn Records>,
}

/// A name that is condemned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The name.
    pub name: String,
    /// Since when; of one that is being removed, when that began.
    pub at: Millis,
    revision: u64,
    phase: Phase,
}

/// The right, and the duty, to remove what a name stands for.
#[derive(Debug)]
#[must_use = "until it is ended, nobody can store the thing again"]
pub struct Removal {
    /// The name.
    pub name: String,
    revision: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Condemned = 0,
    Removing = 1,
}

impl Mark {
    fn read(name: &str, found: &Versioned) -> Self {
        // Whatever is not ours is taken for the beginning of a removal that was abandoned long ago: that ends it.
        let (phase, at) = match found.bytes.split_first() {
            Some((0, at)) => (Phase::Condemned, at.first_chunk().map_or(0, |at| Millis::from_le_bytes(*at))),
            Some((_, at)) => (Phase::Removing, at.first_chunk().map_or(0, |at| Millis::from_le_bytes(*at))),
            None => (Phase::Removing, 0),
        };
        Self { name: name.to_owned(), at, revision: found.revision, phase }
    }

    /// Whether a process that is gone has begun to remove it.
    pub fn is_abandoned(&self, now: Millis) -> bool {
        self.phase == Phase::Removing && self.at.saturating_add(ABANDONED_MILLIS) <= now
    }

    /// Whether nobody has begun to remove it.
    pub fn is_waiting(&self) -> bool {
        self.phase == Phase::Condemned
    }
}

fn written(phase: Phase, at: Millis) -> Bytes {
    let mut bytes = vec![phase as u8];
    bytes.extend_from_slice(&at.to_le_bytes());
    bytes.into()
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

impl Condemned {
    /// The marks among these records.
    pub fn new(records: Arc<dyn Records>) -> Self {
        Self { records }
    }

    /// Whoever is about to refer to a thing says so before it looks whether the thing is there. Waits for a removal that is
    /// under way; afterwards the thing is gone.
    pub async fn keep(&self, name: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !self.keep_now(name).await? {
            if Instant::now() >= until {
                let source = format!("\"{name}\" is being removed; try again later").into();
                return Err(Error::Store { action: "keep what is to be stored", source });
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// As [`Self::keep`], without waiting: false while it is being removed.
    pub async fn keep_now(&self, name: &str) -> Result<bool> {
        for _ in 0..TRIES {
            let Some(found) = self.records.get(&key(name)).await? else { return Ok(true) };
            if !Mark::read(name, &found).is_waiting() {
                return Ok(false);
            }
            match self.records.remove(&key(name), found.revision).await {
                Ok(()) => return Ok(true),
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Marks a name, unless it is marked; whether that is new.
    pub async fn condemn(&self, name: &str, now: Millis) -> Result<bool> {
        match self.records.create(&key(name), written(Phase::Condemned, now)).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Marks of names that begin so, in order, after a name, at most so many.
    pub async fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Mark>> {
        let page = self.records.scan(&key(prefix), after.map(key).as_deref(), limit).await?;
        Ok(page.iter().map(|(key, found)| Mark::read(key.strip_prefix(PREFIX).unwrap_or(key), found)).collect())
    }

    /// Takes a mark away that was made in error.
    pub async fn acquit(&self, mark: &Mark) -> Result<()> {
        match self.records.remove(&key(&mark.name), mark.revision).await {
            Ok(()) | Err(Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// From now on nobody keeps it; `None` where somebody did, or removes it already.
    pub async fn begin_removal(&self, mark: &Mark, now: Millis) -> Result<Option<Removal>> {
        match self.records.update(&key(&mark.name), mark.revision, written(Phase::Removing, now)).await {
            Ok(revision) => Ok(Some(Removal { name: mark.name.clone(), revision })),
            Err(Error::Conflict { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Self::begin_removal`], whether it is marked or not: for who removes at once. Waits for another removal.
    pub async fn seize(&self, name: &str, now: Millis) -> Result<Removal> {
        let until = Instant::now() + PATIENCE;
        loop {
            let removing = written(Phase::Removing, now);
            let seized = match self.records.get(&key(name)).await? {
                None => self.records.create(&key(name), removing).await,
                Some(found) => {
                    let mark = Mark::read(name, &found);
                    if mark.is_waiting() || mark.is_abandoned(now) || Instant::now() >= until {
                        self.records.update(&key(name), found.revision, removing).await
                    } else {
                        sleep(LOOK).await;
                        continue;
                    }
                }
            };
            match seized {
                Ok(revision) => return Ok(Removal { name: name.to_owned(), revision }),
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The thing is removed, or stays after all: from now on it can be stored and kept again.
    pub async fn end_removal(&self, removal: Removal) -> Result<()> {
        match self.records.remove(&key(&removal.name), removal.revision).await {
            // Somebody took this removal for abandoned and ends it himself.
            Ok(()) | Err(Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
