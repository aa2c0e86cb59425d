//! An API server that knows what an operator needs to start and to lead, over real HTTP, and that misbehaves when told to.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::stream;
use kube::Config;
use serde_json::{Value, json};

/// What becomes of a request, instead of an ordinary answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// This status, and nothing is done.
    Refuse(u16),
    /// It is done, and the connection breaks before the answer is complete.
    LoseAnswer,
}

#[derive(Default)]
pub struct Contents {
    /// Whether Docket's kinds are installed.
    pub definitions: bool,
    pub lease: Option<Value>,
    pub secret: Option<Value>,
    version: u64,
    /// For the next requests to the Lease, one each.
    pub trouble: VecDeque<Trouble>,
    /// Bodies of Events that were made.
    pub events: Vec<Value>,
    /// Method and path of every request.
    pub requests: Vec<(Method, String)>,
}

type Shared = Arc<Mutex<Contents>>;

#[derive(Clone)]
pub struct ApiServer {
    pub address: SocketAddr,
    contents: Shared,
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/docket/leases";

impl ApiServer {
    pub async fn start() -> Self {
        let contents = Shared::default();
        let lease = Router::new()
            .route(LEASES, axum::routing::post(create))
            .route(&format!("{LEASES}/{{name}}"), get(read).put(replace))
            .layer(middleware::from_fn_with_state(Arc::clone(&contents), in_trouble));
        let routes = lease
            .route("/apis/docket.dev/v1alpha1", get(kinds))
            .route("/api/v1/namespaces/docket/secrets/{name}", get(secret))
            .route("/api/v1/namespaces/docket/secrets", axum::routing::post(create_secret))
            .route("/apis/events.k8s.io/v1/namespaces/{namespace}/events", axum::routing::post(event))
            .fallback(async || status(StatusCode::NOT_FOUND))
            .layer(middleware::from_fn_with_state(Arc::clone(&contents), record))
            .with_state(Arc::clone(&contents));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, contents }
    }

    pub fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().expect("no handler panics")
    }

    pub fn config(&self) -> Config {
        Config::new(format!("http://{}", self.address).parse().expect("a URL"))
    }

    /// Who holds the Lease.
    pub fn holder(&self) -> Option<String> {
        self.contents().lease.as_ref().and_then(|lease| lease["spec"]["holderIdentity"].as_str().map(str::to_owned))
    }
}

/// A kubeconfig for the server at this address.
pub fn kubeconfig(address: SocketAddr) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("http://{address}")}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "users": [{"name": "test", "user": {}}],
    })
    .to_string()
}

async fn record(State(contents): State<Shared>, request: Request, next: Next) -> Response {
    let asked = (request.method().clone(), request.uri().path().to_owned());
    contents.lock().expect("no handler panics").requests.push(asked);
    next.run(request).await
}

async fn in_trouble(State(contents): State<Shared>, request: Request, next: Next) -> Response {
    let trouble = contents.lock().expect("no handler panics").trouble.pop_front();
    match trouble {
        None => next.run(request).await,
        Some(Trouble::Refuse(code)) => {
            let refused = status(StatusCode::from_u16(code).expect("a status"));
            ([("retry-after", "0")], refused).into_response()
        }
        Some(Trouble::LoseAnswer) => {
            next.run(request).await;
            let broken = stream::iter([Ok("{\"kind\":"), Err(io::Error::other("the answer is lost"))]);
            Response::new(Body::from_stream(broken))
        }
    }
}

async fn read(State(contents): State<Shared>) -> Response {
    let contents = contents.lock().expect("no handler panics");
    contents.lease.clone().map_or_else(|| status(StatusCode::NOT_FOUND), |lease| Json(lease).into_response())
}

async fn create_secret(State(contents): State<Shared>, Json(secret): Json<Value>) -> Response {
    let mut contents = contents.lock().expect("no handler panics");
    if contents.secret.is_some() {
        return status(StatusCode::CONFLICT);
    }
    contents.secret = Some(secret.clone());
    Json(secret).into_response()
}

async fn create(State(contents): State<Shared>, Json(lease): Json<Value>) -> Response {
    let mut contents = contents.lock().expect("no handler panics");
    if contents.lease.is_some() { status(StatusCode::CONFLICT) } else { contents.write(lease) }
}

async fn replace(State(contents): State<Shared>, Json(lease): Json<Value>) -> Response {
    let mut contents = contents.lock().expect("no handler panics");
    let Some(held) = &contents.lease else { return status(StatusCode::NOT_FOUND) };
    let version = |lease: &Value| lease["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    if version(held) == version(&lease) { contents.write(lease) } else { status(StatusCode::CONFLICT) }
}

impl Contents {
    fn write(&mut self, mut lease: Value) -> Response {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        Json(self.lease.insert(lease).clone()).into_response()
    }
}

async fn kinds(State(contents): State<Shared>) -> Response {
    if !contents.lock().expect("no handler panics").definitions {
        return status(StatusCode::NOT_FOUND);
    }
    let kind = |name: &str, kind: &str| json!({"name": name, "singularName": "", "kind": kind, "namespaced": true, "verbs": ["get", "list", "watch"]});
    let resources =
        [kind("agentpools", "AgentPool"), kind("agentpools/status", "AgentPool"), kind("pipelines", "Pipeline")];
    Json(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "docket.dev/v1alpha1", "resources": resources}))
        .into_response()
}

async fn secret(State(contents): State<Shared>, Path(_): Path<String>) -> Response {
    let contents = contents.lock().expect("no handler panics");
    contents.secret.clone().map_or_else(|| status(StatusCode::NOT_FOUND), |secret| Json(secret).into_response())
}

async fn event(State(contents): State<Shared>, Json(event): Json<Value>) -> Response {
    contents.lock().expect("no handler panics").events.push(event.clone());
    Json(event).into_response()
}

fn status(code: StatusCode) -> Response {
    let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code.as_u16()});
    (code, Json(body)).into_response()
}
