//! What can go wrong with an engine, by who can mend it.

use std::sync::Arc;

use super::settings::{Dtype, ModelTask};
use crate::tokens::TokenError;
use crate::{embedding, generation};

/// Why an engine did not start or a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// For the user: build with the feature `cuda`, or ask for the CPU.
    #[error("a GPU was asked for, but this build has no GPU support (cargo feature cuda)")]
    FindGpuSupport,
    /// For the cluster's admin: the driver or the device is missing.
    #[error("failed to open the GPU")]
    OpenGpu(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// For the operator of the machine.
    #[error("failed to measure the device's memory")]
    MeasureMemory(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// For the user.
    #[error(
        "the weights of model {model:?} take {weights} bytes beside {others} of others, but device.memoryFraction {fraction} of \
         {total} bytes of memory are {limit}: raise device.memoryFraction or the agent's memory (template.resources.limits.memory, \
         or a larger GPU), choose a smaller dtype, or hold fewer or smaller models"
    )]
    FitWeights { model: String, weights: u64, others: u64, limit: u64, fraction: f64, total: u64 },
    #[error("failed to start the engine's threads")]
    StartThreads(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// For the user: names of models are unique in an engine.
    #[error("two models are named {model:?}")]
    DistinguishModels { model: String },
    #[error("failed to load the embedding model {model:?}")]
    LoadEmbedder { model: String, source: embedding::LoadError },
    #[error("failed to load the tokenizer of model {model:?}")]
    LoadTokenizer { model: String, source: TokenError },
    /// For the user: pull the model again; an encoder does not work without its tokenizer.
    #[error("embedding model {model:?} has no tokenizer file")]
    FindTokenizer { model: String },
    /// For the user: the tokenizer belongs to another model.
    #[error("the tokenizer of model {model:?} knows {tokenizer} tokens, the model only {weights}")]
    MatchTokenizer { model: String, tokenizer: usize, weights: usize },
    #[error("failed to load the generating model {model:?}")]
    LoadGenerator { model: String, source: generation::Error },
    #[error("failed to take the digest of model {model:?}")]
    DigestWeights { model: String, source: std::io::Error },
    #[error("failed to take the digest of the tokenizer of model {model:?}")]
    DigestTokenizer { model: String, source: std::io::Error },
    /// For the user.
    #[error("generating models cannot hold weights as {dtype}: q8_0, as stored and f32 can be chosen")]
    ChooseDtype { dtype: Dtype },
    /// For the user.
    #[error("the engine holds no model {model:?}")]
    FindModel { model: String },
    /// For the user.
    #[error("model {model:?} cannot do this, its task is {task:?}")]
    MatchTask { model: String, task: ModelTask },
    /// For us: preparing it panicked, or the runtime is shutting down.
    #[error("failed to prepare the request")]
    PrepareRequest(#[source] tokio::task::JoinError),
    #[error("failed to tokenise")]
    Tokenise(#[source] TokenError),
    #[error("failed to generate")]
    Generate(#[source] generation::Error),
    #[error("failed to compute embeddings")]
    Embed(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Retry later: more waits than the engine keeps.
    #[error("the engine is overloaded")]
    Overloaded,
    /// The caller's deadline passed while the request waited or ran.
    #[error("the deadline has passed")]
    MeetDeadline,
    /// For us: the engine's thread ended; the process should end and be started again.
    #[error("the engine has stopped: {reason}")]
    EngineStopped { reason: String },
}

impl Error {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Overloaded)
    }

    /// Whether no request will succeed any more: the process should end and be started again.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::EngineStopped { .. })
    }

    /// Whether the device is missing, or what this build needs for it: another device may do.
    pub fn is_of_device(&self) -> bool {
        matches!(self, Self::FindGpuSupport | Self::OpenGpu(_))
    }

    /// A word for metrics and events, from a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::FindGpuSupport | Self::OpenGpu(_) => "DeviceMissing",
            Self::MeasureMemory(_) => "MemoryUnknown",
            Self::FitWeights { .. } => "MemoryShort",
            Self::StartThreads(_) | Self::EngineStopped { .. } => "EngineStopped",
            Self::DistinguishModels { .. } | Self::FindModel { .. } | Self::MatchTask { .. } => "ModelUnknown",
            Self::LoadEmbedder { .. }
            | Self::LoadTokenizer { .. }
            | Self::FindTokenizer { .. }
            | Self::MatchTokenizer { .. }
            | Self::LoadGenerator { .. }
            | Self::DigestWeights { .. }
            | Self::DigestTokenizer { .. }
            | Self::ChooseDtype { .. } => "ModelLoadFailed",
            Self::PrepareRequest(_) | Self::Tokenise(_) => "RequestInvalid",
            Self::Generate(_) => "GenerationFailed",
            Self::Embed(_) => "EmbeddingFailed",
            Self::Overloaded => "Overloaded",
            Self::MeetDeadline => "DeadlineExceeded",
        }
    }
}
