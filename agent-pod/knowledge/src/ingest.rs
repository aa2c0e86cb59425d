//! Takes documents into a knowledge base: chunks them, embeds each distinct text once, writes in batches.
//!
//! Unchanged documents cost a look at their digest and no model. A text that was embedded before, in this run or in any
//! document of the table, is not embedded again; among licences and mails that is most of them.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{FutureExt as _, future::BoxFuture};

use crate::{
    BoxError, ChunkRow, Digest, DocumentChunks, KnowledgeBase, chunk, content_digest, document_key, text_hash,
};

/// A commit costs the same for one row as for many; these bounds keep a batch's vectors within a few megabytes.
const DOCUMENTS_A_COMMIT: usize = 64;
const CHUNKS_A_COMMIT: usize = 2_000;
/// Texts handed to the model at once; it batches them further by length.
const TEXTS_A_CALL: usize = 256;
/// Vectors remembered from this run; older ones are looked up in the table.
const VECTORS_REMEMBERED: usize = 16_384;

/// The model that makes vectors.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// One vector a text, in the order of the texts.
    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, BoxError>;

    /// The byte ranges of the tokens that the model sees in a text, in order.
    fn token_offsets(&self, text: &str) -> Vec<(usize, usize)>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentText {
    pub document: String,
    pub tenant: String,
    /// Where the text comes from, for citations.
    pub source: String,
    pub text: String,
}

/// What an ingest did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub documents: u64,
    /// Documents that the table held already, just as they are.
    pub unchanged: u64,
    /// Chunks written.
    pub chunks: u64,
    /// Texts that the model saw.
    pub embedded: u64,
    /// Chunks written with a vector that another chunk had.
    pub reused: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to cut document '{document}' into chunks")]
    Chunk { document: String, source: tokio::task::JoinError },
    #[error("failed to embed {texts} texts")]
    Embed { texts: usize, source: BoxError },
    /// A fault of the embedder.
    #[error("embedder gave {found} vectors for {wanted} texts")]
    VectorCount { found: usize, wanted: usize },
    #[error("failed to store documents in the knowledge base")]
    Store { source: crate::Error },
}

/// One run of taking documents in. After an error what was committed stays, and a new run goes on from there.
pub struct Ingestor {
    knowledge: KnowledgeBase,
    embedder: Arc<dyn Embedder>,
    tokens: usize,
    overlap: usize,
    pending: Vec<Pending>,
    pending_chunks: usize,
    vectors: HashMap<Digest, Arc<[f32]>>,
    counts: Counts,
}

struct Pending {
    key: Digest,
    content_digest: Digest,
    document: String,
    tenant: String,
    source: String,
    chunks: Vec<PendingChunk>,
}

struct PendingChunk {
    index: u32,
    start: usize,
    end: usize,
    text: String,
    hash: Digest,
}

