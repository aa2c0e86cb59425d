//! What an agent reads when it starts: the worker's file and its pool.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::super::validate::ValidatedPool;
use crate::{
    names::{HEALTH, HTTP},
    pods::{self, nats},
};

/// The ConfigMap that is mounted at `/etc/docket`. Its files are JSON, which is YAML too.
pub fn config_map(pool: &ValidatedPool) -> ConfigMap {
    let worker = json!({
        "pool": pool.name,
        "resources": ["pool.yaml"],
        "nats": nats(&pool.config, &pool.namespace, &pool.role()),
        "payloads": pool.config.payloads,
        "state": pods::STATE,
        "models": pods::models(&pool.config),
        "health": format!("0.0.0.0:{HEALTH}"),
        "http": format!("0.0.0.0:{HTTP}"),
        "tokens": pods::TOKENS_FILE,
        "grace": format!("{}s", pool.grace.as_secs()),
    });
    // As far as work depends on it: where it runs is no reason to start agents again.
    let resource = json!({
        "apiVersion": "docket.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": {"name": pool.name},
        "spec": pool.spec.as_worked(),
    });
    let files = [("worker.yaml", worker), ("pool.yaml", resource)];
    ConfigMap {
        metadata: pool.child_metadata(),
        data: Some(
            files.into_iter().map(|(name, file)| (name.to_owned(), format!("{file:#}"))).collect::<BTreeMap<_, _>>(),
        ),
        ..ConfigMap::default()
    }
}
