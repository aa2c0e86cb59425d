//! The only writes to the cluster: children by server-side apply, removals with preconditions, status.
//!
//! Flow: what is wanted is compared with what is there; only a difference is written, so that an idle operator writes nothing
//! and a child that somebody changed is put right. Each object is applied whole, by one field manager, with force: what a
//! field of ours says is ours to say.
//! Guarantees: nothing is written by one who no longer leads; no object is changed or removed that is not as it was when it was
//! looked at, so what a leader of before has sent does not undo what its successor did.

mod child;
mod error;

use std::future::ready;

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions},
    core::ApiResource,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub use child::Child;
pub use error::{DEADLINE, Error, Refusal, within};

use crate::{
    context::Context,
    difference::{difference, holds},
    names::{FIELD_MANAGER, STATUS_MANAGER},
};

/// Says whether what a child is made from is still what it was when that was read.
pub type IsCurrent<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<bool, Error>> + Sync);

/// Brings a child to what it should be. Where somebody else was quicker it is read again and written if that was about what is
/// theirs to say, such as its status; otherwise it fails with [`Error::Overtaken`].
pub async fn converge(ctx: &Context, child: &Child) -> Result<Value, Error> {
    converge_while(ctx, child, &|| ready(Ok(true)).boxed()).await
}

/// The same for what is made from an object: `is_current` says whether that still asks for this child. It is asked after the child
/// was read and before it is changed. Whoever changes the child for a newer specification does it before, and then the answer is
/// no, or after, and then this change is refused: an older specification never undoes a newer one.
pub async fn converge_while(ctx: &Context, child: &Child, is_current: IsCurrent<'_>) -> Result<Value, Error> {
    match converge_known(ctx, child, is_current).await {
        // An apply makes what is not there, so it is the kind that is not.
        Err(Error::Refused { source, .. }) if child.where_known && source.code() == Some(404) => Ok(Value::Null),
        converged => converged,
    }
}

async fn converge_known(ctx: &Context, child: &Child, is_current: IsCurrent<'_>) -> Result<Value, Error> {
    const TRIES: usize = 4;
    let mut seen = look(ctx, child).await?;
    for _ in 0..TRIES {
        match converge_from(ctx, child, seen.as_ref(), is_current).await {
            Err(Error::Refused { source, .. }) if source.code() == Some(409) => {}
            converged => return converged,
        }
        let now = look(ctx, child).await?;
        if child.ours_of(seen) != child.ours_of(now.clone()) {
            break;
        }
        seen = now;
    }
    Err(Error::Overtaken { object: child.shown() })
}

async fn look(ctx: &Context, child: &Child) -> Result<Option<Value>, Error> {
    let live = within("get", child.shown(), child.api(&ctx.client).get_opt(&child.name)).await?;
    Ok(live.map(|live| serde_json::to_value(live).expect("an object is plain data")))
}

async fn converge_from(
    ctx: &Context,
    child: &Child,
    live: Option<&Value>,
    is_current: IsCurrent<'_>,
) -> Result<Value, Error> {
    let api = child.api(&ctx.client);
    let wanted = child.with_digest();
    if live.is_some_and(|live| child.is_taken(live)) {
        return Err(child.not_ours());
    }
    if let Some(live) = live
        && live["metadata"]["deletionTimestamp"].is_null()
        && holds(live, &wanted)
    {
        return Ok(live.clone());
    }
    if live.is_some() && !is_current().await? {
        return Err(Error::Overtaken { object: child.shown() });
    }
    let wanted = child.as_applied(wanted, live);
    ctx.may_write()?;
    let applied = match apply(&api, child, &wanted).await {
        Err(error) if live.is_some() && is_stuck(child, &error) => {
            absent(ctx, child, |_| true).await?;
            ctx.may_write()?;
            apply(&api, child, &child.as_applied(child.with_digest(), None)).await?
        }
        applied => applied?,
    };
    ctx.metrics.wrote(&child.resource.kind, "apply");
    Ok(serde_json::to_value(applied).expect("an object is plain data"))
}

