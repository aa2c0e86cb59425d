//! Writes documents: compares first, so that writing the same again changes nothing, then commits in one step.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatchIterator;
use futures::{FutureExt as _, future::BoxFuture};
use lancedb::Table;

use super::digest::{self, Digest};
use super::schema::{DOCUMENT_KEY, ID};
use super::{Error, KnowledgeBase, read, schema};

/// All chunks of a document, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentChunks {
    pub document: String,
    pub tenant: String,
    pub source: String,
    pub chunks: Vec<ChunkRow>,
}

/// A chunk with its place in the document's text and its vector.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkRow {
    pub index: u32,
    pub start: usize,
    pub end: usize,
    pub text: String,
    pub vector: Vec<f32>,
}

/// What an upsert did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upserted {
    pub created: usize,
    pub changed: usize,
    pub unchanged: usize,
    /// Chunks of created and changed documents.
    pub chunks: usize,
}

impl DocumentChunks {
    fn key(&self) -> Digest {
        digest::document_key(&self.tenant, &self.document)
    }

    fn content_digest(&self) -> Digest {
        let chunks = self.chunks.iter().map(|chunk| (chunk.index, chunk.start, chunk.end, chunk.text.as_str()));
        digest::content_digest(&self.source, chunks)
    }
}

impl KnowledgeBase {
    /// Writes one document; see [`KnowledgeBase::upsert_all`].
    pub fn upsert<'a>(&'a self, document: &'a DocumentChunks) -> BoxFuture<'a, Result<Upserted, Error>> {
        async move { self.upsert_all(std::slice::from_ref(document)).await }.boxed()
    }

    /// Writes documents in one commit. Chunks that a changed document no longer has are removed by the same commit;
    /// when nothing changed there is no commit. Of several versions of a document in one call the last one counts.
    pub fn upsert_all<'a>(&'a self, documents: &'a [DocumentChunks]) -> BoxFuture<'a, Result<Upserted, Error>> {
        async move {
            self.check(documents)?;
            let _writer = self.shared.lock.acquire().await?;
            let table = &self.shared.table;
            let last: HashMap<Digest, &DocumentChunks> =
                documents.iter().map(|document| (document.key(), document)).collect();
            let keys: Vec<Digest> = last.keys().copied().collect();
            let present = self.content_digests(&keys).await?;

            let mut outcome = Upserted::default();
            let mut writes = Vec::new();
            let mut replaced = Vec::new();
            for (key, document) in last {
                let content_digest = document.content_digest();
                match present.get(&key) {
                    Some(found) if *found == content_digest => {
                        outcome.unchanged += 1;
                        continue;
                    }
                    Some(_) => {
                        outcome.changed += 1;
                        replaced.push(key);
                    }
                    // No rows say that a document is empty, so an empty one is there already.
                    None if document.chunks.is_empty() => {
                        outcome.unchanged += 1;
                        continue;
                    }
                    None => outcome.created += 1,
                }
                outcome.chunks += document.chunks.len();
                writes.push((key, content_digest, document));
            }
            // Hash maps have no order; the table's rows should.
            writes.sort_unstable_by_key(|(key, ..)| *key);
            replaced.sort_unstable();
            if !writes.is_empty() {
                commit(table, &writes, &replaced).await?;
                self.maintain_now_and_then(outcome.chunks).await?;
            }
            Ok(outcome)
        }
        .boxed()
    }

    /// Removes a document; true if there was one.
    pub fn delete_document<'a>(&'a self, tenant: &'a str, document: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        async move {
            let _writer = self.shared.lock.acquire().await?;
            let table = &self.shared.table;
            table.checkout_latest().await.map_err(Error::read)?;
            let filter = read::one_of(DOCUMENT_KEY, &[digest::document_key(tenant, document)]);
            if table.count_rows(Some(filter.clone())).await.map_err(Error::read)? == 0 {
                return Ok(false);
            }
            table.delete(filter.as_str()).await.map_err(Error::write)?;
            Ok(true)
        }
        .boxed()
    }

    fn check(&self, documents: &[DocumentChunks]) -> Result<(), Error> {
        for document in documents {
            let invalid = |chunk: &ChunkRow, detail: &str| Error::InvalidChunk {
                document: document.document.clone(),
                chunk: chunk.index,
                detail: detail.to_owned(),
            };
            for chunk in &document.chunks {
                if chunk.vector.len() != self.shared.dimensions {
                    return Err(invalid(chunk, &format!("its vector has {} dimensions", chunk.vector.len())));
                }
                if !chunk.vector.iter().all(|value| value.is_finite()) {
                    return Err(invalid(chunk, "its vector holds a value that is not a finite number"));
                }
            }
            if let Some(pair) = document.chunks.windows(2).find(|pair| pair[0].index >= pair[1].index) {
                return Err(invalid(&pair[1], "its index is not above that of the chunk before it"));
            }
        }
        Ok(())
    }
}

async fn commit(
    table: &Table,
    writes: &[(Digest, Digest, &super::DocumentChunks)],
    replaced: &[Digest],
) -> Result<(), Error> {
    let schema = table.schema().await.map_err(Error::read)?;
    let batch = schema::rows(&schema, writes)?;
    let stale = (!replaced.is_empty()).then(|| read::one_of(DOCUMENT_KEY, replaced));
    if batch.num_rows() == 0 {
        if let Some(stale) = stale {
            table.delete(stale.as_str()).await.map_err(Error::write)?;
        }
        return Ok(());
    }
    let mut merge = table.merge_insert(&[ID]);
    merge.when_matched_update_all(None).when_not_matched_insert_all();
    if let Some(stale) = stale {
        merge.when_not_matched_by_source_delete(Some(stale));
    }
    let rows = RecordBatchIterator::new([Ok(batch)], Arc::clone(&schema));
    merge.execute(Box::new(rows)).await.map_err(Error::write)?;
    Ok(())
}
