//! Knowledge bases on a real LanceDB table: writing, searching, ingesting, opening again after a crash.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod erasing;
mod fake;
mod ingesting;
mod opening;
mod results;
mod searching;
mod writing;

use std::path::Path;

use knowledge::{ChunkRow, DocumentChunks, KnowledgeBase};

const DIMENSIONS: usize = 24;
const EMBEDDER: &str = "fake-1";

async fn open(folder: &Path) -> KnowledgeBase {
    KnowledgeBase::open(folder, "texts", DIMENSIONS, EMBEDDER).await.expect("knowledge base")
}

/// A document of tenant `t` with one chunk a text.
fn document(id: &str, texts: &[&str]) -> DocumentChunks {
    let mut start = 0;
    let chunks = (0..).zip(texts).map(|(index, text)| {
        let chunk =
            ChunkRow { index, start, end: start + text.len(), text: (*text).to_owned(), vector: fake::vector(text) };
        start = chunk.end + 1;
        chunk
    });
    DocumentChunks {
        document: id.to_owned(),
        tenant: "t".to_owned(),
        source: format!("files/{id}"),
        chunks: chunks.collect(),
    }
}
