//! How long numbers in a status stand that could not be read anew. Pure.
//!
//! A moment's silence of the broker, as while it elects a leader, must not make numbers come and go; numbers that stand
//! for ever look like those of now. When they were last read is known in memory alone: a process that begins to lead
//! begins with now.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// After so long without an answer numbers are unknown: several looks, and longer than a broker needs that goes on.
pub const STANDS: Duration = Duration::from_secs(30);

/// When the numbers of objects were last read, by namespace and name.
#[derive(Default)]
pub struct Standing {
    read: HashMap<(String, String), Read>,
}

struct Read {
    at: Instant,
    asked: bool,
}

/// What becomes of the numbers in a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers<T> {
    /// They are these now.
    Read(T),
    /// They stay as they were last read.
    Stand,
    /// They were read too long ago, and are left out.
    Unknown,
}

impl Standing {
    /// What becomes of the numbers of an object for which these were read at `now`, or none.
    pub fn of<T>(&mut self, namespace: &str, name: &str, read: Option<T>, now: Instant) -> Numbers<T> {
        let last = self.read.entry((namespace.to_owned(), name.to_owned())).or_insert(Read { at: now, asked: true });
        last.asked = true;
        match read {
            Some(read) => {
                last.at = now;
                Numbers::Read(read)
            }
            None if now.saturating_duration_since(last.at) < STANDS => Numbers::Stand,
            None => Numbers::Unknown,
        }
    }

    /// Forgets the objects that nobody has asked about since this was called before.
    pub fn forget_others(&mut self) {
        self.read.retain(|_, read| std::mem::take(&mut read.asked));
    }
}
