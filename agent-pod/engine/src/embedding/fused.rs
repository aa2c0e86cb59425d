//! The encoder's passes on a CPU: products by the GEMM, and everything between two products in one pass over the rows.

use std::ops::Range;

use candle_core::{CpuStorage, Error, InplaceOp1, Layout, Result, Storage, StorageRef, Tensor};
use rayon::prelude::*;

use super::attention::Projected;
use super::elementwise::{gelu, layer_norm};
use super::packed::Packed;
use super::weights::{Embeddings, Norm};

/// Rows that one task takes: about 100 KiB of the widest matrix, so a task stays in the L2 cache.
const TASK_ROWS: usize = 16;

/// The sum of the three embeddings of every token, normalised: `[tokens, hidden]`.
pub(crate) fn embed(packed: &Packed, embeddings: &Embeddings, epsilon: f32) -> Result<Tensor> {
    let (words, positions) = (Values::of(&embeddings.words)?, Values::of(&embeddings.positions)?);
    let token_type = Values::of(&embeddings.token_type)?;
    let (weight, bias) = (Values::of(&embeddings.norm.weight)?, Values::of(&embeddings.norm.bias)?);
    let [words, positions, token_type, weight, bias] =
        [&words, &positions, &token_type, &weight, &bias].map(Values::slice);
    let hidden = token_type.len();
    let mut rows = vec![0.0; packed.tokens() * hidden];
    let row_of = |index: u32| index as usize * hidden..(index as usize + 1) * hidden;
    rows.par_chunks_mut(hidden).zip(packed.ids().par_iter().zip(packed.positions())).for_each(|(row, (&id, &at))| {
        let word = &words[row_of(id)];
        let position = &positions[row_of(at)];
        for (slot, ((&word, &position), &kind)) in row.iter_mut().zip(word.iter().zip(position).zip(token_type)) {
            *slot = word + position + kind;
        }
        layer_norm(row, weight, bias, epsilon);
    });
    Tensor::from_vec(rows, (packed.tokens(), hidden), embeddings.words.device())
}

pub(crate) fn attend(qkv: &Tensor, bias: &Tensor, packed: &Packed, heads: usize) -> Result<Tensor> {
    let (rows, bias) = (Values::of(qkv)?, Values::of(bias)?);
    let hidden = bias.slice().len() / 3;
    let projected = Projected { qkv: rows.slice(), bias: bias.slice(), heads, head_size: hidden / heads };
    let attended = projected.attend(packed.rows(), packed.tokens());
    Tensor::from_vec(attended, (packed.tokens(), hidden), qkv.device())
}

/// `gelu(rows + bias)`, in place.
pub(crate) fn add_bias_gelu(rows: Tensor, bias: &Tensor) -> Result<Tensor> {
    let bias = Values::of(bias)?;
    let bias = bias.slice();
    rows.inplace_op1(&OnValues(|values: &mut [f32]| {
        values.par_chunks_mut(bias.len() * TASK_ROWS).for_each(|task| {
            for row in task.chunks_exact_mut(bias.len()) {
                for (value, &bias) in row.iter_mut().zip(bias) {
                    *value = gelu(*value + bias);
                }
            }
        });
    }))?;
    Ok(rows)
}

/// `norm(rows + bias + residual)`, in place.
pub(crate) fn add_residual_norm(
    rows: Tensor,
    bias: &Tensor,
    residual: &Tensor,
    norm: &Norm,
    epsilon: f32,
) -> Result<Tensor> {
    let (bias, residual) = (Values::of(bias)?, Values::of(residual)?);
    let (norm_weight, norm_bias) = (Values::of(&norm.weight)?, Values::of(&norm.bias)?);
    let [bias, residual, norm_weight, norm_bias] = [&bias, &residual, &norm_weight, &norm_bias].map(Values::slice);
    let width = bias.len();
    rows.inplace_op1(&OnValues(|values: &mut [f32]| {
        let tasks = values.par_chunks_mut(width * TASK_ROWS).zip(residual.par_chunks(width * TASK_ROWS));
        tasks.for_each(|(task, residual)| {
            for (row, residual) in task.chunks_exact_mut(width).zip(residual.chunks_exact(width)) {
                for ((value, &bias), &residual) in row.iter_mut().zip(bias).zip(residual) {
                    *value += bias + residual;
                }
                layer_norm(row, norm_weight, norm_bias, epsilon);
            }
        });
    }))?;
    Ok(rows)
}

/// A contiguous CPU tensor's values, readable as a slice.
struct Values<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Values<'a> {
    fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let range = contiguous(layout)?;
        match &*storage {
            Storage::Cpu(CpuStorage::F32(_)) => Ok(Self { storage, range }),
            _ => Err(Error::Msg("fused passes work on f32 in main memory".to_owned())),
        }
    }

    fn slice(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => &[],
        }
    }
}

/// Lets a plain function change a tensor's values in place.
struct OnValues<F>(F);

impl<F: Fn(&mut [f32])> InplaceOp1 for OnValues<F> {
    fn name(&self) -> &'static str {
        "fused-pass"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match storage {
            CpuStorage::F32(values) => (self.0)(&mut values[contiguous(layout)?]),
            _ => return Err(Error::Msg("fused passes work on f32".to_owned())),
        }
        Ok(())
    }
}

fn contiguous(layout: &Layout) -> Result<Range<usize>> {
    let offsets = layout.contiguous_offsets();
    offsets.map(|(start, end)| start..end).ok_or_else(|| Error::Msg("fused passes need contiguous rows".to_owned()))
}
