//! Keys and values of sequences, in blocks of a few tokens that sequences with the same beginning share.
//!
//! A full block never changes, so sharing it is counting references; only a sequence's last, unfilled block is
//! written, and that one it owns alone. Layers with a window form a group of their own and let go of blocks behind it.

use std::sync::Arc;

use super::model::to_half;

/// Tokens in a block: sixteen keys side by side fill two vector registers.
pub(super) const LANES: usize = 16;

/// What a group of layers keeps for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupShape {
    pub(super) layers: usize,
    /// How far back its layers see; `None`: to the beginning.
    pub(super) window: Option<usize>,
    pub(super) kv_heads: usize,
    pub(super) head_width: usize,
}

impl GroupShape {
    fn block_numbers(&self) -> usize {
        self.layers * self.kv_heads * 2 * self.head_width * LANES
    }
}

/// Layers without a window first, layers with one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheShape {
    pub(super) groups: [GroupShape; 2],
}

impl CacheShape {
    /// Most bytes that a sequence of so many tokens holds at once, where at most `chunk` are fed in a step.
    pub(super) fn bytes_of(&self, tokens: usize, chunk: usize) -> usize {
        let blocks = tokens.div_ceil(LANES);
        let sizes = self.groups.iter().map(|shape| {
            let held = match shape.window {
                // The window, what a step adds before it lets go, and the blocks at both ends.
                Some(window) => blocks.min(window.saturating_add(chunk) / LANES + 2),
                None => blocks,
            };
            shape.block_numbers().saturating_mul(size_of::<u16>()).saturating_mul(held)
        });
        sizes.fold(0, usize::saturating_add)
    }

    /// Most tokens, up to `most`, of a sequence that holds no more than `bytes`.
    pub(super) fn tokens_in(&self, bytes: usize, chunk: usize, most: usize) -> usize {
        let (mut fits, mut exceeds) = (0, most.saturating_add(1));
        while exceeds - fits > 1 {
            let middle = fits + (exceeds - fits) / 2;
            if self.bytes_of(middle, chunk) <= bytes { fits = middle } else { exceeds = middle }
        }
        fits
    }
}

/// The keys and values of [`LANES`] tokens for a group's layers. For each layer and head: keys as dimension by token,
/// values as token by dimension.
pub(super) struct Block {
    numbers: Box<[u16]>,
}

#[derive(Clone, Default)]
struct Group {
    /// `None` where the window has moved past.
    blocks: Vec<Option<Arc<Block>>>,
}

/// The cache of one sequence.
#[derive(Clone)]
pub(super) struct SequenceCache {
    shape: CacheShape,
    groups: [Group; 2],
}

impl SequenceCache {
    pub(super) fn new(shape: CacheShape) -> Self {
        Self { shape, groups: [Group::default(), Group::default()] }
    }

    /// Makes room for positions before `end`.
    pub(super) fn reserve(&mut self, end: usize) {
        for (group, shape) in self.groups.iter_mut().zip(&self.shape.groups) {
            if shape.layers == 0 {
                continue;
            }
            while group.blocks.len() * LANES < end {
                let numbers = vec![0; shape.block_numbers()].into_boxed_slice();
                group.blocks.push(Some(Arc::new(Block { numbers })));
            }
        }
    }

    /// Writes one head's key and value at a position of a reserved block that this sequence alone owns.
    pub(super) fn write(&mut self, group: usize, place: HeadPlace, position: usize, key: &[f32], value: &[f32]) {
        let shape = self.shape.groups[group];
        let (key_start, value_start) = place.starts(&shape);
        let block = self.groups[group].blocks[position / LANES].as_mut().and_then(Arc::get_mut);
        let numbers = &mut block.expect("a block that is still written is present and owned by one sequence").numbers;
        let lane = position % LANES;
        let column = numbers[key_start..key_start + shape.head_width * LANES].chunks_exact_mut(LANES);
        for (row, &number) in column.zip(key) {
            row[lane] = to_half(number);
        }
        let row_start = value_start + lane * shape.head_width;
        for (slot, &number) in numbers[row_start..row_start + shape.head_width].iter_mut().zip(value) {
            *slot = to_half(number);
        }
    }

