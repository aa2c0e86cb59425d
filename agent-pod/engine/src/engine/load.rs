//! Opens the device and loads the models, on the thread that will own them.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;

use super::ModelInfo;
use super::error::Error;
use super::inbox::Inbox;
use super::memory;
use super::settings::{DeviceKind, Dtype, ModelSpec, ModelTask, Settings};
use super::shares::Shares;
use super::statistics::Counters;
use super::worker::{Embedder, Generating, Model, Worker};
use crate::batcher::TokenBudget;
use crate::embedding::EmbeddingModel;
use crate::generation::{Generator, GeneratorSettings, Preparer, WeightFormat};
use crate::tokens::TextTokenizer;

/// Context of a generator whose specification names none: enough for a document's chunk, its prompt and an answer.
const USUAL_CONTEXT_TOKENS: usize = 4096;
/// Prompt tokens a step: keeps a step within tens of milliseconds for small models on two cores.
pub(crate) const PREFILL_CHUNK: usize = 128;

/// What callers need of a model, on their side of the inbox.
pub(crate) struct Front {
    pub(crate) index: usize,
    pub(crate) info: ModelInfo,
    pub(crate) tokenizer: TextTokenizer,
    pub(crate) kind: FrontKind,
}

pub(crate) enum FrontKind {
    Embedder { dimensions: usize, max_tokens: usize, vectors_digest: String },
    Generator { preparer: Arc<Preparer> },
}

impl Front {
    /// The error of asking the model for what it does not do.
    pub(crate) fn mismatch(&self) -> Error {
        Error::MatchTask { model: self.info.name.clone(), task: self.info.task }
    }
}

pub(crate) fn load_all(
    settings: Settings,
    models: Vec<ModelSpec>,
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
) -> Result<(Worker, Vec<Front>), Error> {
    let mut names = HashSet::new();
    if let Some(twice) = models.iter().find(|model| !names.insert(model.name.as_str())) {
        return Err(Error::DistinguishModels { model: twice.name.clone() });
    }
    let device = open(settings.device)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.threads.max(1))
        .thread_name(|index| format!("engine-{index}"))
        .build()
        .map_err(|source| Error::StartThreads(Box::new(source)))?;
    let caches = memory::share_out(&settings, &models, &device)?;
    let loaded = models.into_iter().zip(caches).enumerate().map(|(index, (spec, cache))| match spec.task {
        ModelTask::Embed => load_embedder(index, spec, &settings, &device),
        ModelTask::Generate => load_generator(index, spec, cache, &settings, &device),
    });
    let (models, fronts) = loaded.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    Ok((Worker { settings, models, pool, inbox, counters }, fronts))
}

#[cfg(feature = "cuda")]
fn open(device: DeviceKind) -> Result<Device, Error> {
    match device {
        DeviceKind::Cpu => Ok(Device::Cpu),
        DeviceKind::Gpu => Device::new_cuda(0).map_err(|source| Error::OpenGpu(Box::new(source))),
    }
}

#[cfg(not(feature = "cuda"))]
fn open(device: DeviceKind) -> Result<Device, Error> {
    match device {
        DeviceKind::Cpu => Ok(Device::Cpu),
        DeviceKind::Gpu => Err(Error::FindGpuSupport),
    }
}

fn load_embedder(index: usize, spec: ModelSpec, settings: &Settings, device: &Device) -> Result<(Model, Front), Error> {
    let started = Instant::now();
    let name = spec.name;
    let Some(path) = &spec.files.tokenizer else { return Err(Error::FindTokenizer { model: name }) };
    let tokenizer = TextTokenizer::load(path).map_err(|source| Error::LoadTokenizer { model: name.clone(), source })?;
    let (tokenizer_digest, _) =
        digest(path).map_err(|source| Error::DigestTokenizer { model: name.clone(), source })?;
    let model = EmbeddingModel::load(&spec.files, spec.dtype, spec.context_tokens, device)
        .map_err(|source| Error::LoadEmbedder { model: name.clone(), source })?;
    // A token beyond the vocabulary would read past the table of words.
    if tokenizer.vocabulary() > model.vocabulary() {
        let (tokenizer, weights) = (tokenizer.vocabulary(), model.vocabulary());
        return Err(Error::MatchTokenizer { model: name, tokenizer, weights });
    }
    let info = ModelInfo {
        name,
        task: ModelTask::Embed,
        load_seconds: started.elapsed().as_secs_f64(),
        bytes: model.bytes,
        digest: model.digest.clone(),
    };
    let kind = FrontKind::Embedder {
        dimensions: model.dimensions(),
        max_tokens: model.max_tokens(),
        vectors_digest: model.vectors_digest(&tokenizer_digest),
    };
    let embedder = Embedder { model, budget: TokenBudget::new(settings.token_budget), companions: 0 };
    Ok((Model::Embedder(embedder), Front { index, info, tokenizer, kind }))
}

fn load_generator(
    index: usize,
    spec: ModelSpec,
    cache_bytes: Option<usize>,
    settings: &Settings,
    device: &Device,
) -> Result<(Model, Front), Error> {
    let started = Instant::now();
    let name = spec.name.clone();
    let failed = |source| Error::LoadGenerator { model: name.clone(), source };
    let generator_settings = GeneratorSettings {
        dtype: weight_format(spec.dtype)?,
        context_tokens: context_tokens(&spec),
        max_sequences: settings.max_batch.max(1),
        prefill_chunk: PREFILL_CHUNK,
        cache_bytes,
    };
    let generator = Generator::load(&spec.files, &generator_settings, device).map_err(failed)?;
    let (digest, bytes) =
        digest(&spec.files.weights).map_err(|source| Error::DigestWeights { model: name.clone(), source })?;
    let tokenizer = TextTokenizer::new(generator.tokenizer())
        .map_err(|source| Error::LoadTokenizer { model: name.clone(), source })?;
    let load_seconds = started.elapsed().as_secs_f64();
    let info = ModelInfo { name, task: ModelTask::Generate, load_seconds, bytes, digest };
    let kind = FrontKind::Generator { preparer: generator.preparer() };
    let generating = Generating { generator, admissions: Shares::new(), working: None };
    Ok((Model::Generator(generating), Front { index, info, tokenizer, kind }))
}

/// Most tokens of a generator's sequence.
pub(crate) fn context_tokens(spec: &ModelSpec) -> usize {
    spec.context_tokens.unwrap_or(USUAL_CONTEXT_TOKENS)
}

pub(crate) fn weight_format(dtype: Option<Dtype>) -> Result<WeightFormat, Error> {
    match dtype {
        None | Some(Dtype::Q8_0) => Ok(WeightFormat::Q8_0),
        Some(Dtype::AsStored) => Ok(WeightFormat::AsStored),
        Some(Dtype::F32) => Ok(WeightFormat::F32),
        Some(dtype) => Err(Error::ChooseDtype { dtype }),
    }
}

/// BLAKE3 and size of a file.
fn digest(path: &Path) -> std::io::Result<(String, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok((hasher.finalize().to_hex().to_string(), hasher.count()))
}
