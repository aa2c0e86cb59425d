//! `/livez`, `/readyz` and `/metrics` of a process.
//!
//! Readiness is a latch: once everything is loaded it stays, until the process is asked to stop. What comes and goes (a
//! broker that restarts) is not told by it: taking pods out of service would help nobody then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};

use super::{config::ProcessConfig, listen, metrics_token};
use crate::{
    Error, Result,
    runtime::{metrics::Metrics, stop::Stop},
};

/// Connections at once: a kubelet and a few scrapers.
const CONNECTIONS: u32 = 64;

/// Whether the process can do its work.
pub(super) struct Health {
    ready: AtomicBool,
    started: Instant,
    stop: Stop,
    metrics: Arc<Metrics>,
    /// Brings metrics up to date before they are read.
    refresh: Box<dyn Fn(&Metrics) + Send + Sync>,
}

impl Health {
    pub(super) fn new(
        stop: &Stop,
        metrics: &Arc<Metrics>,
        refresh: impl Fn(&Metrics) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            ready: AtomicBool::new(false),
            started: Instant::now(),
            stop: stop.clone(),
            metrics: Arc::clone(metrics),
            refresh: Box::new(refresh),
        })
    }

    /// Everything is loaded.
    pub(super) fn ready(&self) {
        if !self.ready.swap(true, Ordering::Relaxed) {
            self.metrics.ready(self.started.elapsed());
        }
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.stop.is_leaving()
    }
}

/// Opens the address, where one is given, and serves until `ended`, which comes after the process has stopped taking work:
/// who asks meanwhile learns that.
pub(super) async fn spawn(health: &Arc<Health>, process: &ProcessConfig, ended: &Stop) -> Result<()> {
    let Some(address) = process.health else { return Ok(()) };
    let listener = listen::bind("health", address).await?;
    // The kubelet's probes bear no token.
    let of_token = middleware::from_fn_with_state(process.metrics_token.clone(), metrics_token::pass);
    let routes = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics).layer(of_token))
        .with_state(Arc::clone(health));
    let ended = ended.clone();
    tokio::spawn(async move {
        if let Err(error) = listen::serve(listener, routes, (&listen::Bounds::of(CONNECTIONS), None), ended).await {
            crate::error::print(&error);
        }
    });
    Ok(())
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.is_ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    (health.refresh)(&health.metrics);
    match health.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            let error = Error::system("write the metrics")(error);
            (StatusCode::INTERNAL_SERVER_ERROR, crate::error::chain(&error)).into_response()
        }
    }
}
