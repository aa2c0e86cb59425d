//! An embedding model: loaded weights, and batches of token ids in, one vector of length 1 for each sequence out.

use candle_core::{DType, Device};

use super::config::{ConfigError, EncoderConfig, Pooling};
use super::encoder::{Encoder, Passes};
use super::packed::Packed;
use super::weights::{EncoderWeights, WeightsError};
use crate::engine::Dtype;
use crate::{ModelFiles, safetensors};

/// Some exporters put the whole encoder under this name.
const OPTIONAL_PREFIX: &str = "bert.";

pub(crate) struct EmbeddingModel {
    encoder: Encoder,
    pub(crate) digest: String,
    pub(crate) bytes: u64,
}

/// Why an embedding model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("failed to load the weights")]
    ReadWeights(#[source] safetensors::LoadError),
    #[error("failed to find the encoder's shape")]
    ResolveConfig(#[source] ConfigError),
    #[error("failed to build the encoder")]
    BuildEncoder(#[source] WeightsError),
    /// For the user: choose another dtype or device.
    #[error("embedding models have no dtype {dtype} on this device: f32 runs everywhere, f16 and bf16 on a GPU")]
    ChooseDtype { dtype: Dtype },
}

impl EmbeddingModel {
    /// Loads the model onto `device`. A sequence has at most `limit` tokens if that is less than the model's own limit.
    pub(crate) fn load(
        files: &ModelFiles,
        dtype: Option<Dtype>,
        limit: Option<usize>,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let passes = if device.is_cpu() { Passes::Fused } else { Passes::Tensor };
        Self::load_with(files, numbers(dtype, device)?, limit, device, passes)
    }

    /// Bytes that the weights will take on the device, by the file's header alone.
    pub(crate) fn measure(files: &ModelFiles, dtype: Option<Dtype>, device: &Device) -> Result<usize, LoadError> {
        let size = numbers(dtype, device)?.size_in_bytes();
        let header = safetensors::header(&files.weights).map_err(LoadError::ReadWeights)?;
        let wanted = header.tensors.iter().filter(|tensor| is_wanted(&tensor.name));
        Ok(wanted.map(|tensor| tensor.elements().saturating_mul(size)).fold(0, usize::saturating_add))
    }

    fn load_with(
        files: &ModelFiles,
        dtype: DType,
        limit: Option<usize>,
        device: &Device,
        passes: Passes,
    ) -> Result<Self, LoadError> {
        let loaded = safetensors::load(&files.weights, is_wanted).map_err(LoadError::ReadWeights)?;
        let arrays = loaded.arrays.into_iter().map(|(name, array)| match name.strip_prefix(OPTIONAL_PREFIX) {
            Some(stripped) => (stripped.to_owned(), array),
            None => (name, array),
        });
        let arrays = arrays.collect();
        let mut config = EncoderConfig::resolve(files.config.as_deref(), &files.weights, &arrays)
            .map_err(LoadError::ResolveConfig)?;
        config.max_tokens = limit.map_or(config.max_tokens, |limit| limit.min(config.max_tokens));
        let weights = EncoderWeights::new(arrays, &config, dtype, device).map_err(LoadError::BuildEncoder)?;
        Ok(Self { encoder: Encoder { config, weights, passes }, digest: loaded.digest, bytes: loaded.bytes })
    }

    pub(crate) fn dimensions(&self) -> usize {
        self.encoder.config.hidden_size
    }

    pub(crate) fn max_tokens(&self) -> usize {
        self.encoder.config.max_tokens
    }

    pub(crate) fn vocabulary(&self) -> usize {
        self.encoder.weights.embeddings.vocabulary
    }

    /// A digest of all that the vector of a text depends on, with the tokenizer's.
    pub(crate) fn vectors_digest(&self, tokenizer: &str) -> String {
        // The sizes follow from the weights.
        let EncoderConfig { hidden_size: _, layers: _, heads, epsilon, max_tokens, pooling } = &self.encoder.config;
        let parts = format!("{} {tokenizer} {heads} {epsilon} {max_tokens} {pooling:?}", self.digest);
        blake3::hash(parts.as_bytes()).to_hex().to_string()
    }

    /// One vector for each sequence: of length 1, all zeros for one without tokens. Ids lie within the vocabulary.
    pub(crate) fn embed(&self, packed: &Packed) -> candle_core::Result<Vec<Vec<f32>>> {
        if packed.tokens() == 0 {
            return Ok(packed.rows().map(|_| vec![0.0; self.dimensions()]).collect());
        }
        let hidden = self.encoder.forward(packed)?;
        let hidden = hidden.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        let rows: Vec<f32> = hidden.flatten_all()?.to_vec1()?;
        Ok(packed.rows().map(|range| self.pooled(&rows, range)).collect())
    }

    fn pooled(&self, rows: &[f32], range: std::ops::Range<usize>) -> Vec<f32> {
        let width = self.dimensions();
        let sequence = &rows[range.start * width..range.end * width];
        let mut vector = match self.encoder.config.pooling {
            Pooling::First => sequence.get(..width).map_or_else(|| vec![0.0; width], <[f32]>::to_vec),
            Pooling::Mean => {
                let mut sums = vec![0.0; width];
                for row in sequence.chunks_exact(width) {
                    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
                sums
            }
        };
        // A mean and a sum differ in length alone, which goes here.
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        vector.iter_mut().for_each(|value| *value /= length);
        vector
    }
}

/// Whether a tensor is one of the encoder's.
fn is_wanted(name: &str) -> bool {
    let name = name.strip_prefix(OPTIONAL_PREFIX).unwrap_or(name);
    name.starts_with("encoder.layer.") || (name.starts_with("embeddings.") && !name.ends_with("_ids"))
}

fn numbers(dtype: Option<Dtype>, device: &Device) -> Result<DType, LoadError> {
    match dtype {
        None | Some(Dtype::F32) => Ok(DType::F32),
        Some(Dtype::F16) if !device.is_cpu() => Ok(DType::F16),
        Some(Dtype::Bf16) if !device.is_cpu() => Ok(DType::BF16),
        Some(dtype) => Err(LoadError::ChooseDtype { dtype }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::files_at;

    fn largest_difference(left: &[Vec<f32>], right: &[Vec<f32>]) -> f32 {
        let pairs = left.iter().flatten().zip(right.iter().flatten());
        pairs.map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn fused_passes_agree_with_tensor_operations() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        crate::tiny::write_tiny_model(folder.path(), 5);
        let files = files_at(folder.path()).expect("the folder holds a model");
        let load = |passes| {
            EmbeddingModel::load_with(&files, DType::F32, None, &Device::Cpu, passes).expect("the model loads")
        };
        let (fused, tensor) = (load(Passes::Fused), load(Passes::Tensor));
        for lengths in [vec![1], vec![2, 64, 3], vec![17, 16, 15], vec![64; 5], vec![0, 2, 0, 3, 0], vec![0]] {
            let sequences: Vec<Vec<u32>> =
                lengths.iter().map(|&length| (0..length).map(|id| id % 70).collect()).collect();
            let packed = Packed::new(sequences.iter().map(Vec::as_slice));
            let [left, right] = [&fused, &tensor].map(|model| model.embed(&packed).expect("the passes run"));
            assert_eq!(left.len(), lengths.len());
            assert!(largest_difference(&left, &right) < 2e-6, "lengths {lengths:?}");
        }
    }
}
