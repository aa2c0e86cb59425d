//! Beginnings of earlier requests whose keys and values are still there: the least recently used leave first.

use std::collections::VecDeque;

use crate::generation::blocks::{LANES, SequenceCache};

/// Most bytes that finished sequences may hold on to.
const MOST_BYTES: usize = 64 << 20;

struct Kept {
    tokens: Vec<u32>,
    cache: SequenceCache,
    bytes: usize,
}

/// Finished sequences, the least recently used in front.
pub(super) struct Prefixes {
    kept: VecDeque<Kept>,
    most_bytes: usize,
}

impl Prefixes {
    /// Holds on to no more than `bytes`, and to no more than is of use.
    pub(super) fn within(bytes: usize) -> Self {
        Self { kept: VecDeque::new(), most_bytes: bytes.min(MOST_BYTES) }
    }

    /// The most that is held on to.
    pub(super) fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// Keeps a finished sequence's whole blocks.
    pub(super) fn keep(&mut self, mut tokens: Vec<u32>, mut cache: SequenceCache) {
        let blocks = tokens.len() / LANES;
        tokens.truncate(blocks * LANES);
        cache.truncate(blocks);
        if blocks == 0 {
            return;
        }
        let bytes = cache.bytes();
        self.kept.retain(|kept| !tokens.starts_with(&kept.tokens));
        self.kept.push_back(Kept { tokens, cache, bytes });
        let mut held: usize = self.kept.iter().map(|kept| kept.bytes).sum();
        while held > self.most_bytes {
            let Some(oldest) = self.kept.pop_front() else { break };
            held -= oldest.bytes;
        }
    }

    /// The longest usable beginning of `tokens` among what is kept, with its length in tokens.
    pub(super) fn find(&mut self, tokens: &[u32]) -> Option<(SequenceCache, usize)> {
        let longest = self.kept.iter().enumerate().map(|(index, kept)| (common(&kept.tokens, tokens), index)).max()?;
        let (length, index) = longest;
        let found = shared(&self.kept[index].cache, length);
        if found.is_some()
            && let Some(used) = self.kept.remove(index)
        {
            self.kept.push_back(used);
        }
        found
    }
}

/// What of `cache`, filled with `filled`, serves `tokens`.
pub(super) fn share_active(filled: &[u32], cache: &SequenceCache, tokens: &[u32]) -> Option<(SequenceCache, usize)> {
    shared(cache, common(filled, tokens))
}

fn shared(cache: &SequenceCache, length: usize) -> Option<(SequenceCache, usize)> {
    let (cache, blocks) = cache.share(length / LANES);
    (blocks > 0).then_some((cache, blocks * LANES))
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
