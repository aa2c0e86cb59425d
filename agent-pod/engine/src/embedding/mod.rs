//! Text embeddings by an encoder of the BERT family: own code, because padding-free batches and fused passes are what
//! stock implementations lack on a CPU.
//! Knows nothing of threads of control, queues or priorities; those are the engine's.

mod attention;
mod config;
mod elementwise;
mod encoder;
mod fused;
mod model;
mod packed;
mod tensor_path;
mod weights;

pub(crate) use model::EmbeddingModel;
pub use model::LoadError;
pub(crate) use packed::Packed;
