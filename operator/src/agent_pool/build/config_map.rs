//! What an agent reads when it starts: the worker's file and its pool.

use std::collections::BTreeMap;

use crds::{AgentPoolSpec, Device, DeviceKind};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::super::validate::ValidatedPool;
use crate::{
    names::{HEALTH, HTTP},
    pods::{self, nats},
};

/// The worker's file of agents on the pool's device.
pub const WORKER: &str = "worker.yaml";
/// The worker's file of agents that fell back to the CPU.
pub const WORKER_ON_CPU: &str = "worker-on-cpu.yaml";

/// The ConfigMap that is mounted at `/etc/docket`. Its files are JSON, which is YAML too.
///
/// A pool for GPUs has the files of both kinds of agents, whatever they run on now: an agent on the CPU that starts again while
/// the device is tried must find what it found before, and falling back is no reason to start others.
pub fn config_map(pool: &ValidatedPool) -> ConfigMap {
    let mut files = vec![(WORKER, worker(pool, POOL)), (POOL, resource(pool, &pool.spec.device))];
    if pool.spec.device.kind == DeviceKind::Gpu {
        files.extend([(WORKER_ON_CPU, worker(pool, POOL_ON_CPU)), (POOL_ON_CPU, resource(pool, &pool.on_cpu()))]);
    }
    ConfigMap {
        metadata: pool.child_metadata(),
        data: Some(
            files.into_iter().map(|(name, file)| (name.to_owned(), format!("{file:#}"))).collect::<BTreeMap<_, _>>(),
        ),
        ..ConfigMap::default()
    }
}

const POOL: &str = "pool.yaml";
const POOL_ON_CPU: &str = "pool-on-cpu.yaml";

fn worker(pool: &ValidatedPool, resource: &str) -> Value {
    let mut worker = json!({
        "pool": pool.name,
        "resources": [resource],
        "nats": nats(&pool.config, &pool.namespace, &pool.role()),
        "payloads": pool.config.payloads_of(&pool.namespace),
        "state": pods::STATE,
        "models": pods::models(&pool.config),
        "health": format!("0.0.0.0:{HEALTH}"),
        "http": format!("0.0.0.0:{HTTP}"),
        "tokens": pods::TOKENS_FILE,
        "grace": format!("{}s", pool.grace.as_secs()),
        "calls": pods::calls(),
    });
    if pool.config.authenticates_metrics() {
        worker["metricsTokenFile"] = json!(pods::METRICS_TOKEN_FILE);
    }
    worker
}

/// The pool as far as its agents' work depends on it: where they run is no reason to start them again. Agents do not fall back
/// by themselves: one that holds a GPU and computes on the CPU would go unseen.
fn resource(pool: &ValidatedPool, device: &Device) -> Value {
    let device = Device { kind: device.kind, memory_fraction: device.memory_fraction, ..Device::default() };
    let spec = AgentPoolSpec { device, ..pool.spec.as_worked() };
    json!({
        "apiVersion": "docket.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": {"name": pool.name},
        "spec": spec,
    })
}
