//! A table of results: one row a document, the one of its last execution.
//!
//! Guarantees: writing the same again writes nothing; of two executions of a document the later one stays, whatever order
//! they are written in; one writer at a time on a machine.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow_array::builder::{BooleanBuilder, Float64Builder, StringBuilder, UInt64Builder};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchIterator, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use futures::{FutureExt as _, future::BoxFuture};
use lancedb::Table;
use lancedb::index::Index;
use lancedb::index::scalar::BTreeIndexBuilder;
use lancedb::table::{CompactionOptions, Duration, OptimizeAction, OptimizeOptions};

use super::lock::WriterLock;
use super::{Error, connect, maintain, open_table, read};
use crate::BoxError;

const NAME: &str = "results";
/// Each commit adds a file and a version; a table of very many is slow to open.
const COMMITS_BETWEEN_MERGES: u32 = 64;
/// Longer lists of names in one filter gain nothing.
const NAMES_A_QUERY: usize = 1_000;

const KEY: &str = "key";
const SUBMITTED_AT: &str = "submitted_at";
const EPOCH: &str = "epoch";
/// Columns of text that a row always has; the others are named in [`schema`].
const TEXTS: [&str; 9] =
    [KEY, "pipeline", "tenant", "document", "source", "outcome", "output", "citations", "degraded"];

/// A row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultRow {
    /// Names the document: 32 hexadecimal digits.
    pub key: String,
    pub pipeline: String,
    pub tenant: String,
    pub document: String,
    pub source: String,
    pub outcome: String,
    /// JSON.
    pub output: String,
    /// JSON.
    pub citations: String,
    /// JSON.
    pub degraded: String,
    pub quality: Option<f64>,
    pub anomaly: Option<f64>,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub cost: Option<f64>,
    pub seconds: f64,
    pub plan: String,
    pub epoch: u64,
    /// Milliseconds since the epoch; so is the next.
    pub submitted_at: u64,
    pub ended_at: u64,
    pub nul_replaced: bool,
}

/// An open table of results.
pub struct ResultsTable {
    table: Table,
    lock: WriterLock,
    commits: AtomicU32,
}

fn failed<E: Into<BoxError>>(action: &'static str) -> impl Fn(E) -> Error {
    move |source| Error::Results { action, source: source.into() }
}

