//! Removes what a pool does not ask for, or does not any more.

use crds::AgentPool;
use kube::ResourceExt;
use serde_json::Value;

use crate::{
    apply::{self, Child, Error},
    context::Context,
    names::{FIELD_MANAGER, POOL_LABEL},
};

/// Removes these objects of a pool; those of others that have their names stay.
pub async fn remove(ctx: &Context, pool: &AgentPool, absent: &[Child]) -> Result<(), Error> {
    for child in absent {
        apply::absent(ctx, child, |live| is_ours(live, pool)).await?;
    }
    Ok(())
}

/// Whether an object is the pool's, or was that of a pool of its name which went without it (`--cascade=orphan`): nobody owns that
/// one, and the pool would make it its own if it asked for it.
fn is_ours(live: &Value, pool: &AgentPool) -> bool {
    let metadata = &live["metadata"];
    let label = |name: &str| metadata["labels"][name].as_str();
    let is_orphan = metadata["ownerReferences"].as_array().is_none_or(Vec::is_empty);
    let is_of_its_name = label("app.kubernetes.io/managed-by") == Some(FIELD_MANAGER)
        && label(POOL_LABEL) == Some(pool.name_any().as_str());
    apply::is_owned_by(live, pool.metadata.uid.as_deref()) || is_orphan && is_of_its_name
}
