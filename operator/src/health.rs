//! `/livez`, `/readyz` and `/metrics`.
//!
//! Readiness is a latch: what is missing is named until it is there, and stays there. That another process leads, or that
//! the API server is away for a while, is not told by it: taking the pod out of service would help nobody.

use std::{
    collections::BTreeMap,
    fmt::Write,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{chain, metrics::Metrics, metrics_token};

/// What could not be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not this machine's. Whoever deploys can fix it.
    #[error("failed to listen on {address} (--health, DOCKET_HEALTH)")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The listener broke.
    #[error("failed to serve health and metrics")]
    Serve(#[source] io::Error),
}

/// What this process tells of itself.
pub struct Health {
    missing: Mutex<BTreeMap<&'static str, String>>,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
}

impl Health {
    /// Not ready while one of `awaited` is missing.
    pub fn new(awaited: &[&'static str], metrics: &Arc<Metrics>, stop: &CancellationToken) -> Arc<Self> {
        let missing = awaited.iter().map(|&what| (what, "not looked for yet".to_owned())).collect();
        Arc::new(Self { missing: Mutex::new(missing), stop: stop.clone(), metrics: Arc::clone(metrics) })
    }

    /// `what` is still missing, and what to do about it.
    pub fn missing(&self, what: &'static str, why: String) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = missing.get_mut(what).filter(|said| **said != why) {
            tracing::warn!(what, why, "not ready");
            *said = why;
        }
    }

    /// `what` is there, for good.
    pub fn found(&self, what: &'static str) {
        let waited_for = self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
        if waited_for.is_some() {
            tracing::info!(what, "found");
        }
    }

    fn not_ready(&self) -> Option<String> {
        if self.stop.is_cancelled() {
            return Some("stopping\n".to_owned());
        }
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (what, why) in &*missing {
            let _ = writeln!(text, "{what}: {why}");
        }
        (!text.is_empty()).then_some(text)
    }
}

/// Opens the address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

/// Serves for as long as the process lives; metrics only to whoever has the token of a file, where one is named.
pub async fn serve(listener: TcpListener, health: Arc<Health>, metrics_token: Option<PathBuf>) -> Result<(), Error> {
    // The kubelet's probes bear no token.
    let of_token = middleware::from_fn_with_state(metrics_token, metrics_token::pass);
    let routes = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics).layer(of_token))
        .with_state(health);
    axum::serve(listener, routes).await.map_err(Error::Serve)
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    match health.not_ready() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, missing),
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    match health.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, chain(&error)).into_response(),
    }
}
