//! How Prometheus finds pods of a namespace, where the cluster knows PodMonitors.
//!
//! They are of the pods' own namespace, also the gateway's: a PodMonitor names Secrets of its own namespace alone, and each
//! namespace has a token of its own.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Client, core::ApiResource};
use serde_json::json;

use crate::{
    apply::Child,
    config::Config,
    definitions,
    names::{METRICS, TOKEN},
};

/// A PodMonitor of the pods with these labels.
pub fn pod_monitor(mut metadata: ObjectMeta, selector: &BTreeMap<String, String>, config: &Config) -> Child {
    metadata.labels.get_or_insert_default().extend(config.pod_monitor_labels.clone());
    let mut endpoint = json!({"port": "health", "path": "/metrics"});
    if config.authenticates_metrics() {
        endpoint["authorization"] = json!({"type": "Bearer", "credentials": {"name": METRICS, "key": TOKEN}});
    }
    let resource = resource();
    let object = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": metadata,
        "spec": {"selector": {"matchLabels": selector}, "podMetricsEndpoints": [endpoint]},
    });
    Child::new(resource, object)
}

/// Whether the cluster knows PodMonitors; where it does not say, it counts as not.
pub async fn are_known(client: &Client) -> bool {
    let monitor = resource();
    definitions::served(client, &monitor.api_version).await.is_ok_and(|kinds| kinds.contains(&monitor.plural))
}

/// Their kind, which is not part of Kubernetes.
fn resource() -> ApiResource {
    ApiResource {
        group: "monitoring.coreos.com".to_owned(),
        version: "v1".to_owned(),
        api_version: "monitoring.coreos.com/v1".to_owned(),
        kind: "PodMonitor".to_owned(),
        plural: "podmonitors".to_owned(),
    }
}
