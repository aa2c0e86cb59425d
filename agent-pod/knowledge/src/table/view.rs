//! A table pinned to one version, with its vectors in memory where they fit: exact search without touching the disk.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray, UInt64Array};
use futures::TryStreamExt;
use lancedb::Table;
use lancedb::query::{ExecutableQuery, QueryBase, Select};
use tokio::sync::Mutex;

use super::digest::Digest;
use super::schema::{ID, TENANT, VECTOR};
use super::{Error, read};

pub(super) const ROW_ID: &str = "_rowid";
/// Up to so many rows that came or went since the last version are followed one by one; beyond, all is loaded anew.
const MAX_NEW_ROWS: usize = 1_000;
/// Vectors that no row uses any more stay in their block until all is loaded anew.
const MAX_BLOCKS: usize = 64;
/// Independent sums let the processor work on several values at once.
const LANES: usize = 16;

/// The view of the newest version that was asked for.
pub(super) struct Views {
    pub(super) max_rows: usize,
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
        let known = current.take().and_then(|view| view.vectors.clone());
        let table = table.checkout_current().await.map_err(Error::read)?;
        let version = table.version().await.map_err(Error::read)?;
        let rows = table.count_rows(None).await.map_err(Error::read)?;
        let vectors = match known {
            _ if rows > self.max_rows => None,
            Some(known) => known.follow(&table).await?,
            None => None,
        };
        let vectors = match vectors {
            None if rows <= self.max_rows => Some(Vectors::load(&table).await?),
            vectors => vectors,
        };
        let vectors = vectors.map(Arc::new);
        let view = Arc::new(View { version, table, vectors });
        *current = Some(Arc::clone(&view));
        Ok(view)
    }

    /// The view of a version. An older one than the newest is read from the disk: few ask for it, and soon none.
    pub(super) async fn at(&self, table: &Table, version: u64) -> Result<Arc<View>, Error> {
        let latest = self.latest(table).await?;
        if latest.version == version {
            return Ok(latest);
        }
        let table = table.checkout_current().await.map_err(Error::read)?;
        table.checkout(version).await.map_err(Error::read)?;
        Ok(Arc::new(View { version, table, vectors: None }))
    }
}

/// The vectors of a version, at length one. Rows with the same vector share it.
#[derive(Default)]
pub(super) struct Vectors {
    /// Blocks of vectors, each the ones that came with a version. Later versions share the blocks of earlier ones.
    blocks: Vec<Arc<Block>>,
    rows: Vec<Row>,
    /// Each with the number that stands for it in the rows.
    tenants: HashMap<String, usize>,
}

struct Block {
    width: usize,
    values: Vec<f32>,
}

struct Row {
    row: u64,
    id: Digest,
    /// Counted through all blocks.
    vector: usize,
    tenant: usize,
}

impl Vectors {
    async fn load(table: &Table) -> Result<Self, Error> {
        let columns = Select::columns(&[ID, TENANT, VECTOR]);
        let mut stream = table.query().select(columns).with_row_id().execute().await.map_err(Error::read)?;
        let mut loaded = Self::default();
        let mut block = Block { width: 1, values: Vec::new() };
        let mut known: HashMap<Digest, usize> = HashMap::new();
        while let Some(batch) = stream.try_next().await.map_err(Error::read)? {
            let (values, width) = read::vectors(&batch)?;
            block.width = width;
            let vectors = values.chunks_exact(width).map(|values| {
                let next = known.len();
                let vector = *known.entry(bits(values)).or_insert(next);
                if vector == next {
                    block.values.extend(normalized(values));
                }
                vector
            });
            let vectors: Vec<usize> = vectors.collect();
            loaded.add_rows(&batch, |position, _| vectors.get(position).copied())?;
        }
        loaded.blocks.push(Arc::new(block));
        Ok(loaded)
    }

    /// The vectors of a later version, read only where they are new. None when so much has changed that loading all is
    /// cheaper, or leaves less behind. A chunk's id names its text, and its text determines its vector.
    async fn follow(&self, table: &Table) -> Result<Option<Self>, Error> {
        let mut places: HashMap<Digest, usize> = self.rows.iter().map(|row| (row.id, row.vector)).collect();
        let columns = Select::columns(&[ID, TENANT]);
        let stream = table.query().select(columns).with_row_id().execute().await.map_err(Error::read)?;
        let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(Error::read)?;
        let ids = batches.iter().map(|batch| read::digests(batch, ID)).collect::<Result<Vec<_>, _>>()?.concat();
        let new: Vec<Digest> = ids.iter().copied().filter(|id| !places.contains_key(id)).collect();
        let gone = (self.rows.len() + new.len()).saturating_sub(ids.len());
        if new.len() > MAX_NEW_ROWS || gone > MAX_NEW_ROWS || self.blocks.len() >= MAX_BLOCKS {
            return Ok(None);
        }
        let mut followed = Self { blocks: self.blocks.clone(), ..Self::default() };
        if !new.is_empty() {
            let mut block = Block { width: 1, values: Vec::new() };
            let mut next: usize = self.blocks.iter().map(|block| block.values.len() / block.width).sum();
            for batch in read::select(table, &read::one_of(ID, &new), &[ID, VECTOR]).await? {
                let (values, width) = read::vectors(&batch)?;
                block.width = width;
                for (id, values) in read::digests(&batch, ID)?.into_iter().zip(values.chunks_exact(width)) {
                    block.values.extend(normalized(values));
                    places.insert(id, next);
                    next += 1;
                }
            }
            followed.blocks.push(Arc::new(block));
        }
        for batch in &batches {
            followed.add_rows(batch, |_, id| places.get(&id).copied())?;
        }
        Ok(Some(followed))
    }

    fn add_rows(&mut self, batch: &RecordBatch, place: impl Fn(usize, Digest) -> Option<usize>) -> Result<(), Error> {
        let rows: &UInt64Array = read::column(batch, ROW_ID)?;
        let tenants: &StringArray = read::column(batch, TENANT)?;
        for (position, id) in read::digests(batch, ID)?.into_iter().enumerate() {
            let vector = place(position, id).ok_or_else(|| Error::read("a row has no vector"))?;
            let tenant = self.tenant(tenants.value(position));
            self.rows.push(Row { row: rows.value(position), id, vector, tenant });
        }
        Ok(())
    }

    fn tenant(&mut self, name: &str) -> usize {
        if let Some(known) = self.tenants.get(name) {
            return *known;
        }
        let next = self.tenants.len();
        self.tenants.insert(name.to_owned(), next);
        next
    }

    /// The rows most similar to `query` by the cosine, best first, equal ones by id.
    pub(super) fn nearest(&self, query: &[f32], count: usize, tenant: Option<&str>) -> Vec<Candidate> {
        let tenant = match tenant {
            Some(tenant) => match self.tenants.get(tenant) {
                Some(tenant) => Some(*tenant),
                None => return Vec::new(),
            },
            None => None,
        };
        let query: Vec<f32> = normalized(query).collect();
        let vectors = self.blocks.iter().flat_map(|block| block.values.chunks_exact(block.width));
        let scores: Vec<f32> = vectors.map(|vector| dot(&query, vector)).collect();
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
