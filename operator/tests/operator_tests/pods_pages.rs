//! A pool's pods are read page by page, and counted once each, whatever becomes of the pages.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use crate::support::{config, context, http, pool, validated};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use operator::{
    agent_pool::{dereference, pods_seen::PodsSeen},
    apply,
    client::Clients,
    lease::Leadership,
};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Pods of a pool, some of them ready, at an API server that forgets its lists.
#[derive(Default)]
struct Pods {
    there: usize,
    ready: usize,
    /// For as many requests of a next page, the list that it belongs to is kept no longer, and by then there are so many pods.
    expire: usize,
    left: usize,
    /// Each request's `limit`, and where its page began.
    asked: Vec<(usize, usize)>,
}

#[derive(Clone, Default)]
struct ApiServer(Arc<Mutex<Pods>>);

impl ApiServer {
    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.0.lock().expect("no handler panics")
    }

    /// What the operator sees of the pods.
    async fn seen(&self) -> Result<PodsSeen, apply::Error> {
        let routes = Router::new().route("/api/v1/namespaces/documents/pods", get(list)).with_state(self.clone());
        let api = http::serve(routes).await;
        let clients = Clients::new(&api).expect("clients");
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        let (_leads, leadership) = watch::channel(Leadership::Leading { epoch: 1, until });
        let ctx = context(clients, config(), leadership);
        let seen = dereference::pods(&ctx, &validated(&pool(json!({"replicas": 1})))).await;
        seen
    }
}

/// A page, whose token says where the next one begins.
async fn list(State(server): State<ApiServer>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let mut pods = server.pods();
    let number = |name: &str| query.get(name).map_or(0, |text| text.parse::<usize>().expect("a number"));
    let (limit, begin) = (number("limit"), number("continue"));
    pods.asked.push((limit, begin));
    assert!(query["labelSelector"].contains("app.kubernetes.io/instance=readers"), "{query:?}");
    if begin > 0 && pods.expire > 0 {
        pods.expire -= 1;
        pods.there = pods.left;
        let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired",
            "message": "The provided continue parameter is too old to display a consistent list result."});
        return (StatusCode::GONE, Json(gone)).into_response();
    }
    let end = if limit == 0 { pods.there } else { pods.there.min(begin + limit) };
    let items: Vec<Value> = (begin..end).map(|pod| of(pod, pod < pods.ready)).collect();
    let next = if end < pods.there { end.to_string() } else { String::new() };
    Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": next}, "items": items})).into_response()
}

fn of(number: usize, ready: bool) -> Value {
    json!({
        "metadata": {"name": format!("pod-{number}"), "namespace": "documents"},
        "spec": {"nodeName": "node", "containers": []},
        "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    })
}

/// How many pods stay, have a node and are ready.
fn counted(seen: PodsSeen) -> (usize, usize, usize) {
    let all = seen.all();
    (all.staying, all.placed, all.ready)
}

#[tokio::test]
async fn more_pods_than_a_page_holds_are_all_counted() {
    let server = ApiServer::default();
    *server.pods() = Pods { there: 1_201, ready: 700, ..Pods::default() };
    assert_eq!(counted(server.seen().await.expect("they are listed")), (1_201, 1_201, 700));
    assert_eq!(server.pods().asked, [(500, 0), (500, 500), (500, 1_000)]);
}

#[tokio::test]
async fn a_list_that_expires_between_two_pages_is_read_anew_and_counts_nobody_twice() {
    let server = ApiServer::default();
    *server.pods() = Pods { there: 1_201, ready: 700, expire: 1, left: 620, ..Pods::default() };
    assert_eq!(counted(server.seen().await.expect("they are listed")), (620, 620, 620));
    assert_eq!(server.pods().asked, [(500, 0), (500, 500), (500, 0), (500, 500)]);
}

#[tokio::test]
async fn a_list_that_always_expires_is_an_error_and_not_a_part_of_the_pods() {
    let server = ApiServer::default();
    *server.pods() = Pods { there: 1_201, ready: 700, expire: 99, left: 1_201, ..Pods::default() };
    let error = server.seen().await.expect_err("no list came to its end");
    assert!(matches!(&error, apply::Error::Refused { source, .. } if source.code() == Some(410)), "{error}");
    assert_eq!(server.pods().asked.len(), 6, "each list was begun, and asked for its second page");
}