impl ResultsTable {
    /// Opens the table in a folder, making both where they are missing.
    pub fn open<'a>(folder: &'a Path) -> BoxFuture<'a, Result<Self, Error>> {
        async move {
            let unusable = |source| Error::CreateFolder { folder: folder.to_owned(), source };
            // An absolute path also keeps a folder whose name begins with "db" from being taken for a remote address.
            let folder = std::path::absolute(folder).map_err(unusable)?;
            tokio::fs::create_dir_all(&folder).await.map_err(unusable)?;
            let lock = WriterLock::new(&folder, NAME);
            let connection = connect(&folder).await?;
            let table = match open_table(&connection, NAME).await? {
                Some(table) => table,
                None => {
                    let _writer = lock.acquire().await?;
                    // Another process may have made it while this one waited for the lock.
                    match open_table(&connection, NAME).await? {
                        Some(table) => table,
                        None => {
                            connection.create_empty_table(NAME, schema()).execute().await.map_err(failed("make"))?
                        }
                    }
                }
            };
            let found = table.schema().await.map_err(failed("open"))?;
            for field in schema().fields() {
                let same =
                    found.field_with_name(field.name()).is_ok_and(|found| found.data_type() == field.data_type());
                if !same {
                    let detail = format!("its column '{}' is missing or of another type", field.name());
                    return Err(Error::OtherSchema { name: NAME.to_owned(), detail });
                }
            }
            Ok(Self { table, lock, commits: AtomicU32::new(0) })
        }
        .boxed()
    }

    /// Writes rows in one commit; those that are there already, or are older than what is there, change nothing. How many
    /// were written.
    pub fn upsert<'a>(&'a self, rows: &'a [ResultRow]) -> BoxFuture<'a, Result<usize, Error>> {
        async move {
            let mut latest: HashMap<&str, &ResultRow> = HashMap::new();
            for row in rows {
                let known = latest.entry(row.key.as_str()).or_insert(row);
                if execution(known) < execution(row) {
                    *known = row;
                }
            }
            let _writer = self.lock.acquire().await?;
            self.table.checkout_latest().await.map_err(failed("read"))?;
            let present = self.executions(latest.keys().copied()).await?;
            latest.retain(|key, row| present.get(*key).is_none_or(|present| *present < execution(row)));
            if latest.is_empty() {
                return Ok(0);
            }
            let mut writes: Vec<&ResultRow> = latest.into_values().collect();
            // Hash maps have no order; the table's rows should.
            writes.sort_unstable_by(|left, right| left.key.cmp(&right.key));
            let batch = batch(&writes)?;
            let mut merge = self.table.merge_insert(&[KEY]);
            merge.when_matched_update_all(None).when_not_matched_insert_all();
            let rows = RecordBatchIterator::new([Ok(batch)], schema());
            merge.execute(Box::new(rows)).await.map_err(failed("write to"))?;
            if self.commits.fetch_add(1, Ordering::Relaxed) + 1 >= COMMITS_BETWEEN_MERGES {
                self.commits.store(0, Ordering::Relaxed);
                self.maintain().await?;
            }
            Ok(writes.len())
        }
        .boxed()
    }

    /// Removes rows, and the versions of the table that still hold them: those of a tenant, or of one key. How many.
    pub fn erase<'a>(&'a self, key: Option<&'a str>, tenant: Option<&'a str>) -> BoxFuture<'a, Result<u64, Error>> {
        async move {
            let equals = |column: &str, value: &str| format!("{column} = '{}'", value.replace('\'', "''"));
            let filters: Vec<String> = [key.map(|key| equals(KEY, key)), tenant.map(|tenant| equals("tenant", tenant))]
                .into_iter()
                .flatten()
                .collect();
            if filters.is_empty() {
                return Ok(0);
            }
            let filter = filters.join(" AND ");
            let _writer = self.lock.acquire().await?;
            self.table.checkout_latest().await.map_err(failed("read"))?;
            let rows = self.table.count_rows(Some(filter.clone())).await.map_err(failed("read"))?;
            if rows > 0 {
                self.table.delete(filter.as_str()).await.map_err(failed("erase from"))?;
            }
            // Files are written anew without the rows, then all others go: those of older versions, and those of a writer that
            // died before its version was there, for no other one writes as long as the lock is held.
            let options = CompactionOptions { materialize_deletions_threshold: 0.0, ..Default::default() };
            maintain::merge_files(&self.table, options).await?;
            let prune = OptimizeAction::Prune {
                older_than: Some(Duration::zero()),
                delete_unverified: Some(true),
                error_if_tagged_old_versions: None,
            };
            self.table.optimize(prune).await.map_err(failed("erase from"))?;
            Ok(rows as u64)
        }
        .boxed()
    }

    /// The number of rows.
    pub fn count(&self) -> BoxFuture<'_, Result<u64, Error>> {
        async move {
            self.table.checkout_latest().await.map_err(failed("read"))?;
            self.table.count_rows(None).await.map(|rows| rows as u64).map_err(failed("read"))
        }
        .boxed()
    }

    /// Key, document, outcome and output of all rows, in the order of keys.
    pub fn outputs(&self) -> BoxFuture<'_, Result<Vec<[String; 4]>, Error>> {
        async move {
            self.table.checkout_latest().await.map_err(failed("read"))?;
            let columns = [KEY, "document", "outcome", "output"];
            let mut rows = Vec::new();
            for batch in read::select(&self.table, "true", &columns).await? {
                let mut values = Vec::new();
                for name in columns {
                    let column: &StringArray = read::column(&batch, name)?;
                    values.push(column);
                }
                for place in 0..batch.num_rows() {
                    rows.push([0, 1, 2, 3].map(|column: usize| values[column].value(place).to_owned()));
                }
            }
            rows.sort();
            Ok(rows)
        }
        .boxed()
    }

    /// Which executions of documents the table holds.
    async fn executions<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Result<HashMap<String, (u64, u64)>, Error> {
        let keys: Vec<String> = keys.map(|key| format!("'{}'", key.replace('\'', "''"))).collect();
        let mut found = HashMap::new();
        for names in keys.chunks(NAMES_A_QUERY) {
            let filter = format!("{KEY} IN ({})", names.join(", "));
            for batch in read::select(&self.table, &filter, &[KEY, SUBMITTED_AT, EPOCH]).await? {
                let keys: &StringArray = read::column(&batch, KEY)?;
                let submitted: &UInt64Array = read::column(&batch, SUBMITTED_AT)?;
                let epochs: &UInt64Array = read::column(&batch, EPOCH)?;
                for row in 0..keys.len() {
                    found.insert(keys.value(row).to_owned(), (submitted.value(row), epochs.value(row)));
                }
            }
        }
        Ok(found)
    }

    /// Few files, few versions, and an index by which writers find what is there.
    async fn maintain(&self) -> Result<(), Error> {
        let indices = self.table.list_indices().await.map_err(failed("index"))?;
        if indices.iter().any(|index| index.columns == [KEY]) {
            maintain::optimize_indices(&self.table, OptimizeOptions::append()).await?;
        } else {
            let index = Index::BTree(BTreeIndexBuilder::default());
            self.table.create_index(&[KEY], index).execute().await.map_err(failed("index"))?;
        }
        maintain::merge_files(&self.table, CompactionOptions::default()).await?;
        maintain::prune(&self.table).await
    }
}

