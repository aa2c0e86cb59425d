//! Why a knowledge base could not be opened, written or searched.

use std::path::PathBuf;

use crate::BoxError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user or the administrator fixes the path or its permissions.
    #[error("failed to create the folder '{}'", folder.display())]
    CreateFolder { folder: PathBuf, source: std::io::Error },
    #[error("folder '{}' has a name that is not Unicode", folder.display())]
    Folder { folder: PathBuf },
    #[error("failed to open knowledge base '{name}'")]
    Open { name: String, source: BoxError },
    #[error("failed to create knowledge base '{name}'")]
    Create { name: String, source: BoxError },
    /// The user names the model that made the table, or another table.
    #[error("knowledge base '{name}' holds vectors of {found} dimensions, the embedder makes {wanted}")]
    OtherDimensions { name: String, found: usize, wanted: usize },
    #[error("knowledge base '{name}' was made with the embedder '{found}', not with '{wanted}'")]
    OtherEmbedder { name: String, found: String, wanted: String },
    #[error("knowledge base '{name}' was not made by Docket or by another version of it: {detail}")]
    OtherSchema { name: String, detail: String },
    #[error("vectors of {dimensions} dimensions are not supported")]
    Dimensions { dimensions: usize },
    /// A fault of the caller.
    #[error("chunk {chunk} of document '{document}' is invalid: {detail}")]
    InvalidChunk { document: String, chunk: u32, detail: String },
    #[error("query is invalid: {detail}")]
    InvalidQuery { detail: String },
    #[error("failed to lock the knowledge base for writing")]
    Lock { source: std::io::Error },
    /// A retry may succeed.
    #[error("another process has been writing to the knowledge base for {seconds} s")]
    Busy { seconds: u64 },
    #[error("failed to write to the knowledge base")]
    Write { source: BoxError },
    #[error("failed to read from the knowledge base")]
    Read { source: BoxError },
    #[error("failed to erase from the knowledge base")]
    Erase { source: BoxError },
    #[error("failed to compact the knowledge base")]
    Compact { source: BoxError },
    #[error("failed to {action} the table of results")]
    Results { action: &'static str, source: BoxError },
}

impl Error {
    pub(super) fn read(source: impl Into<BoxError>) -> Self {
        Self::Read { source: source.into() }
    }

    pub(super) fn write(source: impl Into<BoxError>) -> Self {
        Self::Write { source: source.into() }
    }

    pub(super) fn compact(source: impl Into<BoxError>) -> Self {
        Self::Compact { source: source.into() }
    }
}
