//! API servers that a test makes of the few paths that it needs, over real HTTP.

use axum::{
    Json, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// Serves these paths until the test's runtime ends, and says how to reach them.
pub(crate) async fn serve(routes: Router) -> kube::Config {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    kube::Config::new(format!("http://{address}").parse().expect("a URL"))
}

/// A list of objects.
pub(crate) fn list(items: &[Value]) -> Response {
    Json(json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})).into_response()
}

/// What is said of an object that is not there.
pub(crate) fn not_found() -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
        "message": "it is not there"});
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}