    /// One head's keys and values of a block; `None` where the window has moved past it.
    pub(super) fn head(&self, group: usize, place: HeadPlace, block: usize) -> Option<(&[u16], &[u16])> {
        let shape = &self.shape.groups[group];
        let (key_start, value_start) = place.starts(shape);
        let numbers = &self.groups[group].blocks[block].as_ref()?.numbers;
        let size = shape.head_width * LANES;
        Some((&numbers[key_start..key_start + size], &numbers[value_start..value_start + size]))
    }

    /// Lets go of blocks that no position from `next` on can see.
    pub(super) fn forget_behind_window(&mut self, next: usize) {
        for (group, shape) in self.groups.iter_mut().zip(&self.shape.groups) {
            let Some(window) = shape.window else { continue };
            let unseen = (next + 1).saturating_sub(window) / LANES;
            for block in group.blocks.iter_mut().take(unseen).rev().take_while(|block| block.is_some()) {
                *block = None;
            }
        }
    }

    /// A cache that shares as many of the first `count` blocks as a continuation needs to find, and how many.
    pub(super) fn share(&self, count: usize) -> (Self, usize) {
        let usable = |count: usize| {
            self.groups.iter().zip(&self.shape.groups).all(|(group, shape)| {
                let first_seen = match shape.window {
                    _ if shape.layers == 0 => return true,
                    Some(window) => (count * LANES + 1).saturating_sub(window) / LANES,
                    None => 0,
                };
                group.blocks.len() >= count && group.blocks[first_seen..count].iter().all(Option::is_some)
            })
        };
        let count = (0..=count).rev().find(|&count| usable(count)).unwrap_or(0);
        let groups = self.groups.each_ref().map(|group| Group { blocks: first(&group.blocks, count) });
        (Self { shape: self.shape, groups }, count)
    }

    /// Drops what lies after the first `count` blocks.
    pub(super) fn truncate(&mut self, count: usize) {
        for group in &mut self.groups {
            group.blocks.truncate(count);
        }
    }

    /// Bytes held, shared blocks counted as if they were not.
    pub(super) fn bytes(&self) -> usize {
        let sizes = self
            .groups
            .iter()
            .zip(&self.shape.groups)
            .map(|(group, shape)| group.blocks.iter().flatten().count() * shape.block_numbers() * size_of::<u16>());
        sizes.sum()
    }
}

fn first(blocks: &[Option<Arc<Block>>], count: usize) -> Vec<Option<Arc<Block>>> {
    blocks.iter().take(count).map(|block| block.as_ref().map(Arc::clone)).collect()
}

/// A layer, counted inside its group, and one of its key heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadPlace {
    pub(super) layer: usize,
    pub(super) head: usize,
}

impl HeadPlace {
    fn starts(&self, shape: &GroupShape) -> (usize, usize) {
        let size = shape.head_width * LANES;
        let key = (self.layer * shape.kv_heads + self.head) * 2 * size;
        (key, key + size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(window: Option<usize>) -> CacheShape {
        let group = |layers, window| GroupShape { layers, window, kv_heads: 2, head_width: 32 };
        CacheShape { groups: [group(3, None), group(5, window)] }
    }

    #[test]
    fn a_sequence_never_holds_more_than_was_counted() {
        const CHUNK: usize = 24;
        for (window, length) in [(Some(40), 500), (Some(1000), 200), (None, 77)] {
            let shape = shape(window);
            let mut cache = SequenceCache::new(shape);
            let (mut next, mut most) = (0, 0);
            while next < length {
                // A prompt in chunks, then a token at a time.
                let end = (next + if next < length / 2 { CHUNK } else { 1 }).min(length);
                cache.reserve(end);
                most = most.max(cache.bytes());
                cache.forget_behind_window(end);
                next = end;
            }
            let counted = shape.bytes_of(length, CHUNK);
            assert!(most <= counted, "{most} bytes of {counted} with the window {window:?}");
            if window.is_none_or(|window| window > length) {
                assert_eq!(most, counted, "and where nothing is forgotten, exactly that");
            }
        }
    }

    #[test]
    fn as_many_tokens_fit_as_their_bytes_say() {
        let shape = shape(Some(64));
        for bytes in [0, 1, 10_000, 123_456, 9_999_999] {
            let tokens = shape.tokens_in(bytes, 16, 4096);
            assert!(shape.bytes_of(tokens, 16) <= bytes || tokens == 0);
            assert!(tokens == 4096 || shape.bytes_of(tokens + 1, 16) > bytes, "one more would not fit in {bytes}");
        }
    }
}
