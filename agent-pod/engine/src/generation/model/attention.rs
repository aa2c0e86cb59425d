//! Attention of packed rows over each sequence's own cache.
//!
//! Work is cut into units of one sequence, one key head and a few of its rows, so that a block of keys is unpacked
//! once for all query heads and rows that read it. Every row is computed by the same operations in the same order
//! whatever unit it falls into: companions never change a result.

use std::cell::RefCell;

use crate::generation::blocks::{HeadPlace, LANES, SequenceCache};

use super::activation::exp;
use super::config::Config;
use super::half::from_half;
use super::parallel::for_each_part_of_cost;

/// Rows of one sequence in a unit.
const TILE: usize = 8;
/// Query rows multiplied at once: their sums fill half of the vector registers.
const GANG: usize = 4;

/// One sequence's rows in the packed batch: `start` is the position of the first.
pub(super) struct Rows<'a> {
    pub(super) cache: &'a SequenceCache,
    pub(super) start: usize,
    pub(super) count: usize,
}

/// Which layer attends, and how far back it sees.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) group: usize,
    pub(super) layer: usize,
    pub(super) window: Option<usize>,
}

struct Unit<'a, 'b> {
    rows: &'a Rows<'b>,
    kv_head: usize,
    /// In the sequence's rows.
    first: usize,
    count: usize,
    /// Of the unit's first row in the packed batch.
    packed: usize,
}

/// From rotated queries (rows of `stride` numbers that begin with the query heads) to rows of attended values.
pub(super) fn attend(
    config: &Config,
    place: Place,
    sequences: &[Rows<'_>],
    (queries, stride): (&[f32], usize),
    (spare, out): (&mut Vec<f32>, &mut [f32]),
) {
    let group_width = config.heads / config.kv_heads * config.head_width;
    let units = units(sequences, config.kv_heads);
    spare.resize(units.iter().map(|unit| unit.count * group_width).sum(), 0.0);
    let mut rest = spare.as_mut_slice();
    let mut parts = Vec::with_capacity(units.len());
    for unit in &units {
        let (part, after) = rest.split_at_mut(unit.count * group_width);
        parts.push(part);
        rest = after;
    }
    let cost = units.iter().map(|unit| unit.count * (unit.rows.start + unit.first + 1) * group_width).sum();
    for_each_part_of_cost(parts, cost, |index, part| {
        let unit = &units[index];
        SCRATCH.with_borrow_mut(|scratch| scratch.run(config, place, unit, (queries, stride), part));
    });
    let row_width = config.heads * config.head_width;
    let mut start = 0;
    for unit in &units {
        for row in 0..unit.count {
            let to = (unit.packed + row) * row_width + unit.kv_head * group_width;
            out[to..to + group_width].copy_from_slice(&spare[start..start + group_width]);
            start += group_width;
        }
    }
}

fn units<'a, 'b>(sequences: &'a [Rows<'b>], kv_heads: usize) -> Vec<Unit<'a, 'b>> {
    let mut units = Vec::new();
    let mut packed = 0;
    for rows in sequences {
        for first in (0..rows.count).step_by(TILE) {
            let count = TILE.min(rows.count - first);
            units.extend((0..kv_heads).map(|kv_head| Unit { rows, kv_head, first, count, packed: packed + first }));
        }
        packed += rows.count;
    }
    units
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// A thread's buffers, kept between units.
struct Scratch {
    queries: Vec<f32>,
    unpacked: Vec<f32>,
    scores: Vec<f32>,
}

impl Scratch {
    const fn new() -> Self {
        Self { queries: Vec::new(), unpacked: Vec::new(), scores: Vec::new() }
    }

    fn run(
        &mut self,
        config: &Config,
        place: Place,
        unit: &Unit<'_, '_>,
        (queries, stride): (&[f32], usize),
        out: &mut [f32],
    ) {
        let width = config.head_width;
        let heads = config.heads / config.kv_heads;
        let first_position = unit.rows.start + unit.first;
        let last_position = first_position + unit.count - 1;
        let seen_from = |position: usize| place.window.map_or(0, |window| (position + 1).saturating_sub(window));
        let blocks = seen_from(first_position) / LANES..last_position / LANES + 1;
        let keys = blocks.len() * LANES;
        let offset = blocks.start * LANES;
        let head_place = HeadPlace { layer: place.layer, head: unit.kv_head };

        self.queries.clear();
        for row in 0..unit.count {
            let start = (unit.packed + row) * stride + unit.kv_head * heads * width;
            let scaled = queries[start..start + heads * width].iter().map(|query| query * config.attention_scale);
            self.queries.extend(scaled);
        }
        self.unpacked.resize(width * LANES, 0.0);
        self.scores.resize(unit.count * heads * keys, 0.0);

        for (index, block) in blocks.clone().enumerate() {
            let Some((block_keys, _)) = unit.rows.cache.head(place.group, head_place, block) else { continue };
            from_half(block_keys, &mut self.unpacked);
            score_block(&self.queries, &self.unpacked, width, &mut self.scores, (keys, index * LANES));
        }
        for (line, scores) in self.scores.chunks_exact_mut(keys).enumerate() {
            let position = first_position + line / heads;
            soften(scores, seen_from(position) - offset..position + 1 - offset);
        }
        out.fill(0.0);
        for (index, block) in blocks.enumerate() {
            let Some((_, block_values)) = unit.rows.cache.head(place.group, head_place, block) else { continue };
            from_half(block_values, &mut self.unpacked);
            add_block(&self.scores, (keys, index * LANES), &self.unpacked, width, out);
        }
    }
}

/// Softmax over the seen keys; the others get weight 0.
fn soften(scores: &mut [f32], seen: std::ops::Range<usize>) {
    scores[..seen.start].fill(0.0);
    scores[seen.end..].fill(0.0);
    let seen = &mut scores[seen];
    let highest = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    seen.iter_mut().for_each(|score| *score = exp(*score - highest));
    let mut lanes = [0.0f32; LANES];
    let chunks = seen.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, score)| *lane += score);
    }
    let scale = 1.0 / (lanes.iter().sum::<f32>() + rest);
    seen.iter_mut().for_each(|score| *score *= scale);
}

