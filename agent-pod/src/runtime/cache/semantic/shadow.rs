//! How often an answer of the semantic part would have been wrong: a share of them is worked all the same, and what is
//! made is compared with what was kept.

use std::{io, path::Path, sync::Mutex};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{super::disk, guard};

/// The file beside the scopes that sums up what was found.
pub const FILE: &str = "shadow.json";

/// How many answers were checked, and how many of them would have been wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Answers that were worked all the same.
    pub checked: u64,
    /// Of these, those whose kept answer says something else.
    pub wrong: u64,
}

impl Checked {
    /// The measured share of wrong answers; `None` where none was checked.
    pub fn wrong_ratio(self) -> Option<f64> {
        (self.checked > 0).then(|| self.wrong as f64 / self.checked as f64)
    }

    /// With one more.
    pub(super) fn plus(self, wrong: bool) -> Self {
        Self { checked: self.checked + 1, wrong: self.wrong + u64::from(wrong) }
    }
}

/// Whether an answer is one of the share that is worked all the same. The same for the same request and count, and over
/// many as good as chance: a short run of a few answers has its share too.
pub fn is_due(key: &str, hit: u64, share: f64) -> bool {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key.as_bytes()).update(&hit.to_le_bytes());
    let mut drawn = [0; 4];
    hasher.finalize_xof().fill(&mut drawn);
    f64::from(u32::from_le_bytes(drawn)) < share * (f64::from(u32::MAX) + 1.0)
}

/// What can be said of two answers without reading them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// They are equal.
    Same,
    /// They differ in a field, a number, a yes or no.
    Wrong,
    /// They have different words: what they mean must be compared.
    Words(String, String),
}

/// Compares a kept answer with a fresh one.
pub fn compare(kept: &Value, fresh: &Value) -> Compared {
    let (mut left, mut right) = (String::new(), String::new());
    if !alike(kept, fresh, &mut left, &mut right) || guard::numbers(&left) != guard::numbers(&right) {
        return Compared::Wrong;
    }
    if left == right { Compared::Same } else { Compared::Words(left, right) }
}

/// Whether all but words is equal; gathers the words that are not.
fn alike(kept: &Value, fresh: &Value, left: &mut String, right: &mut String) -> bool {
    match (kept, fresh) {
        (Value::String(kept), Value::String(fresh)) => {
            if kept != fresh {
                [(left, kept), (right, fresh)].into_iter().for_each(|(all, text)| {
                    all.push_str(text);
                    all.push('\n');
                });
            }
            true
        }
        (Value::Array(kept), Value::Array(fresh)) => {
            kept.len() == fresh.len() && kept.iter().zip(fresh).all(|(kept, fresh)| alike(kept, fresh, left, right))
        }
        (Value::Object(kept), Value::Object(fresh)) => {
            let pairs = kept.iter().map(|(name, kept)| (kept, fresh.get(name)));
            kept.len() == fresh.len()
                && pairs.into_iter().all(|(kept, fresh)| fresh.is_some_and(|fresh| alike(kept, fresh, left, right)))
        }
        (kept, fresh) => kept == fresh,
    }
}

/// What was found before in a folder; nothing where the file is not there or says nothing.
pub fn read(folder: &Path) -> Checked {
    let bytes = std::fs::read(folder.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Adds one to what was found in a folder.
pub fn add(folder: &Path, wrong: bool) -> io::Result<()> {
    // One process has the folder, and this file is written once in a hundred answers.
    static WRITING: Mutex<()> = Mutex::new(());
    let _alone = WRITING.lock();
    disk::write(&folder.join(FILE), &serde_json::to_vec(&read(folder).plus(wrong))?)
}
