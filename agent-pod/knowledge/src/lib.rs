//! From files to searchable chunks: parsing in a child process, token-aware chunking, LanceDB tables, exact vector
//! and full-text search fused by rank. This crate knows no models: vectors come in through [`Embedder`].
//!
//! Its functions return boxed futures. The code of an `async fn` is generated where it is awaited, here with much of LanceDB's
//! each time; behind a box it is generated once.

mod chunk;
mod ingest;
pub mod jsonl;
pub mod parse;
mod sentences;
mod table;

pub use chunk::{Chunk, TokenOffsets, Words, chunk};
pub use ingest::{Counts, DocumentText, Embedder, Error as IngestError, Ingestor};
pub use sentences::sentences;
pub use table::erasing;
pub use table::{
    ChunkRow, Digest, DocumentChunks, Error, Hit, KnowledgeBase, Query, ResultRow, ResultsTable, Upserted,
    content_digest, document_key, text_hash,
};

/// An error of a kind that this crate's callers or its libraries define.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