/// Scores of all query lines against one block's keys.
fn score_block(queries: &[f32], keys: &[f32], width: usize, scores: &mut [f32], (line, at): (usize, usize)) {
    let mut gangs = queries.chunks_exact(width * GANG);
    let mut lines = scores.chunks_exact_mut(line * GANG);
    for (gang, scores) in gangs.by_ref().zip(lines.by_ref()) {
        let sums = products::<GANG>(gang, keys, width);
        for (scores, sums) in scores.chunks_exact_mut(line).zip(sums) {
            scores[at..at + LANES].copy_from_slice(&sums);
        }
    }
    for (query, scores) in gangs.remainder().chunks_exact(width).zip(lines.into_remainder().chunks_exact_mut(line)) {
        let [sums] = products::<1>(query, keys, width);
        scores[at..at + LANES].copy_from_slice(&sums);
    }
}

#[inline]
fn products<const N: usize>(queries: &[f32], keys: &[f32], width: usize) -> [[f32; LANES]; N] {
    let mut sums = [[0.0f32; LANES]; N];
    let mut rows: [_; N] = std::array::from_fn(|row| queries[row * width..(row + 1) * width].iter());
    for keys in keys.chunks_exact(LANES) {
        for (sums, row) in sums.iter_mut().zip(&mut rows) {
            let query = row.next().copied().unwrap_or_default();
            for (sum, key) in sums.iter_mut().zip(keys) {
                *sum = query.mul_add(*key, *sum);
            }
        }
    }
    sums
}

/// Adds one block's values, weighted, to all output lines.
fn add_block(weights: &[f32], (line, at): (usize, usize), values: &[f32], width: usize, out: &mut [f32]) {
    let mut gangs = out.chunks_exact_mut(width * GANG);
    let mut lines = weights.chunks_exact(line * GANG);
    for (out, weights) in gangs.by_ref().zip(lines.by_ref()) {
        add_values::<GANG>(weights, (line, at), values, width, out);
    }
    let rest = gangs.into_remainder().chunks_exact_mut(width).zip(lines.remainder().chunks_exact(line));
    for (out, weights) in rest {
        add_values::<1>(weights, (line, at), values, width, out);
    }
}

#[inline]
fn add_values<const N: usize>(
    weights: &[f32],
    (line, at): (usize, usize),
    values: &[f32],
    width: usize,
    out: &mut [f32],
) {
    let weights: [&[f32]; N] = std::array::from_fn(|row| &weights[row * line + at..row * line + at + LANES]);
    for start in (0..width).step_by(LANES) {
        let mut sums: [[f32; LANES]; N] = std::array::from_fn(|row| {
            let mut sums = [0.0; LANES];
            sums.copy_from_slice(&out[row * width + start..row * width + start + LANES]);
            sums
        });
        for (token, values) in values.chunks_exact(width).enumerate() {
            let values = &values[start..start + LANES];
            for (sums, weights) in sums.iter_mut().zip(&weights) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = weights[token].mul_add(*value, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            out[row * width + start..row * width + start + LANES].copy_from_slice(sums);
        }
    }
}
