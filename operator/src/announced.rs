//! What a leader says at the broker before it removes something there: the fence that keeps a leader of before from removing what
//! belongs to a successor of the same name. Knows not what is removed.
//!
//! One record a namespace, changed by compare-and-set: the first word of a tenure takes it over, and each later one must find it as
//! the last has left it, or follow a leader of a lower epoch. It goes with all that its namespace has: who finds it gone, though he
//! has written it, may only begin anew.

use std::sync::Arc;

use flow::keys;
use queue::{Error, Records};
use serde::{Deserialize, Serialize};

use crate::kept::{KeepError, Kept};

/// Why a removal could not be announced.
#[derive(Debug, thiserror::Error)]
pub enum NotAnnounced {
    /// The broker gave no answer. Retried.
    #[error("failed to read \"{}\" at the broker", keys::LEADER)]
    Read(#[source] Error),
    /// A later leader was there, or the broker did not take it. Retried by whoever leads.
    #[error(transparent)]
    Keep(KeepError),
}

/// The record as this process left it.
#[derive(Default)]
pub struct Announced {
    /// With the epoch of the tenure.
    kept: Option<(u32, Kept)>,
    words: u64,
}

/// For people who look into the broker, too.
#[derive(Serialize, Deserialize)]
struct Word {
    by: String,
    removes: String,
    /// Makes each word another one, since the same one would not be written again.
    word: u64,
}

impl Announced {
    /// Says, as the leader of this epoch, what will be removed.
    pub async fn say(
        &mut self,
        records: &Arc<dyn Records>,
        epoch: u32,
        by: &str,
        removes: String,
    ) -> Result<(), NotAnnounced> {
        let mut kept = match self.kept.take() {
            Some((of, kept)) if of == epoch => kept,
            _ => Kept::read::<Word>(records, keys::LEADER.to_owned())
                .await
                .map_err(NotAnnounced::Read)?
                .0
                .until_removed(),
        };
        self.words += 1;
        let word = Word { by: by.to_owned(), removes, word: self.words };
        let written = kept.write(records, &word, epoch).await.map_err(NotAnnounced::Keep);
        if !matches!(written, Err(NotAnnounced::Keep(KeepError::Gone { .. }))) {
            self.kept = Some((epoch, kept));
        }
        written
    }
}
