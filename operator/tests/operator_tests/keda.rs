//! KEDA's external scaler, asked by its own protocol: what it answers follows the pool's status, and what is not known is an
//! error, by which KEDA keeps the agents that there are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures::StreamExt;
use operator::{
    client::Clients,
    keda::{
        self,
        decided::Decided,
        protocol::{GetMetricsRequest, ScaledObjectRef, external_scaler_client::ExternalScalerClient},
    },
};
use serde_json::{Value, json};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, transport::Channel};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// An API server with one pool.
#[derive(Clone)]
struct Cluster {
    pool: Arc<Mutex<Value>>,
    changes: broadcast::Sender<Value>,
}

impl Cluster {
    fn with(pool: Value) -> Self {
        Self { pool: Arc::new(Mutex::new(pool)), changes: broadcast::channel(16).0 }
    }

    fn pool(&self) -> Value {
        self.pool.lock().expect("no handler panics").clone()
    }

    fn becomes(&self, pool: Value) {
        *self.pool.lock().expect("no handler panics") = pool.clone();
        let _ = self.changes.send(json!({"type": "MODIFIED", "object": pool}));
    }

    async fn clients(&self) -> Clients {
        let routes = Router::new()
            .route("/apis/docket.dev/v1alpha1/namespaces/law/agentpools/{name}", get(one))
            .route("/apis/docket.dev/v1alpha1/namespaces/law/agentpools", get(several))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let config = kube::Config::new(format!("http://{address}").parse().expect("a URL"));
        Clients::new(&config).expect("a client")
    }
}

async fn one(State(cluster): State<Cluster>, Path(name): Path<String>) -> Response {
    let pool = cluster.pool();
    if pool["metadata"]["name"] == name {
        return Json(pool).into_response();
    }
    let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
    (StatusCode::NOT_FOUND, Json(missing)).into_response()
}

async fn several(State(cluster): State<Cluster>, Query(query): Query<HashMap<String, String>>) -> Response {
    let pool = cluster.pool();
    if !query.contains_key("watch") {
        let named = query.get("fieldSelector").and_then(|only| only.strip_prefix("metadata.name="));
        let items: Vec<&Value> =
            [&pool].into_iter().filter(|pool| pool["metadata"]["name"].as_str() == named).collect();
        let list = json!({"kind": "AgentPoolList", "apiVersion": "docket.dev/v1alpha1",
            "metadata": {"resourceVersion": "1"}, "items": items});
        return Json(list).into_response();
    }
    let changes = futures::stream::unfold(cluster.changes.subscribe(), async |mut changes| {
        let change: Value = changes.recv().await.ok()?;
        Some((Ok::<_, std::io::Error>(format!("{change}\n")), changes))
    });
    Body::from_stream(changes).into_response()
}

fn pool(mode: &str, desired: Option<u32>) -> Value {
    json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool",
        "metadata": {"name": "readers", "namespace": "law", "uid": "u", "resourceVersion": "1"},
        "spec": {"scaling": {"maxReplicas": 9, "mode": mode}},
        "status": {"replicas": 0, "readyReplicas": 0, "scaling": {"mode": mode, "desired": desired}}})
}

struct Scaler {
    cluster: Cluster,
    asking: ExternalScalerClient<Channel>,
    decides: watch::Sender<Decided>,
    stop: CancellationToken,
}

/// Somebody has led for the last minute.
fn decided() -> Decided {
    let mut decided = Decided::default();
    let now = Instant::now();
    decided.saw(true, now.checked_sub(Duration::from_secs(60)).expect("the machine has run for a minute"));
    decided.saw(true, now);
    decided
}

