//! What a pool does not ask for any more is removed where it is the pool's, with an API server over real HTTP.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::http;
use crate::{
    cluster::merge,
    support::{config, context, pool, validated},
};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use operator::{
    agent_pool::{absent, build},
    client::Clients,
    lease::Leadership,
};
use serde_json::{Value, json};
use tokio::sync::watch;

const PATH: &str = "/apis/networking.k8s.io/v1/namespaces/documents/networkpolicies/readers-agents";

/// The policy, while it is there.
type Shared = Arc<Mutex<Option<Value>>>;

async fn read(State(policy): State<Shared>) -> Response {
    let policy = policy.lock().expect("no handler panics").clone();
    policy.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |policy| Json(policy).into_response())
}

async fn delete(State(policy): State<Shared>) -> Response {
    *policy.lock().expect("no handler panics") = None;
    Json(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})).into_response()
}

/// Whether a policy with this metadata, which has the name of the pool's, goes when the pool wants none.
async fn is_removed(metadata: Value) -> bool {
    let mut policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "readers-agents", "namespace": "documents", "uid": "of-the-policy", "resourceVersion": "7"}});
    merge(&mut policy["metadata"], &metadata);
    let policy: Shared = Arc::new(Mutex::new(Some(policy)));
    let routes = Router::new().route(PATH, get(read).delete(delete)).with_state(Arc::clone(&policy));
    let api = http::serve(routes).await;
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    let (_leads, leadership) = watch::channel(Leadership::Leading { epoch: 1, until });
    let ctx = context(Clients::new(&api).expect("clients"), config(), leadership);

    let open = pool(json!({"networkPolicy": {"enabled": false}}));
    let prepared = build::all(&validated(&open));
    absent::remove(&ctx, &open, &prepared.absent).await.expect("the API server answers");
    policy.lock().expect("no handler panics").is_none()
}

fn labels(manager: &str, pool: &str) -> Value {
    json!({"app.kubernetes.io/managed-by": manager, "docket.dev/pool": pool})
}

fn owner(uid: &str) -> Value {
    json!([{"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "name": "readers", "uid": uid}])
}

#[tokio::test]
async fn a_policy_that_a_pool_of_before_left_behind_goes_as_one_of_its_own_does() {
    let ours = || labels("docket-operator", "readers");
    assert!(is_removed(json!({"ownerReferences": owner("11111111-1111-1111-1111-111111111111")})).await);
    assert!(is_removed(json!({"labels": ours()})).await);
    assert!(is_removed(json!({"labels": ours(), "ownerReferences": []})).await);
}

#[tokio::test]
async fn a_policy_of_somebody_else_stays() {
    assert!(
        !is_removed(json!({"labels": labels("docket-operator", "readers"), "ownerReferences": owner("other")})).await
    );
    assert!(!is_removed(json!({"labels": labels("helm", "readers")})).await);
    assert!(!is_removed(json!({"labels": labels("docket-operator", "writers")})).await);
    assert!(!is_removed(json!({})).await);
}
