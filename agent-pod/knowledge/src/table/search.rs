//! Searches one version of a table by meaning, by words, or by both fused by rank.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Float32Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use futures::{FutureExt as _, TryStreamExt, future::BoxFuture};
use lancedb::DistanceType;
use lancedb::expr::{col, lit};
use lancedb::index::scalar::FullTextSearchQuery;
use lancedb::query::{ExecutableQuery, QueryBase, Select};

use super::schema::{BYTE_END, BYTE_START, CHUNK, DOCUMENT, ID, SOURCE, TENANT, TEXT};
use super::view::{Candidate, ROW_ID, View, best};
use super::{Error, KnowledgeBase, read};

/// The usual constant of reciprocal rank fusion; it keeps one list's first place from outweighing all else.
const RANK_CONSTANT: f32 = 60.0;
/// Each list is read this much deeper than the answer, so that a row that is middling in both can win, and that equal
/// scores at the end of LanceDB's list are cut by our order and not by chance.
const DEPTH_FACTOR: usize = 4;
const MIN_DEPTH: usize = 50;
/// More words than this select nothing any more.
const MAX_QUERY_BYTES: usize = 4 << 10;
const SCORE: &str = "_score";
const DISTANCE: &str = "_distance";

/// What is looked for. At least one kind of search must be on.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub text: String,
    /// The text's vector; needed for vector search.
    pub vector: Option<Vec<f32>>,
    pub top_k: usize,
    pub vector_search: bool,
    pub full_text: bool,
    /// Only this tenant's documents.
    pub tenant: Option<String>,
}

/// A chunk that was found. Ranks count from one.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub document: String,
    pub source: String,
    pub chunk: u32,
    pub rank: u32,
    /// The cosine, the BM25 score, or with both searches on the sum of reciprocal ranks.
    pub score: f32,
    pub text: String,
    pub start: usize,
    pub end: usize,
}

impl KnowledgeBase {
    /// The best chunks, best first. All of them, and both searches, are of one version of the table: the newest.
    pub fn search<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Vec<Hit>, Error>> {
        async move {
            self.check_query(query)?;
            let view = self.shared.views.latest(&self.shared.table).await?;
            Self::search_in(&view, query).await
        }
        .boxed()
    }

    /// The best chunks of `version`, whatever was written since. A version that maintenance has removed is an error.
    pub fn search_version<'a>(&'a self, query: &'a Query, version: u64) -> BoxFuture<'a, Result<Vec<Hit>, Error>> {
        async move {
            self.check_query(query)?;
            let view = self.shared.views.at(&self.shared.table, version).await?;
            Self::search_in(&view, query).await
        }
        .boxed()
    }

    async fn search_in(view: &Arc<View>, query: &Query) -> Result<Vec<Hit>, Error> {
        if query.top_k == 0 {
            return Ok(Vec::new());
        }
        let depth = query.top_k.saturating_mul(DEPTH_FACTOR).max(MIN_DEPTH);
        let by_vector = match &query.vector {
            Some(vector) if query.vector_search => Some(nearest(view, vector, depth, query.tenant.as_deref()).await?),
            _ => None,
        };
        let by_words = if query.full_text { Some(matching(view, query, depth).await?) } else { None };
        let found = match (by_vector, by_words) {
            (Some(by_vector), Some(by_words)) => fuse(&[by_vector, by_words], query.top_k),
            (Some(found), None) | (None, Some(found)) => best(found, query.top_k),
            (None, None) => Vec::new(),
        };
        hits(view, &found).await
    }

    fn check_query(&self, query: &Query) -> Result<(), Error> {
        let invalid = |detail: String| Err(Error::InvalidQuery { detail });
        match &query.vector {
            _ if !query.vector_search && !query.full_text => {
                invalid("neither vector nor full-text search is on".to_owned())
            }
            None if query.vector_search => invalid("vector search needs a vector".to_owned()),
            Some(vector) if query.vector_search && vector.len() != self.shared.dimensions => {
                let (found, wanted) = (vector.len(), self.shared.dimensions);
                invalid(format!("its vector has {found} dimensions, the knowledge base {wanted}"))
            }
            Some(vector) if query.vector_search && !vector.iter().all(|value| value.is_finite()) => {
                invalid("its vector holds a value that is not a finite number".to_owned())
            }
            _ => Ok(()),
        }
    }
}

