//! How often an answer of the semantic part would have been wrong: a share of them is worked all the same, and what is
//! made is compared with what was kept.

use std::{io, path::Path, sync::Mutex};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{super::disk, guard};

/// The file beside the scopes that sums up what was found.
const FILE: &str = "shadow.json";

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
pub(super) fn add(folder: &Path, wrong: bool) -> io::Result<()> {
    // One process has the folder, and this file is written once in a hundred answers.
    static WRITING: Mutex<()> = Mutex::new(());
    let _alone = WRITING.lock();
    disk::write(&folder.join(FILE), &serde_json::to_vec(&read(folder).plus(wrong))?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_share_is_kept_and_none_and_all_are_exact() {
        let due = |share| (0..20_000).filter(|&hit| is_due("key", hit, share)).count();
        assert_eq!((due(0.0), due(1.0)), (0, 20_000));
        assert!((150..250).contains(&due(0.01)), "{}", due(0.01));
        assert!((9_700..10_300).contains(&due(0.5)), "{}", due(0.5));
        let first_hits = (0..20_000).filter(|n: &u32| is_due(&n.to_string(), 0, 0.01)).count();
        assert!((150..250).contains(&first_hits), "processes with one answer each: {first_hits}");
    }

    #[test]
    fn answers_are_the_same_wrong_or_must_be_read() {
        let same = json!({"text": "a lease", "finish": "stop"});
        assert_eq!(compare(&same, &same), Compared::Same);
        for other in [json!({"text": "a lease"}), json!({"text": 1, "finish": "stop"}), json!(["a lease"]), json!(null)]
        {
            assert_eq!(compare(&same, &other), Compared::Wrong, "{other}");
        }
        assert_eq!(compare(&json!({"pets": true}), &json!({"pets": false})), Compared::Wrong);
        assert_eq!(compare(&json!([1, 2]), &json!([1])), Compared::Wrong);
        assert_eq!(compare(&json!({"rent": "500 a month"}), &json!({"rent": "600 a month"})), Compared::Wrong);
        let words = Compared::Words("a lease\n".to_owned(), "a rental\n".to_owned());
        assert_eq!(compare(&same, &json!({"finish": "stop", "text": "a rental"})), words);
    }

    #[test]
    fn what_was_found_adds_up_over_processes_and_a_damaged_file_counts_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!((read(folder.path()), read(folder.path()).wrong_ratio()), (Checked::default(), None));
        for wrong in [false, true, false, false] {
            add(folder.path(), wrong).expect("written");
        }
        assert_eq!(read(folder.path()), Checked { checked: 4, wrong: 1 });
        assert_eq!(read(folder.path()).wrong_ratio(), Some(0.25));
        std::fs::write(folder.path().join(FILE), "{").expect("written");
        assert_eq!(read(folder.path()), Checked::default());
    }
}
