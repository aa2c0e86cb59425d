//! Shares out a device's memory: what models may take, what their weights will, and what is left for keys and values. All of it
//! is decided before anything is loaded, because a process that has taken too much is killed without a word.
//!
//! What a pass computes with is not counted; it belongs to the share that is not given out.

use candle_core::Device;

use super::error::Error;
use super::load;
use super::settings::{ModelSpec, ModelTask, Settings};
use crate::embedding::EmbeddingModel;
use crate::generation::{self, Footprint};

/// How much of a device's memory models may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limit {
    /// Bytes of the device.
    pub(crate) total: u64,
    /// The share of them.
    pub(crate) fraction: f64,
}

impl Limit {
    /// Bytes of the share.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of bytes, rounded down"
    )]
    pub(crate) fn bytes(&self) -> u64 {
        (self.total as f64 * self.fraction.clamp(0.0, 1.0)) as u64
    }
}

/// Bytes of keys and values that each model may hold, in the models' order; `None` where they are not counted. Fails where the
/// weights do not fit.
pub(crate) fn share_out(
    settings: &Settings,
    models: &[ModelSpec],
    device: &Device,
) -> Result<Vec<Option<usize>>, Error> {
    let Some(fraction) = settings.memory_fraction else { return Ok(vec![None; models.len()]) };
    let limit = Limit { total: total(device)?, fraction };
    let needs = models.iter().map(|model| need(model, device)).collect::<Result<Vec<_>, _>>()?;
    shares(models, &needs, limit)
}

/// What a model takes.
fn need(model: &ModelSpec, device: &Device) -> Result<Footprint, Error> {
    match model.task {
        ModelTask::Embed => {
            let weights = EmbeddingModel::measure(&model.files, model.dtype, device)
                .map_err(|source| Error::LoadEmbedder { model: model.name.clone(), source })?;
            Ok(Footprint { weights, longest_sequence: 0 })
        }
        ModelTask::Generate => {
            let (format, context) = (load::weight_format(model.dtype)?, load::context_tokens(model));
            generation::footprint(&model.files, format, context, load::PREFILL_CHUNK)
                .map_err(|source| Error::LoadGenerator { model: model.name.clone(), source })
        }
    }
}

/// Weights first; what is left is for keys and values, for each model as much as its longest sequence is among theirs.
fn shares(models: &[ModelSpec], needs: &[Footprint], limit: Limit) -> Result<Vec<Option<usize>>, Error> {
    let mut left = limit.bytes();
    for (model, need) in models.iter().zip(needs) {
        let weights = need.weights as u64;
        left = left.checked_sub(weights).ok_or_else(|| Error::FitWeights {
            model: model.name.clone(),
            weights,
            others: limit.bytes() - left,
            limit: limit.bytes(),
            fraction: limit.fraction,
            total: limit.total,
        })?;
    }
    let all: u128 = needs.iter().map(|need| need.longest_sequence as u128).sum();
    let share = |need: &Footprint| {
        let share = u128::from(left) * need.longest_sequence as u128 / all.max(1);
        Some(usize::try_from(share).unwrap_or(usize::MAX))
    };
    Ok(needs.iter().map(share).collect())
}

#[cfg(feature = "cuda")]
fn total(device: &Device) -> Result<u64, Error> {
    if let Device::Cuda(gpu) = device {
        let (_free, total) =
            gpu.cuda_stream().context().mem_get_info().map_err(|source| Error::MeasureMemory(Box::new(source)))?;
        return Ok(total as u64);
    }
    of_process()
}

#[cfg(not(feature = "cuda"))]
fn total(_device: &Device) -> Result<u64, Error> {
    of_process()
}

fn of_process() -> Result<u64, Error> {
    crate::memory::limit().map_err(|source| Error::MeasureMemory(Box::new(source)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ModelFiles;

    fn models(names: &[&str]) -> Vec<ModelSpec> {
        let files = ModelFiles { weights: PathBuf::new(), tokenizer: None, config: None };
        let of = |name: &&str| ModelSpec {
            name: (*name).to_owned(),
            task: ModelTask::Generate,
            files: files.clone(),
            dtype: None,
            context_tokens: None,
        };
        names.iter().map(of).collect()
    }

    fn need(weights: usize, longest_sequence: usize) -> Footprint {
        Footprint { weights, longest_sequence }
    }

    #[test]
    fn what_weights_leave_is_shared_by_the_longest_sequences() {
        let limit = Limit { total: 2000, fraction: 0.5 };
        let shared = shares(&models(&["a", "b", "c"]), &[need(300, 30), need(100, 0), need(200, 10)], limit);
        assert_eq!(shared.expect("the weights fit"), [Some(300), Some(0), Some(100)]);
    }

    #[test]
    fn weights_that_do_not_fit_are_named_with_all_numbers() {
        let limit = Limit { total: 1000, fraction: 0.8 };
        let error = shares(&models(&["a", "b"]), &[need(300, 1), need(600, 1)], limit).expect_err("900 of 800 bytes");
        let text = error.to_string();
        for part in ["\"b\"", "600", "300", "800", "0.8", "1000", "memoryFraction"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(shares(&models(&["a"]), &[need(800, 1)], limit).is_ok(), "to the byte");
    }
}
