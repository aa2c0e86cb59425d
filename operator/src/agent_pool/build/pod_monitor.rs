//! How Prometheus finds a pool's pods, where the cluster knows PodMonitors.

use serde_json::json;

use super::super::{dereference, validate::ValidatedPool};
use crate::apply::Child;

/// The PodMonitor of a pool.
pub fn pod_monitor(pool: &ValidatedPool) -> Child {
    let resource = dereference::pod_monitor();
    let object = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": pool.child_metadata(),
        "spec": {
            "selector": {"matchLabels": pool.selector()},
            "podMetricsEndpoints": [{"port": "health", "path": "/metrics"}],
        },
    });
    Child::new(resource, object)
}
