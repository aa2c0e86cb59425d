//! Agents that go on without their pool (`kubectl delete --cascade=orphan`) keep what their pods mount.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use operator::{
    client::Clients,
    config::{Config, Credentials},
    context::Context,
    lease::Leadership,
    names::{self, Component},
    namespace::{Orphans, leave, prepare},
};
use queue::jetstream::Keys;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::http;

const NAMESPACE: &str = "documents";

/// What the API server has and was told.
#[derive(Default)]
struct Seen {
    /// Deployments of agents.
    agents: Vec<Value>,
    /// Secrets that were made, by name.
    made: BTreeMap<String, Value>,
    /// Names of those that were removed, each of which is there until then.
    removed: Vec<String>,
}

type Shared = Arc<Mutex<Seen>>;

/// The Deployment of a pool.
fn agents(pool: &str, owners: &Value) -> Value {
    let labels = names::labels(Component::Agents, pool);
    let metadata =
        json!({"name": names::agents(pool), "namespace": NAMESPACE, "labels": labels, "ownerReferences": owners});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})
}

/// An owner that is there.
fn owner() -> Value {
    json!([{"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "name": "clerks", "uid": "of-clerks"}])
}

/// An operator that leads where each pool has credentials of its own, and an API server with one pool, `readers`.
async fn leader(seen: &Shared) -> (Context, watch::Sender<Leadership>) {
    let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let docket = format!("/apis/docket.dev/v1alpha1/namespaces/{NAMESPACE}");
    let routes = Router::new()
        .route(&format!("{docket}/agentpools"), get(async || http::list(&[json!(crate::support::pool(json!({})))])))
        .route(&format!("{docket}/pipelines"), get(async || http::list(&[])))
        .route(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments"), get(deployments))
        .route(&secrets, post(create))
        .route(&format!("{secrets}/{{name}}"), get(secret).patch(apply).delete(remove))
        .fallback(async || http::not_found())
        .with_state(Arc::clone(seen));
    let server = http::serve(routes).await;
    let config = Config {
        nats_servers: vec!["nats://127.0.0.1:1".to_owned()],
        nats_credentials: Some(Credentials::Keys(Box::new(Keys::generate()))),
        ..crate::support::config()
    };
    let until = tokio::time::Instant::now() + Duration::from_secs(3_600);
    let (leads, leadership) = watch::channel(Leadership::Leading { epoch: 1, until });
    (crate::support::context(Clients::new(&server).expect("clients"), config, leadership), leads)
}

async fn deployments(State(seen): State<Shared>) -> Response {
    http::list(&seen.lock().expect("no handler panics").agents)
}

async fn create(Json(secret): Json<Value>) -> Response {
    Json(secret).into_response()
}

async fn secret(State(seen): State<Shared>, Path(name): Path<String>) -> Response {
    if seen.lock().expect("no handler panics").removed.contains(&name) {
        return http::not_found();
    }
    let labels = names::labels(Component::Gateway, names::GATEWAY);
    let metadata =
        json!({"name": name, "namespace": NAMESPACE, "uid": "there", "resourceVersion": "1", "labels": labels});
    Json(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})).into_response()
}

async fn apply(State(seen): State<Shared>, Path(name): Path<String>, body: Bytes) -> Response {
    let secret: Value = serde_json::from_slice(&body).expect("JSON");
    seen.lock().expect("no handler panics").made.insert(name, secret.clone());
    Json(secret).into_response()
}

async fn remove(State(seen): State<Shared>, Path(name): Path<String>) -> Response {
    seen.lock().expect("no handler panics").removed.push(name);
    Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}})).into_response()
}

#[tokio::test]
async fn agents_without_their_pool_keep_their_credentials_while_others_are_given_theirs() {
    let seen = Shared::default();
    seen.lock().expect("no handler panics").agents = vec![agents("writers", &Value::Null), agents("clerks", &owner())];
    let (ctx, _leads) = leader(&seen).await;
    prepare(&ctx, NAMESPACE).await.expect("the Secrets are made");
    let data = seen.lock().expect("no handler panics").made["docket-nats"]["data"].clone();
    let keys: Vec<&String> = data.as_object().expect("keys").keys().collect();
    assert_eq!(keys, ["agents-readers.creds", "agents-writers.creds", "gateway.creds"]);
}

#[tokio::test]
async fn the_last_pool_leaves_the_secrets_to_agents_that_go_on() {
    let removed = async |agents: Vec<Value>, orphans: Orphans| {
        let seen = Arc::new(Mutex::new(Seen { agents, ..Seen::default() }));
        let (ctx, _leads) = leader(&seen).await;
        // Of what is at the broker nothing can be removed here, which comes after the Secrets.
        drop(leave(&ctx, NAMESPACE, orphans).await);
        seen.lock().expect("no handler panics").removed.clone()
    };
    let ours = ["docket-gateway-tokens", "docket-nats", "docket-metrics", "docket-payloads"];
    assert_eq!(removed(Vec::new(), Orphans::None).await, ours);
    assert_eq!(removed(vec![agents("clerks", &owner())], Orphans::None).await, ours);
    // Of the store of payloads there are no credentials.
    assert_eq!(removed(Vec::new(), Orphans::Kept).await, ours[3..], "its own");
    assert_eq!(removed(vec![agents("writers", &Value::Null)], Orphans::None).await, ours[3..], "those of another");
}