impl Scaler {
    async fn of(pool: Value) -> Self {
        let cluster = Cluster::with(pool);
        let clients = cluster.clients().await;
        let listener = keda::listen("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let (decides, decided) = watch::channel(decided());
        let clients = (clients.calls, clients.watches);
        tokio::spawn(keda::serve(listener, clients, vec!["law".to_owned()], decided, stop.clone()));
        let asking = ExternalScalerClient::connect(format!("http://{address}")).await.expect("it listens");
        Self { cluster, asking, decides, stop }
    }

    async fn metric(&mut self, scaled: ScaledObjectRef) -> Result<(String, f64, i64), Code> {
        let request = GetMetricsRequest { scaled_object_ref: Some(scaled), metric_name: String::new() };
        let answer = self.asking.get_metrics(request).await.map_err(|status| status.code())?;
        let value = answer.into_inner().metric_values.remove(0);
        Ok((value.metric_name, value.metric_value_float, value.metric_value))
    }
}

fn scaled(namespace: &str, pool: Option<&str>) -> ScaledObjectRef {
    ScaledObjectRef {
        name: "readers-by-keda".to_owned(),
        namespace: namespace.to_owned(),
        scaler_metadata: pool.map(|pool| ("pool".to_owned(), pool.to_owned())).into_iter().collect(),
    }
}

#[tokio::test]
async fn the_metric_is_the_number_of_agents_that_are_wanted() {
    let mut scaler = Scaler::of(pool("External", Some(3))).await;
    let readers = || scaled("law", Some("readers"));
    let spec = scaler.asking.get_metric_spec(readers()).await.expect("an answer").into_inner().metric_specs.remove(0);
    assert_eq!((spec.target_size, spec.target_size_float), (1, 1.0));
    assert_eq!(scaler.metric(readers()).await, Ok((spec.metric_name, 3.0, 3)));
    assert!(scaler.asking.is_active(readers()).await.expect("an answer").into_inner().result);
    scaler.cluster.becomes(pool("External", Some(0)));
    assert!(!scaler.asking.is_active(readers()).await.expect("an answer").into_inner().result);
}

#[tokio::test]
async fn what_is_not_known_is_an_error_and_never_a_number() {
    let mut scaler = Scaler::of(pool("External", None)).await;
    assert_eq!(scaler.metric(scaled("law", Some("readers"))).await, Err(Code::Unavailable), "nothing was decided yet");
    assert_eq!(scaler.metric(scaled("law", Some("writers"))).await, Err(Code::NotFound));
    assert_eq!(scaler.metric(scaled("law", None)).await, Err(Code::InvalidArgument));
    assert_eq!(scaler.metric(scaled("tax", Some("readers"))).await, Err(Code::PermissionDenied));
    scaler.cluster.becomes(pool("Apply", Some(3)));
    assert_eq!(scaler.metric(scaled("law", Some("readers"))).await, Err(Code::FailedPrecondition), "two owners");
}

#[tokio::test]
async fn a_number_of_before_the_last_leader_went_is_an_error() {
    let mut scaler = Scaler::of(pool("External", Some(3))).await;
    let readers = || scaled("law", Some("readers"));
    assert!(scaler.metric(readers()).await.is_ok());
    scaler.decides.send_replace(Decided::default());
    assert_eq!(scaler.metric(readers()).await, Err(Code::Unavailable));
    let asked = scaler.asking.is_active(readers()).await;
    assert_eq!(asked.expect_err("nobody decides").code(), Code::Unavailable);
    let mut told = scaler.asking.stream_is_active(readers()).await.expect("a stream").into_inner();
    let first = timeout(PATIENCE, told.next()).await.expect("in time").expect("an answer");
    assert_eq!(first.expect_err("nobody decides").code(), Code::Unavailable);
    scaler.decides.send_replace(decided());
    assert!(scaler.metric(readers()).await.is_ok(), "a next leader has decided");
}

#[tokio::test]
async fn a_stream_tells_of_each_change_and_ends_with_the_process() {
    let mut scaler = Scaler::of(pool("External", Some(0))).await;
    let mut told = scaler.asking.stream_is_active(scaled("law", Some("readers"))).await.expect("a stream").into_inner();
    let first = timeout(PATIENCE, told.next()).await.expect("in time").expect("the first is told at once");
    assert!(!first.expect("an answer").result);
    // The watch may open after the first answer; what changes before would be found only by the next list.
    while scaler.cluster.changes.receiver_count() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    scaler.cluster.becomes(pool("External", Some(2)));
    let second = timeout(PATIENCE, told.next()).await.expect("in time").expect("a change is told");
    assert!(second.expect("an answer").result);
    scaler.stop.cancel();
    assert!(timeout(PATIENCE, told.next()).await.expect("in time").is_none_or(|last| last.is_err()));
}

#[tokio::test]
async fn a_stream_about_a_pool_that_is_not_there_says_so_and_ends() {
    let mut scaler = Scaler::of(pool("External", Some(0))).await;
    let mut told = scaler.asking.stream_is_active(scaled("law", Some("writers"))).await.expect("a stream").into_inner();
    let first = timeout(PATIENCE, told.next()).await.expect("in time").expect("an answer");
    assert_eq!(first.expect_err("no pool").code(), Code::NotFound);
    assert!(timeout(PATIENCE, told.next()).await.expect("in time").is_none());
}