impl Ingestor {
    /// Chunks have at most so many `tokens`; see [`chunk`](fn@crate::chunk) for the `overlap`.
    #[must_use]
    pub fn new(knowledge: KnowledgeBase, embedder: Arc<dyn Embedder>, tokens: usize, overlap: usize) -> Self {
        Self {
            knowledge,
            embedder,
            tokens,
            overlap,
            pending: Vec::new(),
            pending_chunks: 0,
            vectors: HashMap::new(),
            counts: Counts::default(),
        }
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes one document; commits when enough have gathered.
    pub fn add<'a>(&'a mut self, document: DocumentText) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let (embedder, tokens, overlap) = (Arc::clone(&self.embedder), self.tokens, self.overlap);
            let id = document.document.clone();
            let work = tokio::task::spawn_blocking(move || prepare(document, &*embedder, tokens, overlap));
            let pending = work.await.map_err(|source| Error::Chunk { document: id, source })?;
            self.counts.documents += 1;
            self.pending_chunks += pending.chunks.len();
            self.pending.push(pending);
            if self.pending.len() >= DOCUMENTS_A_COMMIT || self.pending_chunks >= CHUNKS_A_COMMIT {
                self.commit().await?;
            }
            Ok(())
        }
        .boxed()
    }

    /// Commits the rest. After the last run over a table, [`KnowledgeBase::compact`] makes it fast.
    pub fn finish(mut self) -> BoxFuture<'static, Result<Counts, Error>> {
        async move {
            self.commit().await?;
            Ok(self.counts)
        }
        .boxed()
    }

    async fn commit(&mut self) -> Result<(), Error> {
        let store = |source| Error::Store { source };
        let mut pending = std::mem::take(&mut self.pending);
        self.pending_chunks = 0;
        let keys: Vec<Digest> = pending.iter().map(|document| document.key).collect();
        let present = self.knowledge.content_digests(&keys).await.map_err(store)?;
        let before = pending.len();
        pending.retain(|document| present.get(&document.key) != Some(&document.content_digest));
        self.counts.unchanged += (before - pending.len()) as u64;
        if pending.is_empty() {
            return Ok(());
        }
        let embedded = self.learn_vectors(&pending).await?;
        let rows: Vec<DocumentChunks> = pending.into_iter().map(|document| self.rows(document)).collect();
        let upserted = self.knowledge.upsert_all(&rows).await.map_err(store)?;
        self.counts.unchanged += upserted.unchanged as u64;
        self.counts.chunks += upserted.chunks as u64;
        self.counts.embedded += embedded;
        self.counts.reused += (upserted.chunks as u64).saturating_sub(embedded);
        Ok(())
    }

    /// Sees to it that the vector of every pending text is known; returns how many the model made.
    async fn learn_vectors(&mut self, pending: &[Pending]) -> Result<u64, Error> {
        if self.vectors.len() > VECTORS_REMEMBERED {
            self.vectors.clear();
        }
        let mut missing: HashMap<Digest, &str> = HashMap::new();
        let mut order = Vec::new();
        for chunk in pending.iter().flat_map(|document| &document.chunks) {
            if !self.vectors.contains_key(&chunk.hash) && missing.insert(chunk.hash, &chunk.text).is_none() {
                order.push(chunk.hash);
            }
        }
        let stored = self.knowledge.vectors_of(&order).await.map_err(|source| Error::Store { source })?;
        order.retain(|hash| !stored.contains_key(hash));
        self.vectors.extend(stored.into_iter().map(|(hash, vector)| (hash, vector.into())));
        for hashes in order.chunks(TEXTS_A_CALL) {
            let texts: Vec<String> = hashes.iter().map(|hash| missing[hash].to_owned()).collect();
            let wanted = texts.len();
            let vectors = self.embedder.embed(texts).await.map_err(|source| Error::Embed { texts: wanted, source })?;
            if vectors.len() != wanted {
                return Err(Error::VectorCount { found: vectors.len(), wanted });
            }
            self.vectors.extend(hashes.iter().copied().zip(vectors.into_iter().map(Into::into)));
        }
        Ok(order.len() as u64)
    }

    fn rows(&self, document: Pending) -> DocumentChunks {
        let row = |chunk: PendingChunk| ChunkRow {
            index: chunk.index,
            start: chunk.start,
            end: chunk.end,
            vector: self.vectors[&chunk.hash].to_vec(),
            text: chunk.text,
        };
        DocumentChunks {
            document: document.document,
            tenant: document.tenant,
            source: document.source,
            chunks: document.chunks.into_iter().map(row).collect(),
        }
    }
}

fn prepare(text: DocumentText, embedder: &dyn Embedder, tokens: usize, overlap: usize) -> Pending {
    let DocumentText { document, tenant, source, text } = text;
    let offsets = embedder.token_offsets(&text);
    let pieces = chunk(&text, &offsets, tokens, overlap).into_iter().map(|piece| {
        let text = text[piece.start..piece.end].to_owned();
        let hash = text_hash(&text);
        PendingChunk { index: piece.index, start: piece.start, end: piece.end, text, hash }
    });
    let chunks: Vec<PendingChunk> = pieces.collect();
    let parts = chunks.iter().map(|chunk| (chunk.index, chunk.start, chunk.end, chunk.text.as_str()));
    let content_digest = content_digest(&source, parts);
    Pending { key: document_key(&tenant, &document), content_digest, document, tenant, source, chunks }
}
