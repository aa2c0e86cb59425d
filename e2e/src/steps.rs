//! Notes each number of pods that a Deployment asks for, in their order.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::task::JoinHandle;

use crate::{Cluster, Kind, connection::WATCH_SECONDS};

/// The numbers so far. Dropping it ends the watch.
pub struct Steps {
    seen: Arc<Mutex<Vec<u64>>>,
    watch: JoinHandle<()>,
}

impl Steps {
    /// Begins to watch.
    pub fn of(cluster: &Cluster, deployment: &str) -> Self {
        let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
        let one = watcher::Config::default().fields(&format!("metadata.name={deployment}")).timeout(WATCH_SECONDS);
        let (deployments, noted) = (cluster.all(Kind::Deployment), Arc::clone(&seen));
        let watch = tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(deployments, one).default_backoff());
            while let Some(event) = events.next().await {
                let Ok(watcher::Event::Apply(deployment) | watcher::Event::InitApply(deployment)) = event else {
                    continue;
                };
                let Some(asked) = deployment.data["spec"]["replicas"].as_u64() else { continue };
                let mut seen = noted.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.last() != Some(&asked) {
                    seen.push(asked);
                }
            }
        });
        Self { seen, watch }
    }

    /// Each number that was another one than before it.
    pub fn so_far(&self) -> Vec<u64> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
