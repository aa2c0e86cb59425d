//! What a document has made and what it still needs: payloads by digest, results by their key in the cache.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Completion, Digest, DocumentRecord, StageStatus};

/// Payloads and kept results.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    /// Payloads.
    pub payloads: BTreeSet<Digest>,
    /// Keys in the cache.
    pub cache_keys: BTreeSet<String>,
}

impl Traces {
    /// Adds what a stage has made.
    pub(crate) fn add(&mut self, completion: &Completion) {
        self.payloads.insert(completion.output.clone());
        self.payloads.extend(completion.references.iter().cloned());
        self.cache_keys.extend(completion.cache_key.clone());
    }
}

impl DocumentRecord {
    /// Payloads without which the document cannot go on, be shown or be replayed.
    pub fn needed(&self) -> impl Iterator<Item = &Digest> {
        let submitted = std::iter::once(&self.submission.payload).chain(&self.submission.metadata);
        let made = self.completions().flat_map(|done| std::iter::once(&done.output).chain(&done.references));
        submitted.chain(made).chain(self.asked()).chain(self.previous.values())
    }

    /// Everything that was stored for the document: what it needs, and what earlier rounds and epochs have left.
    pub fn traces(&self) -> Traces {
        let mut traces = self.outdated.clone();
        traces.payloads.extend(self.needed().cloned());
        self.completions().for_each(|completion| traces.add(completion));
        traces
    }

    /// Notes what a result has left that came too late to count; whether that is news.
    pub fn note_late(&mut self, completion: &Completion) -> bool {
        let mut left = Traces::default();
        left.add(completion);
        let known = self.traces();
        let is_news = !left.payloads.is_subset(&known.payloads) || !left.cache_keys.is_subset(&known.cache_keys);
        if is_news {
            self.outdated.add(completion);
        }
        is_news
    }

    /// What a person is asked, and what is taken for an answer if none comes.
    fn asked(&self) -> impl Iterator<Item = &Digest> {
        let asked = self.stages.values().filter_map(|state| match &state.status {
            StageStatus::Awaiting { request, unanswered, .. } => Some([request, unanswered]),
            _ => None,
        });
        asked.flatten()
    }

    fn completions(&self) -> impl Iterator<Item = &Completion> {
        self.stages.values().filter_map(|state| match &state.status {
            StageStatus::Done(completion) => Some(completion),
            _ => None,
        })
    }
}
