//! The columns of a table, and what its metadata says about the vectors.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{Float32Builder, StringBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{ArrayRef, FixedSizeListArray, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use lancedb::Table;

use super::digest::{self, Digest};
use super::{DocumentChunks, Error};

pub(super) const ID: &str = "id";
pub(super) const TENANT: &str = "tenant";
pub(super) const DOCUMENT: &str = "document";
pub(super) const DOCUMENT_KEY: &str = "document_key";
pub(super) const CONTENT_DIGEST: &str = "content_digest";
pub(super) const SOURCE: &str = "source";
pub(super) const CHUNK: &str = "chunk";
pub(super) const BYTE_START: &str = "byte_start";
pub(super) const BYTE_END: &str = "byte_end";
pub(super) const TEXT: &str = "text";
pub(super) const TEXT_HASH: &str = "text_hash";
pub(super) const VECTOR: &str = "vector";

const DIMENSIONS: &str = "docket.dimensions";
const EMBEDDER: &str = "docket.embedder";
/// Lance's mark of a primary key, which tells its commits that two writers inserted the same row.
const PRIMARY_KEY_POSITION: &str = "lance-schema:unenforced-primary-key:position";

pub(super) fn schema(dimensions: usize, embedder_digest: &str) -> Result<SchemaRef, Error> {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let number = |name| Field::new(name, DataType::UInt64, false);
    let fields = vec![
        text(ID),
        text(TENANT),
        text(DOCUMENT),
        text(DOCUMENT_KEY),
        text(CONTENT_DIGEST),
        text(SOURCE),
        Field::new(CHUNK, DataType::UInt32, false),
        number(BYTE_START),
        number(BYTE_END),
        text(TEXT),
        text(TEXT_HASH),
        Field::new(VECTOR, DataType::FixedSizeList(vector_item(), width(dimensions)?), false),
    ];
    let metadata = HashMap::from([
        (DIMENSIONS.to_owned(), dimensions.to_string()),
        (EMBEDDER.to_owned(), embedder_digest.to_owned()),
    ]);
    Ok(Arc::new(Schema::new_with_metadata(fields, metadata)))
}

/// Refuses a table whose vectors another model made, and completes one whose creation was interrupted.
pub(super) async fn check(table: &Table, name: &str, dimensions: usize, embedder_digest: &str) -> Result<(), Error> {
    let open = |source: lancedb::Error| Error::Open { name: name.to_owned(), source: source.into() };
    let found = table.schema().await.map_err(open)?;
    let other_schema = |detail: &str| Error::OtherSchema { name: name.to_owned(), detail: detail.to_owned() };
    let metadata = found.metadata();
    let found_dimensions = metadata
        .get(DIMENSIONS)
        .and_then(|dimensions| dimensions.parse().ok())
        .ok_or_else(|| other_schema("its metadata names no dimensions"))?;
    if found_dimensions != dimensions {
        return Err(Error::OtherDimensions { name: name.to_owned(), found: found_dimensions, wanted: dimensions });
    }
    let found_embedder = metadata.get(EMBEDDER).map(String::as_str).unwrap_or_default();
    if found_embedder != embedder_digest {
        return Err(Error::OtherEmbedder {
            name: name.to_owned(),
            found: found_embedder.to_owned(),
            wanted: embedder_digest.to_owned(),
        });
    }
    for field in schema(dimensions, embedder_digest)?.fields() {
        let same = found.field_with_name(field.name()).is_ok_and(|found| found.data_type() == field.data_type());
        if !same {
            return Err(other_schema(&format!("its column '{}' is missing or of another type", field.name())));
        }
    }
    let keyed = found.field_with_name(ID).is_ok_and(|id| id.metadata().contains_key(PRIMARY_KEY_POSITION));
    if !keyed {
        table.set_unenforced_primary_key([ID]).await.map_err(open)?;
    }
    Ok(())
}

/// The rows of documents, in order.
pub(super) fn rows(schema: &SchemaRef, documents: &[(Digest, Digest, &DocumentChunks)]) -> Result<RecordBatch, Error> {
    let mut texts: HashMap<&str, StringBuilder> = HashMap::new();
    let (mut chunks, mut starts, mut ends) = (UInt32Builder::new(), UInt64Builder::new(), UInt64Builder::new());
    let mut vectors = Float32Builder::new();
    let mut put = |column, value: &str| texts.entry(column).or_default().append_value(value);
    for (key, content_digest, document) in documents {
        for chunk in &document.chunks {
            let text_hash = digest::text_hash(&chunk.text);
            put(ID, &digest::chunk_id(*key, chunk.index, text_hash).to_string());
            put(TENANT, &document.tenant);
            put(DOCUMENT, &document.document);
            put(DOCUMENT_KEY, &key.to_string());
            put(CONTENT_DIGEST, &content_digest.to_string());
            put(SOURCE, &document.source);
            put(TEXT, &chunk.text);
            put(TEXT_HASH, &text_hash.to_string());
            chunks.append_value(chunk.index);
            starts.append_value(chunk.start as u64);
            ends.append_value(chunk.end as u64);
            vectors.append_slice(&chunk.vector);
        }
    }
    let (chunks, starts, ends): (ArrayRef, ArrayRef, ArrayRef) =
        (Arc::new(chunks.finish()), Arc::new(starts.finish()), Arc::new(ends.finish()));
    let vectors: ArrayRef = Arc::new(vectors.finish());
    let columns = schema.fields().iter().map(|field| match (field.name().as_str(), field.data_type()) {
        (CHUNK, _) => Ok(Arc::clone(&chunks)),
        (BYTE_START, _) => Ok(Arc::clone(&starts)),
        (BYTE_END, _) => Ok(Arc::clone(&ends)),
        (_, DataType::FixedSizeList(item, width)) => {
            FixedSizeListArray::try_new(Arc::clone(item), *width, Arc::clone(&vectors), None)
                .map(|list| Arc::new(list) as ArrayRef)
                .map_err(Error::write)
        }
        (name, _) => Ok(Arc::new(texts.entry(name).or_default().finish()) as ArrayRef),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(Error::write)
}

fn vector_item() -> FieldRef {
    Arc::new(Field::new("item", DataType::Float32, true))
}

fn width(dimensions: usize) -> Result<i32, Error> {
    i32::try_from(dimensions).ok().filter(|width| *width > 0).ok_or(Error::Dimensions { dimensions })
}
