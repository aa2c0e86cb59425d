//! HTTP with JSON. `openapi.json` beside this file is its description and is served as it is.

mod erasing;
mod people;
mod stream;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{delete, get, post},
};
use futures::TryStreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    api::{self, Api, Head},
    caches,
    intake::Room,
    refusal::Refusal,
    tokens::Caller,
    watch,
};
use crate::{commands::cache::before, runtime::cache::Selection};

/// Most items of one answer.
const MAX_ITEMS: usize = 1_000;
/// Items of one answer where none are asked for.
const ITEMS: usize = 100;
/// Longest that a request may wait for a document's end: proxies give up on longer silence.
const MAX_WAIT: Duration = Duration::from_secs(60);

type Caught = State<Arc<Api>>;
type Answer = Result<Json<Value>, Refusal>;

/// All routes.
pub(super) fn routes(api: &Arc<Api>) -> Router {
    let documents = Router::new()
        .route("/v1/stats", get(stats))
        .route("/v1/pools/{pool}/explain", get(explain_pool))
        .route("/v1/pipelines", get(pipelines))
        .route("/v1/pipelines/{pipeline}/documents", post(submit).get(list))
        .route("/v1/pipelines/{pipeline}/documents/{document}", get(document).delete(erasing::document))
        .route("/v1/pipelines/{pipeline}/documents/{document}/events", get(stream::events))
        .route("/v1/pipelines/{pipeline}/documents/{document}/cancel", post(cancel))
        .route("/v1/pipelines/{pipeline}/documents/{document}/replay", post(replay))
        .route("/v1/pipelines/{pipeline}/documents/{document}/approval", post(people::approval))
        .route("/v1/pipelines/{pipeline}/documents/{document}/feedback", post(people::feedback))
        .route("/v1/pipelines/{pipeline}/approvals", get(people::approvals))
        .route("/v1/pipelines/{pipeline}/audits", get(people::audits))
        .route("/v1/pipelines/{pipeline}/feedback", get(people::list_feedback))
        .route("/v1/pipelines/{pipeline}/dead-letters", get(dead_letters))
        .route("/v1/tenants/{tenant}", delete(erasing::tenant))
        .route("/v1/cache", get(cache_stats))
        .route("/v1/cache/clear", post(cache_clear))
        .layer(middleware::from_fn_with_state(Arc::clone(api), authenticate));
    Router::new()
        .route("/", get(async || Html(include_str!("page.html"))))
        .route(
            "/openapi.json",
            get(async || ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json"))),
        )
        .merge(documents)
        .fallback(async || Refusal::NotFound("there is nothing here; see /openapi.json".to_owned()))
        .method_not_allowed_fallback(async || {
            let body = json!({"error": {"reason": "MethodNotAllowed", "message": "see /openapi.json"}});
            (StatusCode::METHOD_NOT_ALLOWED, Json(body))
        })
        .with_state(Arc::clone(api))
}

/// Lets in who has a token, before anything of the request is read.
async fn authenticate(State(api): Caught, mut request: Request, next: Next) -> Result<Response, Refusal> {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let caller = api.caller(authorization).await?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

async fn pipelines(State(api): Caught, Extension(caller): Extension<Caller>) -> Json<Value> {
    Json(json!({"pipelines": api.pipelines(&caller)}))
}

async fn stats(State(api): Caught, Extension(caller): Extension<Caller>) -> Answer {
    api.stats(&caller).await.map(Json)
}

async fn explain_pool(State(api): Caught, Extension(caller): Extension<Caller>, Path(pool): Path<String>) -> Answer {
    api.explain_pool(&caller, &pool).await.map(Json)
}

/// What is said of a document in the address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitQuery {
    id: Option<String>,
    source: Option<String>,
    tenant: Option<String>,
    priority: Option<String>,
    deadline: Option<String>,
    metadata: Option<String>,
}

async fn submit(
    State(api): Caught,
    Extension(caller): Extension<Caller>,
    Path(pipeline): Path<String>,
    query: Result<Query<SubmitQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|error| Refusal::Invalid(error.body_text()))?;
    let header = |name: &str| {
        let value = headers.get(name).map(|value| value.to_str().map(str::to_owned));
        value.transpose().map_err(|_| Refusal::Invalid(format!("{name}: is not plain text")))
    };
    // Unpacked, a few kilobytes may be gigabytes.
    if header("content-encoding")?.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Refusal::Invalid("Content-Encoding: send the document as it is".to_owned()));
    }
    let deadline = query.deadline.as_deref().map(str::parse::<crds::Span>).transpose();
    let head = Head {
        pipeline: pipeline.clone(),
        id: query.id,
        idempotency_key: header("idempotency-key")?,
        source: query.source,
        tenant: query.tenant,
        priority: query.priority.as_deref().map(api::priority).transpose()?,
        deadline: deadline.map_err(|error| Refusal::Invalid(format!("deadline: {error}")))?.map(|span| span.0),
        metadata: query.metadata.as_deref().map(api::metadata).transpose()?.unwrap_or_default(),
        length: header("content-length")?.and_then(|length| length.parse().ok()),
    };
    let body = body.into_data_stream().map_err(Refusal::broken_off);
    let accepted = api.submit(&caller, head, (body, Room::default())).await?;
    // A repeat has made nothing new.
    let status = if accepted.repeated { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut answer = json!({"document": accepted.document, "pipeline": pipeline, "repeated": accepted.repeated});
    if let Some(expected) = accepted.expected_finish {
        answer["expectedFinish"] = json!(expected);
    }
    Ok((status, Json(answer)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentQuery {
    /// Seconds.
    wait: Option<u64>,
}

async fn document(
    State(api): Caught,
    Extension(caller): Extension<Caller>,
    Path((pipeline, document)): Path<(String, String)>,
    query: Result<Query<DocumentQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Refusal::Invalid(error.body_text()))?;
    let at_most = Duration::from_secs(query.wait.unwrap_or(0)).min(MAX_WAIT);
    watch::wait(&api, &caller, (&pipeline, &document), at_most).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
    outcome: Option<String>,
}

impl ListQuery {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(ITEMS).clamp(1, MAX_ITEMS)
    }
}

async fn list(
    State(api): Caught,
    Extension(caller): Extension<Caller>,
    Path(pipeline): Path<String>,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Refusal::Invalid(error.body_text()))?;
    let limit = query.limit();
    let listed = api.list(&caller, &pipeline, (query.after, limit, query.outcome.as_deref())).await?;
    Ok(Json(json!({"documents": listed.items, "next": listed.next})))
}

