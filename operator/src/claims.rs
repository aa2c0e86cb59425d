//! Claims that a user made: whether one is there, and whether who owns it means it for the pods that are to mount it.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, ResourceExt};

use crate::{
    apply::{Error, within},
    context::Context,
    names::ALLOWED,
};

/// A claim that pods are to mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// There, and allowed to them.
    Allowed,
    /// There, without the label that allows it.
    NotAllowed,
    /// Not there.
    Missing,
}

/// Reads a claim, which this label allows to the pods.
pub async fn of(ctx: &Context, namespace: &str, name: &str, label: &str) -> Result<Claim, Error> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), namespace);
    let shown = format!("PersistentVolumeClaim {namespace}/{name}");
    let found = within("get", shown, api.get_metadata_opt(name)).await?;
    Ok(match found {
        None => Claim::Missing,
        Some(claim) if claim.labels().get(label).is_some_and(|value| value == ALLOWED) => Claim::Allowed,
        Some(_) => Claim::NotAllowed,
    })
}