async fn nearest(
    view: &Arc<View>,
    vector: &[f32],
    count: usize,
    tenant: Option<&str>,
) -> Result<Vec<Candidate>, Error> {
    if let Some(vectors) = view.vectors.clone() {
        let (vector, tenant) = (vector.to_vec(), tenant.map(str::to_owned));
        // A scan takes milliseconds, too long for a thread that serves others.
        let scan = tokio::task::spawn_blocking(move || vectors.nearest(&vector, count, tenant.as_deref()));
        return scan.await.map_err(Error::read);
    }
    let mut query = view
        .table
        .query()
        .nearest_to(vector)
        .map_err(Error::read)?
        .distance_type(DistanceType::Cosine)
        .bypass_vector_index()
        .limit(count)
        .select(Select::columns(&[ID, DISTANCE]))
        .with_row_id();
    if let Some(tenant) = tenant {
        query = query.only_if_expr(col(TENANT).eq(lit(tenant)));
    }
    let stream = query.execute().await.map_err(Error::read)?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(Error::read)?;
    Ok(best(candidates(&batches, DISTANCE, |distance| 1.0 - distance)?, count))
}

async fn matching(view: &View, query: &Query, count: usize) -> Result<Vec<Candidate>, Error> {
    let text = &query.text[..query.text.floor_char_boundary(MAX_QUERY_BYTES)];
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let words = FullTextSearchQuery::new(text.to_owned()).with_column(TEXT.to_owned()).map_err(Error::read)?;
    let mut search =
        view.table.query().full_text_search(words).limit(count).select(Select::columns(&[ID, SCORE])).with_row_id();
    if let Some(tenant) = &query.tenant {
        search = search.only_if_expr(col(TENANT).eq(lit(tenant.as_str())));
    }
    let stream = search.execute().await.map_err(Error::read)?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(Error::read)?;
    Ok(best(candidates(&batches, SCORE, |score| score)?, count))
}

fn candidates(batches: &[RecordBatch], column: &str, score: fn(f32) -> f32) -> Result<Vec<Candidate>, Error> {
    let mut found = Vec::new();
    for batch in batches {
        let rows: &UInt64Array = read::column(batch, ROW_ID)?;
        let scores: &Float32Array = read::column(batch, column)?;
        let scored = rows.values().iter().zip(read::digests(batch, ID)?).zip(scores.values());
        found.extend(scored.map(|((row, id), value)| Candidate { row: *row, id, score: score(*value) }));
    }
    Ok(found)
}

/// Sums the reciprocal ranks that a row has in the lists.
fn fuse(lists: &[Vec<Candidate>], count: usize) -> Vec<Candidate> {
    let mut fused: HashMap<u64, Candidate> = HashMap::new();
    for list in lists {
        let mut rank = RANK_CONSTANT;
        for candidate in list {
            rank += 1.0;
            fused.entry(candidate.row).or_insert(Candidate { score: 0.0, ..*candidate }).score += rank.recip();
        }
    }
    best(fused.into_values().collect(), count)
}

async fn hits(view: &View, found: &[Candidate]) -> Result<Vec<Hit>, Error> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let rows = found.iter().map(|candidate| candidate.row).collect();
    let columns = Select::columns(&[DOCUMENT, SOURCE, CHUNK, BYTE_START, BYTE_END, TEXT]);
    let query = view.table.take_row_ids(rows).select(columns).with_row_id();
    let stream = query.execute().await.map_err(Error::read)?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(Error::read)?;
    let mut by_row = HashMap::new();
    for batch in &batches {
        let rows: &UInt64Array = read::column(batch, ROW_ID)?;
        let documents: &StringArray = read::column(batch, DOCUMENT)?;
        let sources: &StringArray = read::column(batch, SOURCE)?;
        let chunks: &UInt32Array = read::column(batch, CHUNK)?;
        let starts: &UInt64Array = read::column(batch, BYTE_START)?;
        let ends: &UInt64Array = read::column(batch, BYTE_END)?;
        let texts: &StringArray = read::column(batch, TEXT)?;
        for position in 0..rows.len() {
            let hit = Hit {
                document: documents.value(position).to_owned(),
                source: sources.value(position).to_owned(),
                chunk: chunks.value(position),
                rank: 0,
                score: 0.0,
                text: texts.value(position).to_owned(),
                start: usize::try_from(starts.value(position)).map_err(Error::read)?,
                end: usize::try_from(ends.value(position)).map_err(Error::read)?,
            };
            by_row.insert(rows.value(position), hit);
        }
    }
    (1_u32..)
        .zip(found)
        .map(|(rank, candidate)| {
            let hit = by_row.remove(&candidate.row).ok_or_else(|| Error::read("a row that was found has vanished"))?;
            Ok(Hit { rank, score: candidate.score, ..hit })
        })
        .collect()
}