async fn apply(api: &Api<DynamicObject>, child: &Child, wanted: &Value) -> Result<DynamicObject, Error> {
    let params = PatchParams::apply(FIELD_MANAGER).force();
    within("apply", child.shown(), api.patch(&child.name, &params, &Patch::Apply(wanted))).await
}

/// Whether only a new object helps. Ports are merged by their numbers and must not share a name, so one that somebody has
/// given another number cannot be put right beside itself. A Service holds nothing that would be lost.
fn is_stuck(child: &Child, error: &Error) -> bool {
    child.resource.kind == "Service" && matches!(error, Error::Refused { source, .. } if source.code() == Some(422))
}

/// Makes an object where there is none; one that is there stays as it is, whoever made it.
pub async fn once(ctx: &Context, child: &Child) -> Result<(), Error> {
    let api = child.api(&ctx.client);
    if within("get", child.shown(), api.get_opt(&child.name)).await?.is_some() {
        return Ok(());
    }
    ctx.may_write()?;
    let object: DynamicObject = serde_json::from_value(child.object().clone()).expect("an object is plain data");
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match within("create", child.shown(), api.create(&params, &object)).await {
        // Somebody was quicker: an earlier try of ours, or a person.
        Err(Error::Refused { source, .. }) if source.code() == Some(409) => Ok(()),
        created => created.map(|_| ctx.metrics.wrote(&child.resource.kind, "create")),
    }
}

/// Whether the object with this uid is an owner.
pub fn is_owned_by(live: &Value, uid: Option<&str>) -> bool {
    let owners = live["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().any(|owner| uid.is_some() && owner["uid"].as_str() == uid)
}

/// Removes an object that is not wanted any more, if it is there and `is_ours` says so.
pub async fn absent(ctx: &Context, child: &Child, is_ours: impl Fn(&Value) -> bool) -> Result<(), Error> {
    let api = child.api(&ctx.client);
    let live = match within("get", child.shown(), api.get_opt(&child.name)).await {
        // A kind that the cluster does not have has no objects. The answer is plain text then, which kube takes for an error.
        Err(Error::Refused { source, .. }) if source.code() == Some(404) => None,
        found => found?,
    };
    let Some(live) = live else { return Ok(()) };
    let value = serde_json::to_value(&live).expect("an object is plain data");
    if live.metadata.deletion_timestamp.is_some() || !is_ours(&value) {
        return Ok(());
    }
    ctx.may_write()?;
    let seen = Preconditions { uid: live.metadata.uid, resource_version: live.metadata.resource_version };
    let params = DeleteParams { preconditions: Some(seen), ..DeleteParams::background() };
    match within("delete", child.shown(), api.delete(&child.name, &params)).await {
        // Gone, or changed since we looked: the next pass looks again.
        Err(Error::Refused { source, .. }) if matches!(source.code(), Some(404 | 409)) => Ok(()),
        deleted => deleted.map(|_| ctx.metrics.wrote(&child.resource.kind, "delete")),
    }
}

/// The object as it is now; none where it is gone, or another one has its name. What a watch has shown may be older than what
/// the pass before has written, and a status that is compared with such a one is not corrected.
pub async fn live<K>(ctx: &Context, seen: &K) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let (name, namespace) = (seen.meta().name.clone(), seen.meta().namespace.clone());
    let (name, namespace) = (name.unwrap_or_default(), namespace.unwrap_or_default());
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
    let live = within("get", format!("{} {namespace}/{name}", K::kind(&())), api.get_opt(&name)).await?;
    Ok(live.filter(|live| live.meta().uid == seen.meta().uid))
}

/// Changes fields of an object's spec, if it still is the one that was seen: says whether it was.
pub async fn change<K>(ctx: &Context, seen: &K, manager: &str, spec: Value) -> Result<bool, Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let meta = seen.meta();
    let patch = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "spec": spec});
    merged(ctx, seen, manager, "change", patch).await
}

/// The same, where it does not matter that its status was changed meanwhile.
pub async fn change_spec<K>(ctx: &Context, seen: &K, manager: &str, spec: Value) -> Result<bool, Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    if change(ctx, seen, manager, spec.clone()).await? {
        return Ok(true);
    }
    let is_same = |live: &K| {
        let (live, seen) = (live.meta(), seen.meta());
        live.deletion_timestamp.is_none() && seen.generation.is_some() && live.generation == seen.generation
    };
    match live(ctx, seen).await?.filter(is_same) {
        Some(live) => change(ctx, &live, manager, spec).await,
        None => Ok(false),
    }
}

