//! The encoder's passes as tensor operations, for devices whose memory plain code cannot reach. Slower on a CPU, where
//! it serves as the second opinion that the fused passes are tested against.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

use super::packed::Packed;
use super::weights::{Embeddings, Norm};

pub(crate) fn embed(packed: &Packed, embeddings: &Embeddings, epsilon: f32) -> Result<Tensor> {
    let device = embeddings.words.device();
    let ids = Tensor::new(packed.ids(), device)?;
    let positions = Tensor::new(packed.positions(), device)?;
    let words = embeddings.words.index_select(&ids, 0)?;
    let rows = (words + embeddings.positions.index_select(&positions, 0)?)?;
    normalise(&rows.broadcast_add(&embeddings.token_type)?, &embeddings.norm, epsilon)
}

pub(crate) fn attend(qkv: &Tensor, bias: &Tensor, packed: &Packed, heads: usize) -> Result<Tensor> {
    let qkv = qkv.broadcast_add(bias)?;
    let head_size = qkv.dim(D::Minus1)? / 3 / heads;
    #[cfg(feature = "flash-attn")]
    if qkv.device().is_cuda() && qkv.dtype() != candle_core::DType::F32 {
        return attend_in_one_kernel(&qkv, packed, heads, head_size);
    }
    // A sequence without tokens has no scores to normalise.
    let attended = packed.rows().filter(|rows| !rows.is_empty()).map(|rows| {
        let tokens = rows.len();
        let sequence = qkv.narrow(0, rows.start, tokens)?.reshape((tokens, 3, heads, head_size))?;
        let part = |which: usize| sequence.narrow(1, which, 1)?.squeeze(1)?.transpose(0, 1)?.contiguous();
        let (queries, keys, values) = (part(0)?, part(1)?, part(2)?);
        let scores = (queries.matmul(&keys.t()?)? * (head_size as f64).sqrt().recip())?;
        let attended = softmax_last_dim(&scores)?.matmul(&values)?;
        attended.transpose(0, 1)?.reshape((tokens, heads * head_size))
    });
    Tensor::cat(&attended.collect::<Result<Vec<_>>>()?, 0)
}

/// All sequences at once; the kernel exists for half precision only.
#[cfg(feature = "flash-attn")]
fn attend_in_one_kernel(qkv: &Tensor, packed: &Packed, heads: usize, head_size: usize) -> Result<Tensor> {
    let tokens = packed.tokens();
    let qkv = qkv.reshape((tokens, 3, heads, head_size))?;
    let part = |which: usize| qkv.narrow(1, which, 1)?.squeeze(1)?.contiguous();
    let bounds: Vec<u32> = std::iter::once(0).chain(packed.rows().map(|rows| rows.end as u32)).collect();
    let bounds = Tensor::new(bounds, qkv.device())?;
    let longest = packed.rows().map(|rows| rows.len()).max().unwrap_or(0);
    let scale = (head_size as f32).sqrt().recip();
    let (queries, keys, values) = (part(0)?, part(1)?, part(2)?);
    candle_flash_attn::flash_attn_varlen(&queries, &keys, &values, &bounds, &bounds, longest, longest, scale, false)?
        .reshape((tokens, heads * head_size))
}

pub(crate) fn add_bias_gelu(rows: &Tensor, bias: &Tensor) -> Result<Tensor> {
    rows.broadcast_add(bias)?.gelu_erf()
}

pub(crate) fn add_residual_norm(
    rows: &Tensor,
    bias: &Tensor,
    residual: &Tensor,
    norm: &Norm,
    epsilon: f32,
) -> Result<Tensor> {
    normalise(&(rows.broadcast_add(bias)? + residual)?, norm, epsilon)
}

fn normalise(rows: &Tensor, norm: &Norm, epsilon: f32) -> Result<Tensor> {
    layer_norm(&rows.contiguous()?, &norm.weight, &norm.bias, epsilon)
}
