//! Attention of packed sequences without padding: every sequence attends to itself alone, in blocks of rows that
//! threads share, with scores that never leave the cache.

use std::ops::Range;

use rayon::prelude::*;

use super::elementwise::{exp, maximum, multiply_add, sum_of};

/// Rows of queries that one task takes: enough to pay for laying out the keys, few enough to share a long sequence.
const BLOCK_ROWS: usize = 64;
/// A tile of 4 rows by 16 columns is 8 vector registers of accumulators on AVX2: it hides the latency of a
/// multiply-add, and the rest hold operands.
const TILE_ROWS: usize = 4;
const TILE_COLUMNS: usize = 16;

/// Queries, keys and values of all tokens as the fused projection leaves them, without its bias.
pub(crate) struct Projected<'a> {
    /// `[tokens, 3 · hidden]`
    pub(crate) qkv: &'a [f32],
    /// `[3 · hidden]`
    pub(crate) bias: &'a [f32],
    pub(crate) heads: usize,
    pub(crate) head_size: usize,
}

/// One task: some rows of one sequence.
struct Block<'a> {
    sequence: Range<usize>,
    rows: Range<usize>,
    output: &'a mut [f32],
}

impl Projected<'_> {
    /// The attended values of all tokens, `[tokens, hidden]`.
    pub(crate) fn attend(&self, sequences: impl Iterator<Item = Range<usize>>, tokens: usize) -> Vec<f32> {
        let mut output = vec![0.0; tokens * self.hidden()];
        let mut blocks = self.blocks(sequences, &mut output);
        // Blocks of long sequences cost most: starting with them leaves threads no long task at the end.
        blocks.sort_by_key(|block| std::cmp::Reverse(block.sequence.len()));
        blocks.into_par_iter().for_each_init(Scratch::default, |scratch, block| self.attend_block(block, scratch));
        output
    }

    fn hidden(&self) -> usize {
        self.heads * self.head_size
    }

    fn blocks<'a>(&self, sequences: impl Iterator<Item = Range<usize>>, mut output: &'a mut [f32]) -> Vec<Block<'a>> {
        let mut blocks = Vec::new();
        for sequence in sequences {
            let mut start = sequence.start;
            while start < sequence.end {
                let rows = start..sequence.end.min(start + BLOCK_ROWS);
                let (mine, rest) = output.split_at_mut(rows.len() * self.hidden());
                output = rest;
                start = rows.end;
                blocks.push(Block { sequence: sequence.clone(), rows, output: mine });
            }
        }
        blocks
    }

    fn attend_block(&self, block: Block<'_>, scratch: &mut Scratch) {
        for head in 0..self.heads {
            scratch.lay_out(self, &block, head);
            scratch.attend(block.sequence.len(), block.rows.len(), self.head_size, |row, values| {
                let start = row * self.hidden() + head * self.head_size;
                block.output[start..start + self.head_size].copy_from_slice(&values[..self.head_size]);
            });
        }
    }

    /// One token's query (0), key (1) or value (2) of a head, and its bias.
    fn part(&self, token: usize, head: usize, which: usize) -> (&[f32], &[f32]) {
        let column = which * self.hidden() + head * self.head_size;
        let start = token * 3 * self.hidden() + column;
        (&self.qkv[start..start + self.head_size], &self.bias[column..column + self.head_size])
    }
}

/// A head's operands, laid out so that tiles read them in order; columns are padded to whole tiles.
#[derive(Default)]
struct Scratch {
    /// `[rows, head size]`, scaled.
    queries: Vec<f32>,
    /// `[head size, keys]`
    keys: Vec<f32>,
    /// `[keys, head size]`
    values: Vec<f32>,
    /// `[tile rows, keys]`
    scores: Vec<f32>,
    /// `[tile rows, head size]`
    attended: Vec<f32>,
}

