//! `DELETE` of a document and of a tenant.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::Value;

use super::super::{api::Api, refusal::Refusal, tokens::Caller};

/// A word in the address, so that a mistyped method erases nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EraseQuery {
    erase: Option<String>,
}

pub(super) async fn document(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((pipeline, document)): Path<(String, String)>,
    query: Result<Query<EraseQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    said(query)?;
    api.erase_document(&caller, &pipeline, &document).await.map(answer)
}

pub(super) async fn tenant(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(tenant): Path<String>,
    query: Result<Query<EraseQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    said(query)?;
    api.erase_tenant(&caller, &tenant).await.map(answer)
}

fn said(query: Result<Query<EraseQuery>, axum::extract::rejection::QueryRejection>) -> Result<(), Refusal> {
    let Query(query) = query.map_err(|error| Refusal::Invalid(error.body_text()))?;
    match query.erase.as_deref() {
        Some("" | "true") => Ok(()),
        _ => Err(Refusal::Invalid(
            "DELETE erases for good: say ?erase; cancel gives a document up and keeps it".to_owned(),
        )),
    }
}

/// 200: nothing is left. 202: something may be; the report says what, and the request can be repeated.
fn answer(report: Value) -> Response {
    let complete = report["complete"] == true && report["more"] == false;
    let status = if complete { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(report)).into_response()
}
