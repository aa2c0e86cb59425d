//! How Prometheus finds pods of a namespace, where the cluster knows PodMonitors.
//!
//! They are of the pods' own namespace, also the gateway's: a PodMonitor names Secrets of its own namespace alone, and each
//! namespace has a token of its own.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Client, core::ApiResource};
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    apply::{self, Child},
    chain,
    config::Config,
    definitions,
    names::{METRICS, TOKEN},
};

/// An answer counts for so long: whoever installs the Prometheus operator later, or removes it, waits no longer than for the next
/// looks at all objects.
pub const AGAIN: Duration = Duration::from_secs(300);
/// The same where there was none.
pub const SOON: Duration = Duration::from_secs(30);

/// Whether the cluster knows PodMonitors, as it last said.
#[derive(Default)]
pub struct PodMonitors {
    last: Mutex<Option<Answer>>,
}

struct Answer {
    known: bool,
    until: Instant,
}

impl PodMonitors {
    /// Whether the cluster knows them. Where it does not say, what it said last counts, and before that they are unknown.
    pub async fn are_known(&self, client: &Client, now: Instant) -> bool {
        // Over the question: one asks for all.
        let mut last = self.last.lock().await;
        let before = last.as_ref().is_some_and(|answer| answer.known);
        if last.as_ref().is_some_and(|answer| now < answer.until) {
            return before;
        }
        let (known, holds) = match ask(client).await {
            Ok(known) => (known, AGAIN),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "it is not known whether the cluster has PodMonitors, asking again");
                (before, SOON)
            }
        };
        *last = Some(Answer { known, until: now + holds });
        known
    }
}

/// A PodMonitor of the pods with these labels.
pub fn pod_monitor(mut metadata: ObjectMeta, selector: &BTreeMap<String, String>, config: &Config) -> Child {
    metadata.labels.get_or_insert_default().extend(config.pod_monitor_labels.clone());
    let mut endpoint = json!({"port": "health", "path": "/metrics"});
    if let Some(interval) = &config.pod_monitor_interval {
        endpoint["interval"] = json!(interval);
    }
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
    Child::new(resource, object).where_known()
}

async fn ask(client: &Client) -> Result<bool, apply::Error> {
    let monitor = resource();
    let kinds = definitions::served(client, &monitor.api_version);
    let kinds = apply::within("list", format!("the kinds of {}", monitor.api_version), kinds).await?;
    Ok(kinds.contains(&monitor.plural))
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
