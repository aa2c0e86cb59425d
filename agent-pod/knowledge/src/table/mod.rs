//! A knowledge base: one LanceDB table of chunks with their vectors.
//!
//! Flow: writers take the table's lock, compare each document's digest with the one in the table, and commit what
//! changed in one step. Readers take a view pinned to a version; small tables are held in memory for exact search.
//! Guarantees: a document's chunks change together or not at all; writing the same again writes nothing; answers of one
//! search come from one version. Assumption: a file lock excludes writers of other processes on the same machine.

mod digest;
pub mod erasing;
mod error;
mod lock;
mod maintain;
mod read;
mod results;
mod schema;
mod search;
mod view;
mod write;

use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::{FutureExt as _, future::BoxFuture};
use lancedb::{Connection, ObjectStoreRegistry, Session, Table};

pub use digest::{Digest, content_digest, document_key, text_hash};
pub use error::Error;
pub use results::{ResultRow, ResultsTable};
pub use search::{Hit, Query};
pub use write::{ChunkRow, DocumentChunks, Upserted};

use lock::WriterLock;
use view::Views;

/// Lance's defaults are 6 GiB and 1 GiB, more than the whole process may have.
const INDEX_CACHE_BYTES: usize = 64 << 20;
const METADATA_CACHE_BYTES: usize = 32 << 20;
/// How soon a reader sees what another process wrote; each check lists the table's versions.
const READ_CONSISTENCY: Duration = Duration::from_secs(1);
/// Above this many rows the vectors stay on disk; each also takes what names it.
const MAX_ROWS_IN_MEMORY: usize = 500_000;
/// So do longer vectors that together have more bytes than so many rows of 384 dimensions.
const MAX_VECTOR_BYTES_IN_MEMORY: usize = MAX_ROWS_IN_MEMORY * 384 * size_of::<f32>();

/// One session for all tables of the process, so that their caches share one bound.
static SESSION: LazyLock<Arc<Session>> = LazyLock::new(|| {
    Arc::new(Session::new(INDEX_CACHE_BYTES, METADATA_CACHE_BYTES, Arc::new(ObjectStoreRegistry::default())))
});

/// A handle on a table; clones share it.
#[derive(Clone)]
pub struct KnowledgeBase {
    shared: Arc<Shared>,
}

struct Shared {
    table: Table,
    dimensions: usize,
    lock: WriterLock,
    views: Views,
    /// Commits of this process since it last merged small files.
    commits: AtomicU32,
    /// Rows that this process wrote since it last indexed.
    unindexed: AtomicU32,
}

impl KnowledgeBase {
    /// Opens the table `name` in `folder`, or creates it for vectors of so many `dimensions` made by the model with the
    /// digest `embedder_digest`. Vectors of different models cannot be compared, so a table made with another is
    /// refused.
    pub fn open<'a>(
        folder: &'a Path,
        name: &'a str,
        dimensions: usize,
        embedder_digest: &'a str,
    ) -> BoxFuture<'a, Result<Self, Error>> {
        async move {
            let unusable = |source| Error::CreateFolder { folder: folder.to_owned(), source };
            // An absolute path also keeps a folder whose name begins with "db" from being taken for a remote address.
            let folder = std::path::absolute(folder).map_err(unusable)?;
            tokio::fs::create_dir_all(&folder).await.map_err(unusable)?;
            let lock = WriterLock::new(&folder, name);
            let connection = connect(&folder).await?;
            let table = match open_table(&connection, name).await? {
                Some(table) => table,
                None => create_table(&connection, name, dimensions, embedder_digest, &lock).await?,
            };
            schema::check(&table, name, dimensions, embedder_digest).await?;
            maintain::ensure_full_text_index(&table, name, &lock).await?;
            let fitting = MAX_VECTOR_BYTES_IN_MEMORY / dimensions.saturating_mul(size_of::<f32>()).max(1);
            Ok(Self::of(table, dimensions, lock, fitting.min(MAX_ROWS_IN_MEMORY)))
        }
        .boxed()
    }

    /// The same table with another bound on the rows whose vectors are held in memory.
    #[must_use]
    pub fn with_max_rows_in_memory(&self, rows: usize) -> Self {
        let Shared { table, dimensions, lock, .. } = &*self.shared;
        Self::of(table.clone(), *dimensions, lock.clone(), rows)
    }

    /// Up to so many rows the vectors are held in memory.
    #[must_use]
    pub fn max_rows_in_memory(&self) -> usize {
        self.shared.views.max_rows
    }

    fn of(table: Table, dimensions: usize, lock: WriterLock, max_rows: usize) -> Self {
        let views = Views::new(max_rows);
        let (commits, unindexed) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { shared: Arc::new(Shared { table, dimensions, lock, views, commits, unindexed }) }
    }

    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.shared.dimensions
    }

    /// The number of chunks.
    pub fn count(&self) -> BoxFuture<'_, Result<u64, Error>> {
        async move { self.shared.table.count_rows(None).await.map(|count| count as u64).map_err(Error::read) }.boxed()
    }

    /// The version of the table; each commit makes a new one.
    pub fn version(&self) -> BoxFuture<'_, Result<u64, Error>> {
        async move { self.shared.table.version().await.map_err(Error::read) }.boxed()
    }
}

async fn connect(folder: &Path) -> Result<Connection, Error> {
    let address = folder.to_str().ok_or_else(|| Error::Folder { folder: folder.to_owned() })?;
    lancedb::connect(address)
        .session(Arc::clone(&SESSION))
        .read_consistency_interval(READ_CONSISTENCY)
        .execute()
        .await
        .map_err(|source| Error::Open { name: address.to_owned(), source: source.into() })
}

async fn open_table(connection: &Connection, name: &str) -> Result<Option<Table>, Error> {
    match connection.open_table(name).execute().await {
        Ok(table) => Ok(Some(table)),
        Err(lancedb::Error::TableNotFound { .. }) => Ok(None),
        Err(source) => Err(Error::Open { name: name.to_owned(), source: source.into() }),
    }
}

async fn create_table(
    connection: &Connection,
    name: &str,
    dimensions: usize,
    embedder_digest: &str,
    lock: &WriterLock,
) -> Result<Table, Error> {
    let _writer = lock.acquire().await?;
    // Another process may have created it while this one waited for the lock.
    if let Some(table) = open_table(connection, name).await? {
        return Ok(table);
    }
    let create = |source: lancedb::Error| Error::Create { name: name.to_owned(), source: source.into() };
    let schema = schema::schema(dimensions, embedder_digest)?;
    connection.create_empty_table(name, schema).execute().await.map_err(create)
}
