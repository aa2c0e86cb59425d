//! A pool's objects, one file each. Pure, and cannot fail: what could go wrong was found by `validate`.

mod affinity;
mod config_map;
mod deployment;
mod disruption_budget;
mod network_policy;
mod service;

use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::json;

use super::{ownership::Replicas, validate::ValidatedPool};
use crate::{apply::Child, pod_monitor::pod_monitor};

/// What is to be there, and what is not.
pub struct Prepared {
    /// Everything that pods need, in this order.
    pub before: Vec<Child>,
    /// The pods.
    pub deployment: Child,
    /// What agents work without.
    pub after: Vec<Child>,
    /// What the pool does not ask for, or does not any more.
    pub absent: Vec<Child>,
}

/// All objects of a pool.
pub fn all(pool: &ValidatedPool) -> Prepared {
    let config = config_map::config_map(pool);
    let deployment = deployment::deployment(pool, &config);
    let mut before = vec![
        Child::of(&service_account(pool)),
        Child::of(&config),
        Child::of(&service::service(pool)),
        Child::of(&disruption_budget::disruption_budget(pool)),
    ];
    let mut absent = Vec::new();
    let policy = Child::of(&network_policy::network_policy(pool));
    if pool.spec.network_policy.enabled {
        before.push(policy)
    } else {
        absent.push(policy)
    }
    let monitor = || pod_monitor(pool.child_metadata(), &pool.selector(), &pool.config);
    let after = pool.pod_monitors.then(monitor).into_iter().collect();
    let mut deployment = Child::of(&deployment);
    if let Replicas::Scaled(at_first) = pool.replicas {
        deployment = deployment.leaving("/spec/replicas", json!(at_first));
    }
    Prepared { before, deployment, after, absent }
}

/// The identity of a pool's pods, which are given no token of it.
fn service_account(pool: &ValidatedPool) -> ServiceAccount {
    ServiceAccount {
        metadata: pool.child_metadata(),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
