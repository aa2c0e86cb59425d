//! Models on one device: embeddings, generation and trainable heads behind one engine thread and a batcher.
//! Knows nothing of documents, pipelines, queues or clusters; [`reach`] says which servers models may be fetched from.

mod batcher;
pub mod catalogue;
pub mod embedding;
mod engine;
pub mod generation;
pub mod gguf;
pub mod heads;
pub mod memory;
pub mod reach;
pub mod safetensors;
pub mod threads;
mod tokens;

#[cfg(test)]
#[path = "../tests/engine_tests/engine_support/tiny.rs"]
mod tiny;

use std::path::PathBuf;

pub use engine::{
    Class, DeviceKind, Dtype, Embedded, Engine, Error, ModelInfo, ModelSpec, ModelTask, Settings, Statistics,
};

/// Where a model's files lie. A GGUF file carries its tokenizer and configuration, safetensors have them beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    pub weights: PathBuf,
    pub tokenizer: Option<PathBuf>,
    pub config: Option<PathBuf>,
}
