//! What a caller may choose about an engine and its models.

use std::fmt;
use std::time::Duration;

use crate::ModelFiles;

/// The device an engine runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    Cpu,
    /// The first GPU that the process sees; needs the cargo feature `cuda`.
    Gpu,
}

/// How the thread and its batcher work.
#[derive(Debug, Clone)]
pub struct Settings {
    pub device: DeviceKind,
    /// Threads that share one forward pass; `threads::available_threads()` is the pod's limit.
    pub threads: usize,
    /// Most sequences in one forward pass, and most generations in flight.
    pub max_batch: usize,
    /// Longest that a request waits for others to share its pass while the engine is otherwise idle.
    pub max_wait: Duration,
    /// Most tokens in one forward pass; `None` learns it from measured step times.
    pub token_budget: Option<usize>,
    /// Share of the device's memory that weights, keys and values may take, above 0 and at most 1; on the CPU of the memory
    /// that the process may take. `None` does not count them.
    pub memory_fraction: Option<f64>,
}

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum ModelTask {
    Embed,
    Generate,
}

/// The number format that weights are held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
    Q8_0,
    /// The formats of the file, unchanged.
    AsStored,
}

impl fmt::Display for Dtype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::AsStored => "as stored",
        })
    }
}

/// One model to load, under the name that requests use.
#[derive(Debug, Clone)]
pub struct ModelSpec {
    pub name: String,
    pub task: ModelTask,
    pub files: ModelFiles,
    /// `None` takes the format that suits the device and the file.
    pub dtype: Option<Dtype>,
    /// Most tokens of one sequence; `None` takes the model's own limit.
    pub context_tokens: Option<usize>,
}

/// How urgent a request is. Classes share the device by weight, so none starves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Bulk,
    Normal,
    Interactive,
}
