//! Vectors that were computed before, by model and text: many documents share paragraphs, and a second run shares all.
//!
//! The same weights with another tokenizer, pooling or limit are another model.
//! The file is a log of fixed-size entries (16 bytes of key, then the vector), read whole at the start and appended to. A
//! torn tail is cut off. It can be deleted at any time: everything in it can be computed again.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Most vectors that are kept; about 300 MB of 384 dimensions.
const MAX_ENTRIES: usize = 200_000;
const KEY: usize = 16;

/// Vectors of one model.
pub struct Vectors {
    path: PathBuf,
    dimensions: usize,
    inner: Mutex<Inner>,
}

struct Inner {
    known: HashMap<[u8; KEY], Box<[f32]>>,
    log: File,
}

impl Vectors {
    /// Opens the log of a model in a folder.
    pub fn open(folder: &Path, model_digest: &str, dimensions: usize) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let name = format!("vectors-{}.bin", model_digest.get(..16).unwrap_or(model_digest));
        let path = folder.join(name);
        let mut log = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        let entry = KEY + 4 * dimensions;
        let whole = bytes.len() - bytes.len() % entry;
        if whole < bytes.len() {
            log.set_len(whole as u64)?;
        }
        let known = bytes[..whole].chunks_exact(entry).filter_map(|entry| {
            let (key, vector) = entry.split_first_chunk::<KEY>()?;
            let vector = vector.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            Some((*key, vector))
        });
        Ok(Self { path, dimensions, inner: Mutex::new(Inner { known: known.take(MAX_ENTRIES).collect(), log }) })
    }

    /// The vector of a text, if it is known.
    pub fn get(&self, text: &str) -> Option<Vec<f32>> {
        let inner = self.inner.lock().ok()?;
        inner.known.get(&key(text)).map(|vector| vector.to_vec())
    }

    /// Keeps vectors. Failing to write them to disk costs only time later, so it is logged and nothing else.
    pub fn put<'a>(&self, entries: impl IntoIterator<Item = (&'a str, &'a [f32])>) {
        let Ok(mut inner) = self.inner.lock() else { return };
        let mut bytes = Vec::new();
        for (text, vector) in entries {
            if vector.len() != self.dimensions || inner.known.len() >= MAX_ENTRIES {
                continue;
            }
            let key = key(text);
            if inner.known.insert(key, vector.into()).is_none() {
                bytes.extend_from_slice(&key);
                vector.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
            }
        }
        if let Err(error) = inner.log.write_all(&bytes) {
            tracing::warn!(%error, "vectors could not be kept; they will be computed again");
        }
    }

    /// Forgets all vectors and empties the file; how many there were.
    pub fn clear(&self) -> io::Result<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.log.set_len(0)?;
        inner.log.sync_all()?;
        Ok(std::mem::take(&mut inner.known).len() as u64)
    }
}

/// Removes the logs of a folder that are none of these; how many there were.
pub fn remove_others<'a>(folder: &Path, held: impl Iterator<Item = &'a Vectors>) -> io::Result<u64> {
    let held: Vec<&Path> = held.map(|vectors| vectors.path.as_path()).collect();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let path = entry?.path();
        if !held.contains(&path.as_path()) {
            std::fs::remove_file(path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn key(text: &str) -> [u8; KEY] {
    let mut key = [0; KEY];
    key.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..KEY]);
    key
}