fn execution(row: &ResultRow) -> (u64, u64) {
    (row.submitted_at, row.epoch)
}

fn schema() -> SchemaRef {
    let mut fields: Vec<Field> = TEXTS.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
    fields.extend([
        Field::new("quality", DataType::Float64, true),
        Field::new("anomaly", DataType::Float64, true),
        Field::new("prompt_tokens", DataType::UInt64, false),
        Field::new("completion_tokens", DataType::UInt64, false),
        Field::new("cost", DataType::Float64, true),
        Field::new("seconds", DataType::Float64, false),
        Field::new("plan", DataType::Utf8, false),
        Field::new(EPOCH, DataType::UInt64, false),
        Field::new(SUBMITTED_AT, DataType::UInt64, false),
        Field::new("ended_at", DataType::UInt64, false),
        Field::new("nul_replaced", DataType::Boolean, false),
    ]);
    Arc::new(Schema::new(fields))
}

fn batch(rows: &[&ResultRow]) -> Result<RecordBatch, Error> {
    let texts = |of: fn(&ResultRow) -> &str| {
        let mut column = StringBuilder::new();
        rows.iter().for_each(|row| column.append_value(of(row)));
        Arc::new(column.finish()) as ArrayRef
    };
    let counts = |of: fn(&ResultRow) -> u64| {
        let mut column = UInt64Builder::new();
        rows.iter().for_each(|row| column.append_value(of(row)));
        Arc::new(column.finish()) as ArrayRef
    };
    let numbers = |of: fn(&ResultRow) -> Option<f64>| {
        let mut column = Float64Builder::new();
        rows.iter().for_each(|row| column.append_option(of(row)));
        Arc::new(column.finish()) as ArrayRef
    };
    let mut marks = BooleanBuilder::new();
    rows.iter().for_each(|row| marks.append_value(row.nul_replaced));
    // In the order of the schema.
    let columns = vec![
        texts(|row| &row.key),
        texts(|row| &row.pipeline),
        texts(|row| &row.tenant),
        texts(|row| &row.document),
        texts(|row| &row.source),
        texts(|row| &row.outcome),
        texts(|row| &row.output),
        texts(|row| &row.citations),
        texts(|row| &row.degraded),
        numbers(|row| row.quality),
        numbers(|row| row.anomaly),
        counts(|row| row.prompt_tokens),
        counts(|row| row.completion_tokens),
        numbers(|row| row.cost),
        numbers(|row| Some(row.seconds)),
        texts(|row| &row.plan),
        counts(|row| row.epoch),
        counts(|row| row.submitted_at),
        counts(|row| row.ended_at),
        Arc::new(marks.finish()) as ArrayRef,
    ];
    RecordBatch::try_new(schema(), columns).map_err(failed("write to"))
}
