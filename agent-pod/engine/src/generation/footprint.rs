//! What a generating model takes of a device's memory, known from its file's header before anything else of it is read.

use super::model::Model;
use super::{Error, WeightFormat};
use crate::ModelFiles;
use crate::gguf;

/// Bytes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Its matrices in memory.
    pub(crate) weights: usize,
    /// Keys and values of one sequence that fills the context.
    pub(crate) longest_sequence: usize,
}

/// What the model will take, held in a format and with a context of at most `context` tokens, fed in chunks of `chunk`.
pub(crate) fn footprint(
    files: &ModelFiles,
    format: WeightFormat,
    context: usize,
    chunk: usize,
) -> Result<Footprint, Error> {
    let (header, file) = gguf::read_file(&files.weights).map_err(Error::Header)?;
    let (weights, shape, context) = Model::measure(&header, file, format, context)?;
    Ok(Footprint { weights, longest_sequence: shape.bytes_of(context, chunk) })
}
