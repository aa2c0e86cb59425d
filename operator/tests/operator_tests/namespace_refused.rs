//! Why a namespace's objects cannot be made is kept for those who wait for them, until they can.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{config, context, pool};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use operator::{client::Clients, context::Context, lease::Leadership, namespace};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "documents";
/// Longest wait for anything; generous, because nothing here measures.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether Secrets are refused.
type Refuses = Arc<Mutex<bool>>;

/// An API server with one pool.
async fn serve(refuses: &Refuses) -> kube::Config {
    let docket = format!("/apis/docket.dev/v1alpha1/namespaces/{NAMESPACE}");
    let routes = Router::new()
        .route(&format!("{docket}/agentpools"), get(async || list(&[json!(pool(json!({})))])))
        .route(&format!("{docket}/pipelines"), get(async || list(&[])))
        .route(&format!("/api/v1/namespaces/{NAMESPACE}/secrets"), post(create))
        .fallback(async || failure(StatusCode::NOT_FOUND, "NotFound", "it is not there"))
        .with_state(Arc::clone(refuses));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    kube::Config::new(format!("http://{address}").parse().expect("a URL"))
}

fn list(items: &[Value]) -> Response {
    Json(json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})).into_response()
}

async fn create(State(refuses): State<Refuses>, Json(secret): Json<Value>) -> Response {
    if *refuses.lock().expect("no handler panics") {
        return failure(StatusCode::FORBIDDEN, "Forbidden", "exceeded quota: secrets");
    }
    Json(secret).into_response()
}

fn failure(code: StatusCode, reason: &str, message: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(), "reason": reason,
        "message": message});
    (code, Json(body)).into_response()
}

/// Waits until it is so after a look.
async fn looked(ctx: &Context, is_so: impl Fn(Option<String>) -> bool) {
    ctx.namespaces.look_at(NAMESPACE);
    let waiting = async {
        while !is_so(ctx.namespaces.refused(NAMESPACE)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it is so in time");
}

#[tokio::test]
async fn why_a_namespace_is_not_as_it_should_be_is_kept_until_it_is() {
    let refuses = Arc::new(Mutex::new(true));
    let clients = Clients::new(&serve(&refuses).await).expect("clients");
    let until = tokio::time::Instant::now() + Duration::from_secs(3_600);
    let (_leads, leadership) = watch::channel(Leadership::Leading { epoch: 1, until });
    let ctx = Arc::new(context(clients, config(), leadership));
    let stop = CancellationToken::new();
    let running = tokio::spawn(namespace::run(Arc::clone(&ctx), stop.clone()));
    looked(&ctx, |refused| refused.is_some()).await;
    let why = ctx.namespaces.refused(NAMESPACE).unwrap_or_default();
    assert!(why.contains("Secret documents/docket-gateway-tokens: exceeded quota"), "{why}");
    assert_eq!(ctx.namespaces.refused("another"), None);
    *refuses.lock().expect("no handler panics") = false;
    looked(&ctx, |refused| refused.is_none()).await;
    stop.cancel();
    running.await.expect("it ends");
}
