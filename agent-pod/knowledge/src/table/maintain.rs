//! Keeps a table fast after many commits: indices, few files, few versions.

use std::sync::atomic::Ordering;

use futures::{FutureExt as _, future::BoxFuture};
use lancedb::Table;
use lancedb::index::Index;
use lancedb::index::scalar::{BTreeIndexBuilder, FtsIndexBuilder};
use lancedb::table::{CompactionOptions, Duration, OptimizeAction, OptimizeOptions};

use super::lock::WriterLock;
use super::schema::{DOCUMENT_KEY, ID, TEXT, TEXT_HASH};
use super::{Error, KnowledgeBase, Shared};

/// Each commit adds a file and a version; a table of very many is slow to open and to search.
const COMMITS_BETWEEN_MERGES: u32 = 64;
/// Files of more rows are left alone by the merges in between, so that their cost does not grow with the table.
const SMALL_FILE_ROWS: usize = 4_096;
/// LanceDB reads through all rows that the full-text index does not hold yet, in each search.
const ROWS_BETWEEN_INDEXING: u32 = 1_000;
/// A search asks each part of an index; joining them rewrites the index, which only many parts are worth.
const MAX_INDEX_PARTS: usize = 8;
/// A reader of another process may still be at an older version; no search takes this long.
const VERSIONS_KEPT_HOURS: i64 = 1;
/// Memory of building the full-text index.
const INDEXING_MEGABYTES: u64 = 128;

impl KnowledgeBase {
    /// To be called when an ingest ends: makes the missing indices, takes new rows into them, merges small files and
    /// forgets old versions. Without it everything is found too, only slower. Does nothing when there is nothing to do.
    pub fn compact(&self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let _writer = self.shared.lock.acquire().await?;
            let table = &self.shared.table;
            table.checkout_latest().await.map_err(Error::compact)?;
            if table.count_rows(None).await.map_err(Error::compact)? == 0 {
                return Ok(());
            }
            let indices = table.list_indices().await.map_err(Error::compact)?;
            for column in [ID, DOCUMENT_KEY, TEXT_HASH] {
                if !indices.iter().any(|index| index.columns == [column]) {
                    let index = Index::BTree(BTreeIndexBuilder::default());
                    table.create_index(&[column], index).execute().await.map_err(Error::compact)?;
                }
            }
            let (mut unindexed, mut parts) = (0, 0);
            for index in &indices {
                if let Some(statistics) = table.index_stats(&index.name).await.map_err(Error::compact)? {
                    unindexed = unindexed.max(statistics.num_unindexed_rows);
                    parts = parts.max(statistics.num_indices.unwrap_or(1) as usize);
                }
            }
            if parts > MAX_INDEX_PARTS {
                optimize_indices(table, OptimizeOptions::merge(parts)).await?;
            } else if unindexed > 0 {
                optimize_indices(table, OptimizeOptions::append()).await?;
            }
            // Last, because only files that the same parts of the indices cover can be merged.
            merge_files(table, CompactionOptions::default()).await?;
            prune(table).await
        }
        .boxed()
    }

    /// The number of files that a search may have to open.
    pub fn fragments(&self) -> BoxFuture<'_, Result<u64, Error>> {
        async move {
            let native = self.shared.table.as_native().expect("tables in a folder are native ones");
            native.count_fragments().await.map(|count| count as u64).map_err(Error::read)
        }
        .boxed()
    }

    /// For those who write and search by turns and end nowhere. The caller, who has just written `rows`, holds the lock.
    pub(super) async fn maintain_now_and_then(&self, rows: usize) -> Result<(), Error> {
        let Shared { table, commits, unindexed, .. } = &*self.shared;
        if commits.fetch_add(1, Ordering::Relaxed) + 1 >= COMMITS_BETWEEN_MERGES {
            commits.store(0, Ordering::Relaxed);
            let options = CompactionOptions { target_rows_per_fragment: SMALL_FILE_ROWS, ..Default::default() };
            merge_files(table, options).await?;
            prune(table).await?;
        }
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        if unindexed.fetch_add(rows, Ordering::Relaxed).saturating_add(rows) >= ROWS_BETWEEN_INDEXING {
            unindexed.store(0, Ordering::Relaxed);
            optimize_indices(table, OptimizeOptions::append()).await?;
        }
        Ok(())
    }
}

/// Makes the full-text index of a new table. It must be there from the start: LanceDB searches rows that are in no index
/// with the tokenizer of the index, and without an index with one that knows no stop words and no word stems.
pub(super) async fn ensure_full_text_index(table: &Table, name: &str, lock: &WriterLock) -> Result<(), Error> {
    let create = |source: lancedb::Error| Error::Create { name: name.to_owned(), source: source.into() };
    let is_there = async || {
        let indices = table.list_indices().await.map_err(create)?;
        Ok::<_, Error>(indices.iter().any(|index| index.columns == [TEXT]))
    };
    if is_there().await? {
        return Ok(());
    }
    let _writer = lock.acquire().await?;
    table.checkout_latest().await.map_err(create)?;
    if is_there().await? {
        return Ok(());
    }
    let index = FtsIndexBuilder::default().memory_limit_mb(INDEXING_MEGABYTES).num_workers(1);
    table.create_index(&[TEXT], Index::FTS(index)).execute().await.map_err(create)
}

pub(super) async fn merge_files(table: &Table, options: CompactionOptions) -> Result<(), Error> {
    let compact = OptimizeAction::Compact { options, remap_options: None };
    table.optimize(compact).await.map(drop).map_err(Error::compact)
}

/// Takes new rows into the indices, as a part of their own or joined with older parts.
pub(super) async fn optimize_indices(table: &Table, options: OptimizeOptions) -> Result<(), Error> {
    table.optimize(OptimizeAction::Index(options)).await.map(drop).map_err(Error::compact)
}

pub(super) async fn prune(table: &Table) -> Result<(), Error> {
    let prune = OptimizeAction::Prune {
        older_than: Duration::try_hours(VERSIONS_KEPT_HOURS),
        delete_unverified: None,
        error_if_tagged_old_versions: None,
    };
    table.optimize(prune).await.map(drop).map_err(Error::compact)
}

/// Writes anew every file that holds a removed row, the full-text index with its words too, and removes all older versions
/// at once. The caller holds the lock, so that no other writer has files that belong to no version yet; a search that is
/// under way may fail and is repeated.
pub(super) async fn forget_removed_rows(table: &Table) -> Result<(), Error> {
    let options = CompactionOptions {
        materialize_deletions: true,
        materialize_deletions_threshold: 0.0,
        ..CompactionOptions::default()
    };
    merge_files(table, options).await?;
    let indices = table.list_indices().await.map_err(Error::compact)?;
    for index in indices.iter().filter(|index| index.columns == [TEXT]) {
        let words = FtsIndexBuilder::default().memory_limit_mb(INDEXING_MEGABYTES).num_workers(1);
        let rebuilt = table.create_index(&[TEXT], Index::FTS(words)).name(index.name.clone()).replace(true);
        rebuilt.execute().await.map_err(Error::compact)?;
    }
    let prune = OptimizeAction::Prune {
        older_than: Some(Duration::zero()),
        delete_unverified: Some(true),
        error_if_tagged_old_versions: None,
    };
    table.optimize(prune).await.map(drop).map_err(Error::compact)
}
