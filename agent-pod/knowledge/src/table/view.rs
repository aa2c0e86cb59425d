//! A table pinned to one version, with its vectors in memory where they fit: exact search without touching the disk.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{StringArray, UInt64Array};
use futures::TryStreamExt;
use lancedb::Table;
use lancedb::query::{ExecutableQuery, QueryBase, Select};
use tokio::sync::Mutex;

use super::digest::Digest;
use super::schema::{ID, TENANT, VECTOR};
use super::{Error, read};

pub(super) const ROW_ID: &str = "_rowid";
/// Independent sums let the processor work on several values at once.
const LANES: usize = 16;

/// The view of the newest version that was asked for.
pub(super) struct Views {
    max_rows: usize,
    current: Mutex<Option<Arc<View>>>,
}

pub(super) struct View {
    version: u64,
    pub(super) table: Table,
    /// None when the table has too many rows.
    pub(super) vectors: Option<Arc<Vectors>>,
}

/// A row that a search found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) row: u64,
    pub(super) id: Digest,
    pub(super) score: f32,
}

impl Views {
    pub(super) fn new(max_rows: usize) -> Self {
        Self { max_rows, current: Mutex::default() }
    }

    /// The view of the table's newest version. Who asks first loads it, the others wait.
    pub(super) async fn latest(&self, table: &Table) -> Result<Arc<View>, Error> {
        let mut current = self.current.lock().await;
        let version = table.version().await.map_err(Error::read)?;
        if let Some(view) = current.as_ref().filter(|view| view.version == version) {
            return Ok(Arc::clone(view));
        }
        // The old vectors go before the new ones come, unless a search still uses them.
        *current = None;
        let table = table.checkout_current().await.map_err(Error::read)?;
        let version = table.version().await.map_err(Error::read)?;
        let rows = table.count_rows(None).await.map_err(Error::read)?;
        let vectors = if rows <= self.max_rows { Some(Arc::new(Vectors::load(&table, rows).await?)) } else { None };
        let view = Arc::new(View { version, table, vectors });
        *current = Some(Arc::clone(&view));
        Ok(view)
    }
}

/// All vectors of a version, each distinct one once, at length one.
pub(super) struct Vectors {
    width: usize,
    values: Vec<f32>,
    rows: Vec<Row>,
    tenants: Vec<String>,
}

struct Row {
    row: u64,
    id: Digest,
    vector: usize,
    tenant: usize,
}

impl Vectors {
    async fn load(table: &Table, rows: usize) -> Result<Self, Error> {
        let columns = Select::columns(&[ID, TENANT, VECTOR]);
        let mut stream = table.query().select(columns).with_row_id().execute().await.map_err(Error::read)?;
        let mut loaded = Self { width: 1, values: Vec::new(), rows: Vec::with_capacity(rows), tenants: Vec::new() };
        let mut known: HashMap<Digest, usize> = HashMap::new();
        while let Some(batch) = stream.try_next().await.map_err(Error::read)? {
            let ids = read::digests(&batch, ID)?;
            let row_ids: &UInt64Array = read::column(&batch, ROW_ID)?;
            let tenants: &StringArray = read::column(&batch, TENANT)?;
            let (values, width) = read::vectors(&batch)?;
            loaded.width = width;
            for (position, (id, values)) in ids.into_iter().zip(values.chunks_exact(width)).enumerate() {
                let next = known.len();
                let vector = *known.entry(bits(values)).or_insert(next);
                if vector == next {
                    loaded.values.extend(normalized(values));
                }
                let tenant = loaded.tenant(tenants.value(position));
                loaded.rows.push(Row { row: row_ids.value(position), id, vector, tenant });
            }
        }
        Ok(loaded)
    }

    fn tenant(&mut self, name: &str) -> usize {
        self.tenants.iter().position(|known| known == name).unwrap_or_else(|| {
            self.tenants.push(name.to_owned());
            self.tenants.len() - 1
        })
    }

    /// The rows most similar to `query` by the cosine, best first, equal ones by id.
    pub(super) fn nearest(&self, query: &[f32], count: usize, tenant: Option<&str>) -> Vec<Candidate> {
        let tenant = match tenant {
            Some(tenant) => match self.tenants.iter().position(|known| known == tenant) {
                Some(tenant) => Some(tenant),
                None => return Vec::new(),
            },
            None => None,
        };
        let query: Vec<f32> = normalized(query).collect();
        let scores: Vec<f32> = self.values.chunks_exact(self.width).map(|vector| dot(&query, vector)).collect();
        let rows = self.rows.iter().filter(|row| tenant.is_none_or(|tenant| tenant == row.tenant));
        let found = rows.map(|row| Candidate { row: row.row, id: row.id, score: scores[row.vector] });
        best(found.collect(), count)
    }
}

/// The best candidates, best first. Equal scores are ordered by id, so that the same table gives the same answer.
pub(super) fn best(mut candidates: Vec<Candidate>, count: usize) -> Vec<Candidate> {
    let order = |a: &Candidate, b: &Candidate| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id));
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, order);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(order);
    candidates
}

fn bits(values: &[f32]) -> Digest {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Digest::of("vector", &[&bytes])
}

/// A vector without direction stays zero and is similar to nothing.
fn normalized(values: &[f32]) -> impl Iterator<Item = f32> {
    let length = dot(values, values).sqrt();
    let scale = if length > 0.0 { length.recip() } else { 0.0 };
    values.iter().map(move |value| value * scale)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
