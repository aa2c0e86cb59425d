//! Why a namespace's objects cannot be made is kept for those who wait for them, until they can, and told on its
//! pipelines.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{config, context, http, pipeline, pool};
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

/// What the API server does and was told.
#[derive(Default)]
struct Seen {
    /// Whether Secrets are refused.
    refuses: bool,
    events: Vec<Value>,
}

type Shared = Arc<Mutex<Seen>>;

/// An API server with one pool, and a pipeline whose pool is not there, so that no gateway is to serve it.
async fn serve(seen: &Shared) -> kube::Config {
    let docket = format!("/apis/docket.dev/v1alpha1/namespaces/{NAMESPACE}");
    let stage = json!({"name": "a", "pool": "nobody", "transform": {"template": "x"}});
    let review = json!(pipeline(json!({"stages": [stage]})));
    let routes = Router::new()
        .route(&format!("{docket}/agentpools"), get(async || http::list(&[json!(pool(json!({})))])))
        .route(
            &format!("{docket}/pipelines"),
            get(move || {
                let review = review.clone();
                async move { http::list(&[review]) }
            }),
        )
        .route(&format!("/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"), post(event))
        .route(&format!("/api/v1/namespaces/{NAMESPACE}/secrets"), post(create))
        .fallback(async || failure(StatusCode::NOT_FOUND, "NotFound", "it is not there"))
        .with_state(Arc::clone(seen));
    http::serve(routes).await
}

async fn create(State(seen): State<Shared>, Json(secret): Json<Value>) -> Response {
    if seen.lock().expect("no handler panics").refuses {
        return failure(StatusCode::FORBIDDEN, "Forbidden", "exceeded quota: secrets");
    }
    Json(secret).into_response()
}

async fn event(State(seen): State<Shared>, Json(event): Json<Value>) -> Response {
    seen.lock().expect("no handler panics").events.push(event.clone());
    Json(event).into_response()
}

fn failure(code: StatusCode, reason: &str, message: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(), "reason": reason,
        "message": message});
    (code, Json(body)).into_response()
}

/// Waits until it is so after a look.
async fn looked(ctx: &Context, is_so: impl Fn(Option<String>) -> bool) {
    ctx.namespaces.look_at(NAMESPACE);
    until(|| is_so(ctx.namespaces.refused(NAMESPACE))).await;
}

async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it is so in time");
}

#[tokio::test]
async fn why_a_namespace_is_not_as_it_should_be_is_kept_until_it_is_and_told_on_its_pipelines_once() {
    let seen = Arc::new(Mutex::new(Seen { refuses: true, ..Seen::default() }));
    let clients = Clients::new(&serve(&seen).await).expect("clients");
    let leads_until = tokio::time::Instant::now() + Duration::from_secs(3_600);
    let (_leads, leadership) = watch::channel(Leadership::Leading { epoch: 1, until: leads_until });
    let ctx = Arc::new(context(clients, config(), leadership));
    let stop = CancellationToken::new();
    let running = tokio::spawn(namespace::run(Arc::clone(&ctx), stop.clone()));
    looked(&ctx, |refused| refused.is_some()).await;
    let why = ctx.namespaces.refused(NAMESPACE).unwrap_or_default();
    assert!(why.contains("Secret documents/docket-gateway-tokens: exceeded quota"), "{why}");
    assert_eq!(ctx.namespaces.refused("another"), None);

    // On a busy machine it may have looked again by itself, too.
    let repeated = || {
        let text = ctx.metrics.text().expect("text");
        let counts =
            text.lines().filter_map(|line| line.strip_prefix("docket_operator_events_total{outcome=\"repeated\"} "));
        counts.filter_map(|count| count.parse::<u64>().ok()).sum::<u64>() >= 1
    };
    until(|| !seen.lock().expect("no handler panics").events.is_empty()).await;
    ctx.namespaces.look_at(NAMESPACE);
    until(repeated).await;
    let events = seen.lock().expect("no handler panics").events.clone();
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!((&events[0]["reason"], &events[0]["type"]), (&json!("GatewayRefused"), &json!("Warning")));
    assert_eq!(events[0]["regarding"]["name"], "review");
    assert_eq!(events[0]["note"].as_str(), Some(why.as_str()));

    seen.lock().expect("no handler panics").refuses = false;
    looked(&ctx, |refused| refused.is_none()).await;
    stop.cancel();
    running.await.expect("it ends");
}
