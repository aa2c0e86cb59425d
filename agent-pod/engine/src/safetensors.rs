//! Reads safetensors weights from files that nobody vouches for: the whole header is checked before a tensor is read,
//! and the digest is taken over the very bytes that end up in memory.

mod header;
mod read;

pub use header::{ElementType, Header, HeaderError, MAX_HEADER_BYTES, TensorEntry};
pub use read::{Array, LoadError, Weights, header, load};
