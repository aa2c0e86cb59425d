//! Reads columns of a table into plain values, and answers what a writer asks before it writes.

use std::collections::HashMap;

use arrow_array::{Array, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use futures::{FutureExt as _, TryStreamExt, future::BoxFuture};
use lancedb::Table;
use lancedb::query::{ExecutableQuery, QueryBase, Select};

use super::schema::{CONTENT_DIGEST, DOCUMENT_KEY, TEXT_HASH, VECTOR};
use super::{Digest, Error, KnowledgeBase};

/// Longer lists of names in one filter gain nothing.
const NAMES_A_QUERY: usize = 1_000;

impl KnowledgeBase {
    /// The content digests of those documents that the table holds by now, whoever wrote them.
    pub fn content_digests<'a>(
        &'a self,
        documents: &'a [Digest],
    ) -> BoxFuture<'a, Result<HashMap<Digest, Digest>, Error>> {
        async move {
            // Who is told of a document that was erased a moment ago would not write it again.
            self.shared.table.checkout_latest().await.map_err(Error::read)?;
            let mut found = HashMap::new();
            for names in documents.chunks(NAMES_A_QUERY) {
                let columns = [DOCUMENT_KEY, CONTENT_DIGEST];
                for batch in select(&self.shared.table, &one_of(DOCUMENT_KEY, names), &columns).await? {
                    let (keys, digests) = (digests(&batch, DOCUMENT_KEY)?, digests(&batch, CONTENT_DIGEST)?);
                    found.extend(keys.into_iter().zip(digests));
                }
            }
            Ok(found)
        }
        .boxed()
    }

    /// The vectors of those texts that the table holds in any document.
    pub fn vectors_of<'a>(&'a self, texts: &'a [Digest]) -> BoxFuture<'a, Result<HashMap<Digest, Vec<f32>>, Error>> {
        async move {
            let mut found = HashMap::new();
            for names in texts.chunks(NAMES_A_QUERY) {
                for batch in select(&self.shared.table, &one_of(TEXT_HASH, names), &[TEXT_HASH, VECTOR]).await? {
                    let hashes = digests(&batch, TEXT_HASH)?;
                    let (values, width) = vectors(&batch)?;
                    for (hash, vector) in hashes.into_iter().zip(values.chunks_exact(width)) {
                        found.entry(hash).or_insert_with(|| vector.to_vec());
                    }
                }
            }
            Ok(found)
        }
        .boxed()
    }
}

/// A filter in SQL. Digests are hexadecimal, so there is nothing to escape.
pub(super) fn one_of(column: &str, names: &[Digest]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    format!("{column} IN ({})", names.join(", "))
}

pub(super) async fn select(table: &Table, filter: &str, columns: &[&str]) -> Result<Vec<RecordBatch>, Error> {
    let stream = table.query().only_if(filter).select(Select::columns(columns)).execute().await.map_err(Error::read)?;
    stream.try_collect().await.map_err(Error::read)
}

pub(super) fn column<'a, T: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T, Error> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_any().downcast_ref())
        .ok_or_else(|| Error::read(format!("column '{name}' is missing or of another type")))
}

pub(super) fn digests(batch: &RecordBatch, name: &str) -> Result<Vec<Digest>, Error> {
    let values: &StringArray = column(batch, name)?;
    (0..values.len())
        .map(|row| Digest::parse(values.value(row)))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::read(format!("column '{name}' holds a value that is no digest")))
}

/// The vectors of a batch one after another, and their width.
pub(super) fn vectors(batch: &RecordBatch) -> Result<(&[f32], usize), Error> {
    let lists: &FixedSizeListArray = column(batch, VECTOR)?;
    let width = usize::try_from(lists.value_length()).ok().filter(|width| *width > 0);
    let values = lists.values().as_any().downcast_ref::<Float32Array>();
    match (width, values) {
        (Some(width), Some(values)) => {
            let offset = lists.offset() * width;
            Ok((&values.values()[offset..offset + lists.len() * width], width))
        }
        _ => Err(Error::read(format!("column '{VECTOR}' does not hold vectors of numbers"))),
    }
}
