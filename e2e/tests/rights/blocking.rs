//! Which owners cannot go before what belongs to them. Making such an object asks for `update` of its owner's finalizers: the
//! admission asks, so that the audit log has no request of it, and the objects themselves must show it.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use e2e::{Cluster, Kind, OWNED};

/// The resources of the owners that what the operator made in a namespace blocks the deletion of.
pub async fn resources(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let mut resources = BTreeSet::new();
    for kind in OWNED {
        for object in cluster.labelled(kind, "app.kubernetes.io/managed-by=docket-operator").await? {
            let owners = object.metadata.owner_references.unwrap_or_default();
            for owner in owners.iter().filter(|owner| owner.block_owner_deletion == Some(true)) {
                let kinds = [Kind::AgentPool, Kind::Pipeline].map(Kind::resource);
                resources.extend(kinds.into_iter().filter(|of| of.kind == owner.kind).map(|of| of.plural));
            }
        }
    }
    ensure!(!resources.is_empty(), "nothing in {} blocks its owner's deletion", cluster.namespace);
    Ok(resources)
}
