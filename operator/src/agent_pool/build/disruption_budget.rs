//! How many of a pool's pods a drain of nodes may take away at once.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::super::validate::ValidatedPool;

/// The budget of a pool.
pub fn disruption_budget(pool: &ValidatedPool) -> PodDisruptionBudget {
    let most = i32::try_from(pool.spec.disruption_budget.max_unavailable).unwrap_or(i32::MAX);
    PodDisruptionBudget {
        metadata: pool.child_metadata(),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(most)),
            selector: Some(LabelSelector { match_labels: Some(pool.selector()), ..LabelSelector::default() }),
            // A pod that never became ready holds no work.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
