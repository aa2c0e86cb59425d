//! An encoder's weights in the layout that its passes want: queries, keys and values fused into one matrix.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::config::{ConfigError, EncoderConfig};
use crate::safetensors::Array;

/// `x · weight + bias`.
#[derive(Debug)]
pub(crate) struct Projection {
    /// `[in, out]`, contiguous, so that a product needs no transposition.
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
}

#[derive(Debug)]
pub(crate) struct Norm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
}

#[derive(Debug)]
pub(crate) struct Layer {
    /// Queries, keys and values beside each other: `[hidden, 3 · hidden]`.
    pub(crate) qkv: Projection,
    pub(crate) output: Projection,
    pub(crate) attention_norm: Norm,
    pub(crate) up: Projection,
    pub(crate) down: Projection,
    pub(crate) output_norm: Norm,
}

#[derive(Debug)]
pub(crate) struct Embeddings {
    pub(crate) words: Tensor,
    pub(crate) positions: Tensor,
    /// The first row of the token types: every token of a single text is of that type.
    pub(crate) token_type: Tensor,
    pub(crate) norm: Norm,
    pub(crate) vocabulary: usize,
}

#[derive(Debug)]
pub(crate) struct EncoderWeights {
    pub(crate) embeddings: Embeddings,
    pub(crate) layers: Vec<Layer>,
}

/// Why weights do not make an encoder.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("the weights do not fit the encoder")]
    Fit(#[source] ConfigError),
    #[error("failed to move weights to the device")]
    Place(#[source] candle_core::Error),
}

impl EncoderWeights {
    pub(crate) fn new(
        arrays: BTreeMap<String, Array>,
        config: &EncoderConfig,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, WeightsError> {
        let mut builder = Builder { arrays, dtype, device };
        let hidden = config.hidden_size;
        let words = builder.take("embeddings.word_embeddings.weight")?;
        let positions = builder.take("embeddings.position_embeddings.weight")?;
        let mut token_type = builder.take("embeddings.token_type_embeddings.weight")?;
        token_type.values.truncate(hidden);
        for (name, table) in [("word", &words), ("position", &positions), ("token_type", &token_type)] {
            if table.shape.len() != 2 || table.shape[1] != hidden || table.values.is_empty() {
                return Err(missing(&format!("embeddings.{name}_embeddings.weight")));
            }
        }
        let embeddings = Embeddings {
            vocabulary: words.values.len() / hidden,
            words: builder.table(words, hidden)?,
            positions: builder.table(positions, hidden)?,
            token_type: builder.vector(token_type.values)?,
            norm: builder.norm("embeddings.LayerNorm", hidden)?,
        };
        let layers = (0..config.layers).map(|index| builder.layer(index, hidden)).collect::<Result<_, _>>()?;
        Ok(Self { embeddings, layers })
    }
}

struct Builder<'a> {
    arrays: BTreeMap<String, Array>,
    dtype: DType,
    device: &'a Device,
}

impl Builder<'_> {
    fn layer(&mut self, index: usize, hidden: usize) -> Result<Layer, WeightsError> {
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let parts = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        let inner = self.arrays.get(&name("intermediate.dense.bias")).map_or(0, |bias| bias.values.len());
        Ok(Layer {
            qkv: self.projection(&parts, hidden, hidden)?,
            output: self.projection(&[name("attention.output.dense")], hidden, hidden)?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"), hidden)?,
            up: self.projection(&[name("intermediate.dense")], hidden, inner)?,
            down: self.projection(&[name("output.dense")], inner, hidden)?,
            output_norm: self.norm(&name("output.LayerNorm"), hidden)?,
        })
    }

    /// Stacks the outputs of several `[outputs, inputs]` matrices and turns the result round.
    fn projection(&mut self, names: &[String], inputs: usize, outputs: usize) -> Result<Projection, WeightsError> {
        let mut rows = Vec::new();
        let mut bias = Vec::new();
        for name in names {
            let weight_name = format!("{name}.weight");
            let weight = self.take(&weight_name)?;
            let part = self.take(&format!("{name}.bias"))?;
            if weight.shape != [outputs, inputs] || part.shape != [outputs] || outputs == 0 {
                return Err(missing(&weight_name));
            }
            rows.extend(weight.values);
            bias.extend(part.values);
        }
        let weight = Tensor::from_vec(rows, (bias.len(), inputs), &Device::Cpu)
            .and_then(|rows| rows.t()?.contiguous()?.to_dtype(self.dtype)?.to_device(self.device))
            .map_err(WeightsError::Place)?;
        Ok(Projection { weight, bias: self.vector(bias)? })
    }

    fn norm(&mut self, name: &str, hidden: usize) -> Result<Norm, WeightsError> {
        let mut part = |part: &str| {
            let full = format!("{name}.{part}");
            let array = self.take(&full)?;
            if array.shape == [hidden] { self.vector(array.values) } else { Err(missing(&full)) }
        };
        Ok(Norm { weight: part("weight")?, bias: part("bias")? })
    }

    fn table(&self, array: Array, hidden: usize) -> Result<Tensor, WeightsError> {
        let rows = array.values.len() / hidden;
        self.placed(array.values, &[rows, hidden])
    }

    fn vector(&self, values: Vec<f32>) -> Result<Tensor, WeightsError> {
        let length = values.len();
        self.placed(values, &[length])
    }

    fn placed(&self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor, WeightsError> {
        Tensor::from_vec(values, shape, &Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(self.dtype)?.to_device(self.device))
            .map_err(WeightsError::Place)
    }

    fn take(&mut self, name: &str) -> Result<Array, WeightsError> {
        self.arrays.remove(name).ok_or_else(|| missing(name))
    }
}

fn missing(name: &str) -> WeightsError {
    WeightsError::Fit(ConfigError::FindTensor { name: name.to_owned() })
}
