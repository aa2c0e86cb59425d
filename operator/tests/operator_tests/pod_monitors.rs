//! PodMonitors are of a kind that comes and goes: it is asked for now and then, and nothing else fails where it is not there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::support::{config, context, http};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use k8s_openapi::{api::core::v1::ServiceAccount, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use operator::{
    apply::{self, Child},
    client::Clients,
    lease::Leadership,
    pod_monitor::{AGAIN, PodMonitors, SOON, pod_monitor},
};
use serde_json::json;
use tokio::sync::watch;

/// What the API server says of the kind.
#[derive(Clone, Copy)]
enum Kind {
    Known,
    Unknown,
    NotSaid,
}

type Shared = Arc<Mutex<Kind>>;

async fn serve(kind: Kind) -> (Shared, Clients) {
    let shared = Arc::new(Mutex::new(kind));
    let routes = Router::new()
        .route("/apis/monitoring.coreos.com/v1", get(kinds))
        .fallback(async || unknown())
        .with_state(Arc::clone(&shared));
    let clients = Clients::new(&http::serve(routes).await);
    (shared, clients.expect("clients"))
}

async fn kinds(State(kind): State<Shared>) -> Response {
    let kind = *kind.lock().expect("no handler panics");
    let resource =
        json!({"name": "podmonitors", "singularName": "", "kind": "PodMonitor", "namespaced": true, "verbs": ["get"]});
    match kind {
        Kind::Known => Json(json!({"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": "monitoring.coreos.com/v1", "resources": [resource]}))
        .into_response(),
        Kind::Unknown => unknown(),
        Kind::NotSaid => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// As an API server answers for a group that it does not have.
fn unknown() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

#[tokio::test]
async fn the_kind_is_asked_for_again_and_sooner_where_nothing_was_said() {
    const MOMENT: Duration = Duration::from_millis(1);
    let (kind, clients) = serve(Kind::NotSaid).await;
    let says = |said: Kind| *kind.lock().expect("no handler panics") = said;
    let (monitors, mut now) = (PodMonitors::default(), Instant::now());
    assert!(!monitors.are_known(&clients.calls, now).await, "nothing was ever said");
    says(Kind::Known);
    assert!(!monitors.are_known(&clients.calls, now + SOON - MOMENT).await);
    now += SOON;
    assert!(monitors.are_known(&clients.calls, now).await, "an error is no answer for good");
    says(Kind::NotSaid);
    now += AGAIN;
    assert!(monitors.are_known(&clients.calls, now).await, "what was said last counts");
    says(Kind::Unknown);
    now += SOON;
    assert!(!monitors.are_known(&clients.calls, now).await, "it has gone");
    says(Kind::Known);
    assert!(
        !monitors.are_known(&clients.calls, now + AGAIN - MOMENT).await,
        "the API server is not asked all the time"
    );
    assert!(monitors.are_known(&clients.calls, now + AGAIN).await, "it was installed later");
}

#[tokio::test]
async fn nothing_is_made_of_a_kind_that_has_gone_and_nothing_fails_by_it() {
    let (_kind, clients) = serve(Kind::Unknown).await;
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    let (_leads, leadership) = watch::channel(Leadership::Leading { epoch: 1, until });
    let ctx = context(clients, config(), leadership);
    let metadata = || ObjectMeta {
        name: Some("readers-agents".to_owned()),
        namespace: Some("documents".to_owned()),
        ..ObjectMeta::default()
    };
    let monitor = pod_monitor(metadata(), &BTreeMap::new(), &ctx.config);
    apply::converge(&ctx, &monitor).await.expect("there is nothing to do");
    let account = Child::of(&ServiceAccount { metadata: metadata(), ..ServiceAccount::default() });
    let error = apply::converge(&ctx, &account).await.expect_err("it should be there and is not");
    assert!(matches!(&error, apply::Error::Refused { source, .. } if source.code() == Some(404)), "{error}");
}