async fn dead_letters(
    State(api): Caught,
    Extension(caller): Extension<Caller>,
    Path(pipeline): Path<String>,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Refusal::Invalid(error.body_text()))?;
    let limit = query.limit();
    let listed = api.dead_letters(&caller, &pipeline, query.after, limit).await?;
    Ok(Json(json!({"deadLetters": listed.items, "next": listed.next})))
}

async fn cancel(
    State(api): Caught,
    Extension(caller): Extension<Caller>,
    Path((pipeline, document)): Path<(String, String)>,
) -> Answer {
    api.cancel(&caller, &pipeline, &document).await.map(Json)
}

async fn replay(
    State(api): Caught,
    Extension(caller): Extension<Caller>,
    Path((pipeline, document)): Path<(String, String)>,
) -> Answer {
    api.replay(&caller, &pipeline, &document).await.map(Json)
}

async fn cache_stats(State(api): Caught, Extension(caller): Extension<Caller>) -> Answer {
    caches::stats(&api, &caller).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ClearQuery {
    /// Span.
    older_than: Option<String>,
    tenant: Option<String>,
    payload: Option<String>,
}

async fn cache_clear(
    State(api): Caught,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ClearQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Refusal::Invalid(error.body_text()))?;
    let older_than = query.older_than.as_deref().map(str::parse::<crds::Span>).transpose();
    let made_before = older_than.map_err(|error| Refusal::Invalid(format!("olderThan: {error}")))?.map(before);
    let tenant = caches::tenant(&caller, query.tenant.as_deref())?;
    let selection = Selection::of(tenant, query.payload.as_deref()).made_before(made_before);
    caches::clear(&api, &selection).await.map(Json)
}

/// Errors of streams that cannot fail.
type Sure<T> = Result<T, Infallible>;
