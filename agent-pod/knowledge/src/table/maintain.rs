//! Keeps a table fast after many commits: indices, few files, few versions.

use std::sync::atomic::Ordering;

use lancedb::Table;
use lancedb::index::Index;
use lancedb::index::scalar::{BTreeIndexBuilder, FtsIndexBuilder};
use lancedb::table::{CompactionOptions, Duration, OptimizeAction, OptimizeOptions};

use super::lock::WriterLock;
use super::schema::{DOCUMENT_KEY, ID, TEXT, TEXT_HASH};
use super::{Error, KnowledgeBase};

/// Each commit adds a file and a version; a table of very many is slow to open and to search.
const COMMITS_BETWEEN_MERGES: u32 = 64;
/// A reader of another process may still be at an older version; no search takes this long.
const VERSIONS_KEPT_HOURS: i64 = 1;
/// Memory of building the full-text index.
const INDEXING_MEGABYTES: u64 = 128;

impl KnowledgeBase {
    /// To be called when an ingest ends: makes the missing indices, takes new rows into them, merges small files and
    /// forgets old versions. Without it everything is found too, only slower. Does nothing when there is nothing to do.
    pub async fn compact(&self) -> Result<(), Error> {
        let _writer = self.shared.lock.acquire().await?;
        let table = &self.shared.table;
        table.checkout_latest().await.map_err(Error::compact)?;
        if table.count_rows(None).await.map_err(Error::compact)? == 0 {
            return Ok(());
        }
        merge_files(table).await?;
        let indices = table.list_indices().await.map_err(Error::compact)?;
        for column in [ID, DOCUMENT_KEY, TEXT_HASH] {
            if !indices.iter().any(|index| index.columns == [column]) {
                let index = Index::BTree(BTreeIndexBuilder::default());
                table.create_index(&[column], index).execute().await.map_err(Error::compact)?;
            }
        }
        let mut behind = false;
        for index in &indices {
            let statistics = table.index_stats(&index.name).await.map_err(Error::compact)?;
            behind |= statistics.is_some_and(|statistics| statistics.num_unindexed_rows > 0);
        }
        if behind {
            let index = OptimizeAction::Index(OptimizeOptions::default());
            table.optimize(index).await.map_err(Error::compact)?;
        }
        prune(table).await
    }

    /// The number of files that a search may have to open.
    pub async fn fragments(&self) -> Result<u64, Error> {
        let native = self.shared.table.as_native().expect("tables in a folder are native ones");
        native.count_fragments().await.map(|count| count as u64).map_err(Error::read)
    }

    /// For those who write one document at a time. The caller holds the lock.
    pub(super) async fn merge_files_now_and_then(&self) -> Result<(), Error> {
        let commits = self.shared.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if commits.is_multiple_of(COMMITS_BETWEEN_MERGES) {
            merge_files(&self.shared.table).await?;
            prune(&self.shared.table).await?;
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

async fn merge_files(table: &Table) -> Result<(), Error> {
    let compact = OptimizeAction::Compact { options: CompactionOptions::default(), remap_options: None };
    table.optimize(compact).await.map(drop).map_err(Error::compact)
}

async fn prune(table: &Table) -> Result<(), Error> {
    let prune = OptimizeAction::Prune {
        older_than: Duration::try_hours(VERSIONS_KEPT_HOURS),
        delete_unverified: None,
        error_if_tagged_old_versions: None,
    };
    table.optimize(prune).await.map(drop).map_err(Error::compact)
}
