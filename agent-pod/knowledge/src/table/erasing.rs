//! Erases documents from tables, so that neither their rows nor any file that held them is left.
//!
//! Unlike everything else here it needs no embedder: whoever erases need not be able to search. A mark beside the table says
//! that an erasure has begun, so that one that was broken off is ended by the next.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures::{FutureExt as _, future::BoxFuture};
use lancedb::{Connection, Table};

use super::lock::WriterLock;
use super::schema::{DOCUMENT_KEY, TENANT};
use super::{Digest, Error, connect, maintain, open_table, read};

/// Longer lists in one filter gain nothing.
const NAMES_A_FILTER: usize = 1_000;

/// Which rows: those of these documents, and all of this tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Keys of documents, as [`crate::document_key`] makes them.
    pub documents: BTreeSet<String>,
    pub tenant: Option<String>,
}

/// What was erased from a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    pub table: String,
    /// Rows that were there.
    pub rows: u64,
    /// Rows that were there again afterwards.
    pub left: u64,
}

/// Erases rows from a table of a folder, or from all where none is named. Nothing is made: a table that is not there holds
/// nothing.
pub fn erase<'a>(
    folder: &'a Path,
    table: Option<&'a str>,
    rows: &'a Rows,
) -> BoxFuture<'a, Result<Vec<Erased>, Error>> {
    async move {
        let folder = std::path::absolute(folder).map_err(|source| Error::Erase { source: source.into() })?;
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let connection = connect(&folder).await?;
        let failed = |source: lancedb::Error| Error::Erase { source: source.into() };
        let mut names = connection.table_names().execute().await.map_err(failed)?;
        names.retain(|name| table.is_none_or(|table| table == name));
        let mut erased = Vec::new();
        for name in names {
            erased.extend(erase_from(&connection, &folder, name, rows).await?);
        }
        Ok(erased)
    }
    .boxed()
}

async fn erase_from(
    connection: &Connection,
    folder: &Path,
    name: String,
    rows: &Rows,
) -> Result<Option<Erased>, Error> {
    let lock = WriterLock::new(folder, &name);
    let _writer = lock.acquire().await?;
    let Some(table) = open_table(connection, &name).await? else { return Ok(None) };
    let mark = Mark::beside(folder, &name);
    let found = count(&table, rows).await?;
    if found > 0 || mark.is_set() {
        mark.set()?;
        for filter in filters(rows) {
            table.delete(filter.as_str()).await.map_err(|source| Error::Erase { source: source.into() })?;
        }
        maintain::forget_removed_rows(&table).await?;
        mark.remove()?;
    }
    Ok(Some(Erased { table: name, rows: found, left: count(&table, rows).await? }))
}

async fn count(table: &Table, rows: &Rows) -> Result<u64, Error> {
    table.checkout_latest().await.map_err(Error::read)?;
    let mut count = 0;
    for filter in filters(rows) {
        count += table.count_rows(Some(filter)).await.map_err(Error::read)? as u64;
    }
    Ok(count)
}

fn filters(rows: &Rows) -> Vec<String> {
    let keys: Vec<Digest> = rows.documents.iter().filter_map(|key| Digest::parse(key)).collect();
    let mut filters: Vec<String> = match &rows.tenant {
        // The rest of the documents would be counted twice.
        Some(tenant) => return vec![format!("{TENANT} = '{}'", tenant.replace('\'', "''"))],
        None => Vec::new(),
    };
    filters.extend(keys.chunks(NAMES_A_FILTER).map(|keys| read::one_of(DOCUMENT_KEY, keys)));
    filters
}

/// A file that says that an erasure has begun.
struct Mark(PathBuf);

impl Mark {
    fn beside(folder: &Path, name: &str) -> Self {
        Self(folder.join(format!("{name}.erasing")))
    }

    fn is_set(&self) -> bool {
        self.0.exists()
    }

    fn set(&self) -> Result<(), Error> {
        std::fs::write(&self.0, "").map_err(|source| Error::Erase { source: source.into() })
    }

    fn remove(&self) -> Result<(), Error> {
        std::fs::remove_file(&self.0).map_err(|source| Error::Erase { source: source.into() })
    }
}
