//! The encoder: layers of attention and two products with residuals and normalisation after each, over packed tokens.

use candle_core::{Result, Tensor};

use super::config::EncoderConfig;
use super::packed::Packed;
use super::weights::{EncoderWeights, Layer, Norm};
use super::{fused, tensor_path};

/// Which code does everything that is not a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passes {
    /// Plain loops over main memory.
    Fused,
    /// Tensor operations on any device.
    Tensor,
}

pub(crate) struct Encoder {
    pub(crate) config: EncoderConfig,
    pub(crate) weights: EncoderWeights,
    pub(crate) passes: Passes,
}

impl Encoder {
    /// The last hidden state of every token, `[tokens, hidden]`. Ids must lie within the vocabulary.
    pub(crate) fn forward(&self, packed: &Packed) -> Result<Tensor> {
        let epsilon = self.config.epsilon as f32;
        let mut rows = match self.passes {
            Passes::Fused => fused::embed(packed, &self.weights.embeddings, epsilon)?,
            Passes::Tensor => tensor_path::embed(packed, &self.weights.embeddings, epsilon)?,
        };
        for layer in &self.weights.layers {
            rows = self.layer(layer, &rows, packed)?;
        }
        Ok(rows)
    }

    fn layer(&self, layer: &Layer, rows: &Tensor, packed: &Packed) -> Result<Tensor> {
        let qkv = rows.matmul(&layer.qkv.weight)?;
        let attended = self.attend(&qkv, &layer.qkv.bias, packed)?;
        let mixed = attended.matmul(&layer.output.weight)?;
        let rows = self.add_residual_norm(mixed, &layer.output.bias, rows, &layer.attention_norm)?;
        let widened = self.add_bias_gelu(rows.matmul(&layer.up.weight)?, &layer.up.bias)?;
        let narrowed = widened.matmul(&layer.down.weight)?;
        self.add_residual_norm(narrowed, &layer.down.bias, &rows, &layer.output_norm)
    }

    fn attend(&self, qkv: &Tensor, bias: &Tensor, packed: &Packed) -> Result<Tensor> {
        match self.passes {
            Passes::Fused => fused::attend(qkv, bias, packed, self.config.heads),
            Passes::Tensor => tensor_path::attend(qkv, bias, packed, self.config.heads),
        }
    }

    fn add_bias_gelu(&self, rows: Tensor, bias: &Tensor) -> Result<Tensor> {
        match self.passes {
            Passes::Fused => fused::add_bias_gelu(rows, bias),
            Passes::Tensor => tensor_path::add_bias_gelu(&rows, bias),
        }
    }

    fn add_residual_norm(&self, rows: Tensor, bias: &Tensor, residual: &Tensor, norm: &Norm) -> Result<Tensor> {
        let epsilon = self.config.epsilon as f32;
        match self.passes {
            Passes::Fused => fused::add_residual_norm(rows, bias, residual, norm, epsilon),
            Passes::Tensor => tensor_path::add_residual_norm(&rows, bias, residual, norm, epsilon),
        }
    }
}
