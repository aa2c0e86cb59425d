//! What people are asked, answer and say of documents.

use std::time::Duration;

use axum::{
    Extension, Json,
    body::{Body, to_bytes},
    extract::{Path, Query, State},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{Answer, Caught, ITEMS, MAX_ITEMS};
use crate::{
    runtime::feedback::Opinion,
    serve::gateway::{api::Api, approvals::Said, refusal::Refusal, tokens::Caller},
};

/// Largest body in bytes: a comment or a label, and their names.
const MAX_BODY: usize = 64 << 10;
/// What is read of a larger one, so that who sends it hears why it is refused.
const MOST_READ: usize = 2 << 20;
/// Longest time to send one, where a document has as long.
const TIME: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    approve: bool,
    stage: Option<String>,
    comment: Option<String>,
}

/// Answers for a document.
pub(super) async fn approval(
    State(api): Caught,
    Extension(caller): Extension<Caller>,
    Path((pipeline, document)): Path<(String, String)>,
    body: Body,
) -> Answer {
    let Approval { approve, stage, comment } = read(&api, body).await?;
    api.answer(&caller, &pipeline, &document, Said { stage, approve, comment }).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Feedback {
    head: String,
    label: Option<String>,
    score: Option<f64>,
}

/// Keeps what a caller says of a document.
pub(super) async fn feedback(
    State(api): Caught,
    Extension(caller): Extension<Caller>,
    Path((pipeline, document)): Path<(String, String)>,
    body: Body,
) -> Answer {
    let Feedback { head, label, score } = read(&api, body).await?;
    let opinion = Opinion { head, label, score, ..Opinion::default() };
    api.feedback(&caller, &pipeline, &document, opinion).await.map(Json)
}

async fn read<T: DeserializeOwned>(api: &Api, body: Body) -> Result<T, Refusal> {
    let time = TIME.min(api.intake.time());
    let body = tokio::time::timeout(time, to_bytes(body, MOST_READ)).await;
    let body = body.map_err(|_| Refusal::TooSlow(format!("the body did not come within {}", crds::Span(time))))?;
    let body = body.map_err(|error| Refusal::Invalid(format!("the body: {error}")))?;
    if body.len() > MAX_BODY {
        return Err(Refusal::Invalid(format!("the body has more than {MAX_BODY} bytes")));
    }
    serde_json::from_slice(&body).map_err(|error| Refusal::Invalid(format!("the body: {error}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    after: Option<String>,
    limit: Option<usize>,
}

type Asked = Result<Query<Part>, axum::extract::rejection::QueryRejection>;

fn part(query: Asked) -> Result<(Option<String>, usize), Refusal> {
    let Query(Part { after, limit }) = query.map_err(|error| Refusal::Invalid(error.body_text()))?;
    Ok((after, limit.unwrap_or(ITEMS).clamp(1, MAX_ITEMS)))
}

/// What stages ask.
pub(super) async fn approvals(
    State(api): Caught,
    Extension(caller): Extension<Caller>,
    Path(pipeline): Path<String>,
    query: Asked,
) -> Answer {
    let (after, limit) = part(query)?;
    let listed = api.approvals(&caller, &pipeline, after, limit).await?;
    Ok(Json(json!({"approvals": listed.items, "next": listed.next})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    limit: Option<usize>,
}

/// Audits that nobody has settled.
pub(super) async fn audits(
    State(api): Caught,
    Extension(caller): Extension<Caller>,
    Path(pipeline): Path<String>,
    query: Result<Query<Limit>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(Limit { limit }) = query.map_err(|error| Refusal::Invalid(error.body_text()))?;
    let limit = limit.unwrap_or(ITEMS).clamp(1, MAX_ITEMS);
    Ok(Json(json!({"audits": api.audits(&caller, &pipeline, limit).await?})))
}

/// What was said of documents.
pub(super) async fn list_feedback(
    State(api): Caught,
    Extension(caller): Extension<Caller>,
    Path(pipeline): Path<String>,
    query: Asked,
) -> Answer {
    let (after, limit) = part(query)?;
    let listed = api.list_feedback(&caller, &pipeline, after, limit).await?;
    Ok(Json(json!({"feedback": listed.items, "next": listed.next})))
}