/// Sets an annotation of an object, or removes it. One that is gone, or that is not the one that was seen, is left alone.
pub async fn annotate<K>(
    ctx: &Context,
    seen: &K,
    manager: &str,
    annotation: &str,
    value: Option<&str>,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let patch = json!({"metadata": {"uid": seen.meta().uid, "annotations": {annotation: value}}});
    merged(ctx, seen, manager, "annotate", patch).await.map(drop)
}

/// Merges a patch, which names who is meant, into an object: says whether it is still there and the one that is meant.
async fn merged<K>(ctx: &Context, seen: &K, manager: &str, action: &'static str, patch: Value) -> Result<bool, Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    ctx.may_write()?;
    let meta = seen.meta();
    let (name, namespace) = (meta.name.clone().unwrap_or_default(), meta.namespace.clone().unwrap_or_default());
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let shown = format!("{} {namespace}/{name}", K::kind(&()));
    match within(action, shown, api.patch(&name, &params, &Patch::Merge(&patch))).await {
        Err(Error::Refused { source, .. }) if matches!(source.code(), Some(404 | 409)) => Ok(false),
        written => written.map(|_| {
            ctx.metrics.wrote(&K::kind(&()), action);
            true
        }),
    }
}

/// When one who writes a status has read the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// For this pass.
    Anew,
    /// Some time ago, as a watch showed it.
    Before,
}

/// Writes the status of an object, if it differs from what the object says already. Conditions are one list: one who read it
/// before writes none over what a pass has said since, and the next look makes it good.
pub async fn status<K, S>(ctx: &Context, object: &K, read: Read, before: Option<&S>, status: &S) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
    S: Serialize + PartialEq,
{
    if before == Some(status) {
        return Ok(());
    }
    let before = before.map_or(Value::Null, |before| serde_json::to_value(before).expect("a status is plain data"));
    let after = serde_json::to_value(status).expect("a status is plain data");
    write_status::<K>(ctx, object.meta(), &status_patch(object.meta(), read, &before, &after)).await
}

/// Writes the conditions of an object that was read for this pass, and nothing else of its status.
pub async fn conditions<K>(ctx: &Context, meta: &ObjectMeta, conditions: &[Value]) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    let patch = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": conditions}});
    write_status::<K>(ctx, meta, &patch).await
}

/// Objects of a kind, whatever they say.
pub fn untyped<K>(ctx: &Context, namespace: &str) -> Api<DynamicObject>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced_with(ctx.client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

async fn write_status<K>(ctx: &Context, meta: &ObjectMeta, patch: &Value) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    ctx.may_write()?;
    let (name, namespace) = (meta.name.clone().unwrap_or_default(), meta.namespace.clone().unwrap_or_default());
    // The answer is the whole object, which may be one that cannot be read.
    let api = untyped::<K>(ctx, &namespace);
    let params = PatchParams { field_manager: Some(STATUS_MANAGER.to_owned()), ..PatchParams::default() };
    let shown = format!("the status of {} {namespace}/{name}", K::kind(&()));
    match within("write", shown, api.patch_status(&name, &params, &Patch::Merge(patch))).await {
        // It was deleted, or deleted and made anew, and nobody reads this status any more; or it was read before.
        Err(Error::Refused { source, .. }) if matches!(source.code(), Some(404 | 409)) => Ok(()),
        written => written.map(|_| ctx.metrics.wrote(&K::kind(&()), "status")),
    }
}

/// A patch of a status. With the uid a successor of the same name is left alone; fields that are gone are removed by null.
pub fn status_patch(meta: &ObjectMeta, read: Read, before: &Value, after: &Value) -> Value {
    let mut patch = json!({"metadata": {"uid": meta.uid}, "status": difference(before, after)});
    if read == Read::Before && patch["status"].get("conditions").is_some() {
        patch["metadata"]["resourceVersion"] = json!(meta.resource_version);
    }
    patch
}