impl Scratch {
    fn lay_out(&mut self, projected: &Projected<'_>, block: &Block<'_>, head: usize) {
        let size = projected.head_size;
        let (key_stride, value_stride) = (padded(block.sequence.len()), padded(size));
        let scale = (size as f32).sqrt().recip();
        grow(&mut self.queries, block.rows.len() * size);
        grow(&mut self.keys, size * key_stride);
        grow(&mut self.values, block.sequence.len() * value_stride);
        grow(&mut self.scores, TILE_ROWS * key_stride);
        grow(&mut self.attended, TILE_ROWS * value_stride);
        for (row, token) in block.rows.clone().enumerate() {
            let (query, bias) = projected.part(token, head, 0);
            for (slot, (&value, &bias)) in self.queries[row * size..].iter_mut().zip(query.iter().zip(bias)) {
                *slot = (value + bias) * scale;
            }
        }
        for (row, token) in block.sequence.clone().enumerate() {
            let (key, bias) = projected.part(token, head, 1);
            for (column, (&value, &bias)) in self.keys.chunks_exact_mut(key_stride).zip(key.iter().zip(bias)) {
                column[row] = value + bias;
            }
            let (values, bias) = projected.part(token, head, 2);
            for (slot, (&value, &bias)) in self.values[row * value_stride..].iter_mut().zip(values.iter().zip(bias)) {
                *slot = value + bias;
            }
        }
    }

    fn attend(&mut self, keys: usize, rows: usize, size: usize, mut put: impl FnMut(usize, &[f32])) {
        let (key_stride, value_stride) = (padded(keys), padded(size));
        for first in (0..rows).step_by(TILE_ROWS) {
            // A last tile that is not full repeats its last row.
            let queries: [&[f32]; TILE_ROWS] = std::array::from_fn(|offset| {
                let row = (first + offset).min(rows - 1);
                &self.queries[row * size..(row + 1) * size]
            });
            multiply(queries, &self.keys, key_stride, &mut self.scores);
            for scores in self.scores.chunks_exact_mut(key_stride).take(TILE_ROWS) {
                softmax(&mut scores[..keys]);
            }
            let weights: [&[f32]; TILE_ROWS] = std::array::from_fn(|row| &self.scores[row * key_stride..][..keys]);
            multiply(weights, &self.values, value_stride, &mut self.attended);
            for (offset, values) in
                self.attended.chunks_exact(value_stride).enumerate().take(TILE_ROWS.min(rows - first))
            {
                put(first + offset, values);
            }
        }
    }
}

/// `left · right` for four rows of `left`; `right` has rows of `stride`, a multiple of the tile's columns.
fn multiply(left: [&[f32]; TILE_ROWS], right: &[f32], stride: usize, output: &mut [f32]) {
    for column in (0..stride).step_by(TILE_COLUMNS) {
        let mut sums = [[0.0_f32; TILE_COLUMNS]; TILE_ROWS];
        // Zipped iterators leave no bounds to check in the loop that everything here is about.
        let factors = left[0].iter().zip(left[1]).zip(left[2]).zip(left[3]);
        for ((((&first, &second), &third), &fourth), row) in factors.zip(right.chunks_exact(stride)) {
            let (tile, _) = row[column..].as_chunks::<TILE_COLUMNS>();
            let Some(tile) = tile.first() else { break };
            for lane in 0..TILE_COLUMNS {
                sums[0][lane] = multiply_add(first, tile[lane], sums[0][lane]);
                sums[1][lane] = multiply_add(second, tile[lane], sums[1][lane]);
                sums[2][lane] = multiply_add(third, tile[lane], sums[2][lane]);
                sums[3][lane] = multiply_add(fourth, tile[lane], sums[3][lane]);
            }
        }
        for (row, sums) in output.chunks_exact_mut(stride).zip(&sums) {
            row[column..column + TILE_COLUMNS].copy_from_slice(sums);
        }
    }
}

fn softmax(scores: &mut [f32]) {
    let most = maximum(scores);
    for score in scores.iter_mut() {
        *score = exp(*score - most);
    }
    let scale = sum_of(scores, |value| value).recip();
    for score in scores {
        *score *= scale;
    }
}

fn padded(columns: usize) -> usize {
    columns.next_multiple_of(TILE_COLUMNS)
}

/// Buffers only grow: what lies behind the columns in use is multiplied, and its products are never read.
fn grow(buffer: &mut Vec<f32>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
}
