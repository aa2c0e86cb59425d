//! `/v1/rerank`: documents in the order of their likeness to a query, in the form of Cohere's and Jina's interfaces.
//!
//! Scores are the cosine of the vectors of an embedding model, not the judgement of a model that reads query and document
//! together: good for ordering, and not comparable with the scores of such models.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use serde_json::Value;

use super::{fields::Fields, job::Job, refusal::Refusal};

#[derive(Serialize)]
struct Answer<'a> {
    id: String,
    model: &'a str,
    results: Vec<Ranked>,
    /// What the scores are.
    scoring: &'static str,
    usage: Usage,
}

#[derive(Serialize)]
struct Ranked {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document>,
}

#[derive(Serialize)]
struct Document {
    text: String,
}

#[derive(Serialize)]
struct Usage {
    total_tokens: usize,
}

pub(super) async fn answer(job: &Job, fields: &Fields) -> Result<Response, Refusal> {
    let query = fields.needed_text("query")?.to_owned();
    let documents = documents(fields, job.limits.inputs as usize)?;
    let top_n = fields.whole("top_n")?.map_or(usize::MAX, |top| usize::try_from(top).unwrap_or(usize::MAX));
    if top_n == 0 {
        return Err(Refusal::of_field("top_n", "top_n is 0"));
    }
    let returned = fields.flag("return_documents")?.then(|| documents.clone());
    let asked = job.embed(vec![query], "query").await?;
    let embedded = job.embed(documents, "documents").await?;
    let query = asked.vectors.first().map(Vec::as_slice).unwrap_or_default();
    let ranked = ranked(query, &embedded.vectors, top_n).into_iter().map(|(index, relevance_score)| {
        let text = returned.as_ref().and_then(|texts| texts.get(index)).cloned();
        Ranked { index, relevance_score, document: text.map(|text| Document { text }) }
    });
    let answer = Answer {
        id: format!("rerank-{}", uuid::Uuid::now_v7().simple()),
        model: &job.name,
        results: ranked.collect(),
        scoring: "cosine",
        usage: Usage { total_tokens: asked.tokens + embedded.tokens },
    };
    Ok(Json(answer).into_response())
}

/// Index and score of the nearest vectors, the nearest first; of equal ones the one that was sent first.
pub fn ranked(query: &[f32], vectors: &[Vec<f32>], top_n: usize) -> Vec<(usize, f32)> {
    // The vectors have length 1, so their product is the cosine.
    let cosine = |vector: &Vec<f32>| query.iter().zip(vector).map(|(a, b)| a * b).sum::<f32>();
    let mut ranked: Vec<(usize, f32)> = vectors.iter().map(cosine).enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(top_n);
    ranked
}

/// Texts, or objects with a text.
pub fn documents(fields: &Fields, most: usize) -> Result<Vec<String>, Refusal> {
    let invalid = |message: String| Refusal::of_field("documents", message);
    let documents = fields.list("documents")?.unwrap_or_default();
    if documents.is_empty() {
        return Err(invalid("documents is missing or an empty list".to_owned()));
    }
    if documents.len() > most {
        return Err(invalid(format!("there are {} documents, at most {most} are taken", documents.len())));
    }
    let text = |(place, document): (usize, &Value)| {
        let text = document.as_str().or_else(|| document["text"].as_str()).filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or_else(|| {
            invalid(format!("documents[{place}] is neither a text nor an object with a text, or the text is empty"))
        })
    };
    documents.iter().enumerate().map(text).collect()
}
