//! The controller of AgentPools: pods of agents and what belongs to them.
//!
//! ```text
//! dereference (reads) → validate (pure) → build (pure) → apply (writes) → status (written on success and failure alike)
//! ```

pub mod absent;
pub mod build;
pub mod clean_up;
pub mod counts;
pub mod dereference;
pub mod fallback;
pub mod leaving;
pub mod ownership;
pub mod pods_seen;
pub mod quantity;
pub mod spending;
pub mod status;
pub mod unwritten;
pub mod validate;
pub mod volumes;
pub mod want;

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use crds::{AgentPool, FallbackStatus, Pipeline};
use futures::{FutureExt, StreamExt, TryFutureExt};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Pod, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    jiff::Timestamp,
};
use kube::{
    Api, Resource, ResourceExt,
    api::PartialObjectMeta,
    core::DeserializeGuard,
    runtime::{
        applier,
        controller::{Action, Config},
        finalizer::{self, finalizer},
        predicates,
        reflector::ObjectRef,
    },
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::{ownership::Replicas, pods_seen::PodsSeen, unwritten::Unwritten};
use crate::{
    apply, broker, chain,
    condition::{Observed, State},
    context::Context,
    gathering::gathered,
    held::{self, Held},
    names::{self, FINALIZER, POOL_LABEL, SCALE_MANAGER},
    namespace,
    pipeline::pools::named_pools,
    unreadable,
    watching::{self, Scope, Triggers, namespace_of},
};

/// Without a reason to look again, objects are looked at this often.
const RESYNC: Duration = Duration::from_secs(300);
/// After a failure that may pass.
const RETRY: Duration = Duration::from_secs(10);
/// After a write that was about a state that has passed: the watch tells of the present one.
const CHANGED: Duration = Duration::from_secs(1);
/// While pods are starting: what their conditions say changes without an event of ours.
const STARTING: Duration = Duration::from_secs(5);
/// Changes of what a pool has made, of which there are many in a rollout, are looked at together after this.
const TOGETHER: Duration = Duration::from_millis(300);
/// Pools that are brought to their state at once.
const AT_ONCE: u16 = 16;

/// Why a pool is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object cannot be read; its author can fix it.
    #[error(
        "the pool cannot be read, so its agents stay as they are: {0}; write it as this version of Docket knows it \
         (`kubectl explain agentpools.spec`), or run the version that it was written for"
    )]
    Unreadable(String),
    /// What the pool refers to could not be read. Retried.
    #[error("failed to read what the pool refers to")]
    Dereference(#[source] apply::Error),
    /// The pool asks for what cannot be; its author can fix it.
    #[error(transparent)]
    Validate(validate::Error),
    /// The Secret with the credentials of the namespace's pools is full. Whoever decides about these pools can fix it.
    #[error(
        "Secret {} has no room for the pool's credentials, because it has those of many other pools: delete one of them, or make \
         the pool in another namespace",
        names::NATS
    )]
    NamespaceFull,
    /// A child could not be written.
    #[error("failed to make the pool's objects")]
    Apply(#[source] apply::Error),
    /// The API server's answer is not what it should be. Retried.
    #[error("failed to read the Deployment as it was written")]
    Deployment(#[source] serde_json::Error),
    /// Somebody else changed the pool at the same time. Retried.
    #[error("the pool was changed while its `replicas` were handed back")]
    Overtaken,
    /// The status could not be written. Retried.
    #[error("failed to write the pool's status")]
    Status(#[source] apply::Error),
    /// The broker did not let go of the pool's tasks. Retried.
    #[error("failed to remove the pool's tasks from the broker")]
    Cleanup(#[source] broker::RemoveError),
    /// What the namespace has for all its pools and pipelines could not be removed with the last of them. Retried.
    #[error("failed to remove the namespace's objects")]
    Leave(#[source] namespace::Error),
    /// The finalizer could not be set or removed. Retried.
    #[error("failed to change the pool's finalizer")]
    Finalizer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// A word from a closed set, for conditions, Events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "Unreadable",
            Self::Dereference(_) => "ReadFailed",
            Self::Validate(error) => error.reason(),
            Self::NamespaceFull => "NamespaceFull",
            Self::Apply(apply::Error::NotLeading) | Self::Status(apply::Error::NotLeading) => "NotLeading",
            Self::Apply(apply::Error::NotOurs { .. }) => "NameTaken",
            Self::Apply(_) | Self::Deployment(_) => "ApplyFailed",
            Self::Status(_) => "StatusFailed",
            Self::Overtaken => "Overtaken",
            Self::Cleanup(broker::RemoveError::NotLeading) => "NotLeading",
            Self::Cleanup(_) => "BrokerUnavailable",
            Self::Leave(error) => error.reason(),
            Self::Finalizer(_) => "FinalizerFailed",
        }
    }
}

impl Error {
    fn is_of_a_leaving_namespace(&self) -> bool {
        matches!(self, Self::Apply(error) if error.is_of_a_leaving_namespace())
    }
}

type Guarded = DeserializeGuard<AgentPool>;

/// Controls the pools of a scope until it is stopped; what is being done then is finished.
pub async fn run(ctx: Arc<Context>, scope: Scope, stop: CancellationToken) {
    let (pools, written) = scope.objects::<Guarded>(&ctx);
    let made = watching::all(vec![
        children::<Deployment>(&ctx, &scope),
        children::<ConfigMap>(&ctx, &scope),
        children::<Service>(&ctx, &scope),
        children::<ServiceAccount>(&ctx, &scope),
        children::<NetworkPolicy>(&ctx, &scope),
        children::<PodDisruptionBudget>(&ctx, &scope),
        scope.made::<Pod, Guarded, _>(&ctx, pool_of),
    ]);
    let triggers = watching::all(vec![
        written,
        gathered(made, TOGETHER).boxed(),
        scope.others::<DeserializeGuard<Pipeline>, _, _>(&ctx, predicates::generation, |pipeline| pools_of(&pipeline)),
    ]);
    let counting = counts::run(Arc::clone(&ctx), &scope, pools.clone(), stop.clone());
    let unwritten = Arc::new(Unwritten::default());
    let passes = applier(
        move |pool, ctx| reconcile(pool, ctx, Arc::clone(&unwritten)).boxed(),
        on_error,
        ctx,
        pools.clone(),
        triggers.take_until(stop.clone().cancelled_owned()),
        Config::default().concurrency(AT_ONCE),
    );
    let passing = passes.for_each(|done| async move {
        if let Err(error) = done {
            tracing::debug!(%error, "a pass ended with an error");
        }
    });
    let passing = async {
        tokio::select! {
            () = passing => {}
            () = watching::stopped_before_it_began(&pools, &stop) => {}
        }
    };
    futures::join!(passing, counting);
}

/// Brings one AgentPool to its desired state and reports in its status what came of it.
async fn reconcile(object: Arc<Guarded>, ctx: Arc<Context>, unwritten: Arc<Unwritten>) -> Result<Action, Error> {
    ctx.metrics.timed("AgentPool", pass(&object, &ctx, &unwritten)).await
}

async fn pass(object: &Guarded, ctx: &Context, unwritten: &Unwritten) -> Result<Action, Error> {
    let namespace = namespace_of(object);
    let leaves = object.meta().deletion_timestamp.is_some();
    let turn = leaves.then(|| ctx.namespaces.try_turn(&namespace));
    if turn.as_ref().is_some_and(Option::is_none) {
        return Ok(Action::requeue(namespace::TURN));
    }
    let Ok(pool) = &object.0 else { return pass_unread(object, ctx, unwritten).await };
    let api: Api<AgentPool> = Api::namespaced(ctx.client.clone(), &namespace);
    let pass = finalizer(&api, FINALIZER, Arc::new(pool.clone()), |event| async {
        match event {
            finalizer::Event::Apply(pool) => bring(ctx, &pool, unwritten).await.map_err(Held::Failed),
            finalizer::Event::Cleanup(pool) => {
                unwritten.forget(&pool);
                clean_up::clean_up(ctx, &pool).await
            }
        }
    });
    ended(pass.await)
}

/// The same for a pool that cannot be read: its author is told, and it can be deleted.
async fn pass_unread(object: &Guarded, ctx: &Context, unwritten: &Unwritten) -> Result<Action, Error> {
    let found = unreadable::live::<AgentPool>(ctx, object.meta()).await.map_err(Error::Dereference)?;
    let Some(found) = found else { return Ok(Action::await_change()) };
    let Err(why) = unreadable::read::<AgentPool>(&found) else { return Ok(Action::requeue(CHANGED)) };
    if found.metadata.deletion_timestamp.is_some() != object.meta().deletion_timestamp.is_some() {
        return Ok(Action::requeue(CHANGED));
    }
    if found.metadata.deletion_timestamp.is_none() {
        let error = Error::Unreadable(why);
        let ready = Observed::new("Ready", State::False, error.reason(), chain(&error));
        unreadable::say::<AgentPool>(ctx, &found, ready).await.map_err(Error::Status)?;
        ctx.events.failed(object, error.reason(), &error).await;
        return Err(error);
    }
    let pool: &AgentPool = &unreadable::stand_in(&found);
    let api = apply::untyped::<AgentPool>(ctx, &namespace_of(object));
    let pass = finalizer(&api, FINALIZER, Arc::new(found), |event| async move {
        match event {
            // It leaves, as was seen.
            finalizer::Event::Apply(_) => Ok(Action::await_change()),
            finalizer::Event::Cleanup(_) => {
                unwritten.forget(pool);
                clean_up::clean_up(ctx, pool).await
            }
        }
    });
    ended(pass.await)
}

fn ended(pass: Result<Action, finalizer::Error<Held<Error>>>) -> Result<Action, Error> {
    match pass {
        Ok(action) => Ok(action),
        Err(
            finalizer::Error::ApplyFailed(Held::Failed(error)) | finalizer::Error::CleanupFailed(Held::Failed(error)),
        ) => Err(error),
        Err(finalizer::Error::ApplyFailed(Held::Waiting) | finalizer::Error::CleanupFailed(Held::Waiting)) => {
            Ok(Action::requeue(STARTING))
        }
        Err(error) if held::is_of_another_state(&error) => Ok(Action::requeue(CHANGED)),
        Err(error) => Err(Error::Finalizer(Box::new(error))),
    }
}

async fn bring(ctx: &Context, pool: &AgentPool, unwritten: &Unwritten) -> Result<Action, Error> {
    let Some(pool) = &apply::live(ctx, pool).await.map_err(Error::Dereference)? else {
        return Ok(Action::await_change());
    };
    let outcome = converge(ctx, pool).await;
    // What is read next is nearer to the truth than whatever this pass could say.
    if let Err(Error::Overtaken | Error::Apply(apply::Error::Overtaken { .. })) = &outcome {
        return Ok(Action::requeue(CHANGED));
    }
    let now = Timestamp::now();
    let status = status::after(pool, &outcome, now);
    let is_settled = outcome.as_ref().map_or(true, status::Applied::is_settled);
    if let Some(left) = unwritten.wait(pool, &status, is_settled, Instant::now()) {
        return Ok(Action::requeue(left));
    }
    apply::status(ctx, pool, apply::Read::Anew, pool.status.as_ref(), &status).await.map_err(Error::Status)?;
    // After all else, which does not wait for a broker that is away. Agents that come before their streams wait for them, and the
    // next look at the numbers makes what this does not.
    if outcome.is_ok()
        && let Err(error) = ctx.brokers.make_pool(&namespace_of(pool), &pool.name_any()).await
    {
        ctx.events.failed(pool, "BrokerUnavailable", &error).await;
    }
    tell_of_fallback(ctx, pool, status.fallback.as_ref()).await;
    if let Err(error) = &outcome
        && !error.is_of_a_leaving_namespace()
    {
        ctx.events.failed(pool, error.reason(), error).await;
    }
    ctx.namespaces.look_at(namespace_of(pool));
    let usual = if outcome?.is_settled() { RESYNC } else { STARTING };
    // The status that was written now says what is to be built.
    let with_status = AgentPool { status: Some(status), ..pool.clone() };
    let next = fallback::until_next(with_status.status.as_ref().and_then(|status| status.fallback.as_ref()), now);
    let is_other = fallback::placement(&with_status, now) != fallback::placement(pool, now);
    Ok(Action::requeue(if is_other { CHANGED } else { next.map_or(usual, |next| usual.min(next.max(CHANGED))) }))
}

/// Falling back is never silent, and neither is coming back.
async fn tell_of_fallback(ctx: &Context, pool: &AgentPool, now: Option<&FallbackStatus>) {
    let before = pool.status.as_ref().and_then(|status| status.fallback.as_ref());
    match (before, now) {
        (None, Some(now)) => ctx.events.done(pool, "FallBack", "FellBack", &fallback::sentence(now)).await,
        (Some(before), None) => {
            let note =
                format!("agents are placed on the pool's device again; they had fallen back since {}", before.since);
            ctx.events.done(pool, "FallBack", "OnDevice", &note).await;
        }
        _ => {}
    }
}

async fn converge(ctx: &Context, pool: &AgentPool) -> Result<status::Applied, Error> {
    let dereferenced = dereference::of(ctx, pool).await.map_err(Error::Dereference)?;
    let mut validated = validate::pool(pool, &dereferenced, &ctx.config).map_err(Error::Validate)?;
    if validated.replicas == Replicas::Returned {
        validated.replicas = Replicas::Fixed(returned(ctx, pool).await?);
    }
    validated.placement = fallback::placement(pool, Timestamp::now());
    let left_out = namespace::prepare(ctx, &validated.namespace).await.map_err(Error::Apply)?;
    if left_out.contains(&validated.name) {
        return Err(Error::NamespaceFull);
    }
    let prepared = build::all(&validated);
    let is_current = || {
        let now = apply::live(ctx, pool);
        now.map_ok(|now| now.is_some_and(|now| now.metadata.generation == pool.metadata.generation)).boxed()
    };
    for child in &prepared.before {
        apply::converge_while(ctx, child, &is_current).await.map_err(Error::Apply)?;
    }
    let deployment = apply::converge_while(ctx, &prepared.deployment, &is_current).await.map_err(Error::Apply)?;
    let deployment = serde_json::from_value(deployment).map_err(Error::Deployment)?;
    for child in &prepared.after {
        apply::converge_while(ctx, child, &is_current).await.map_err(Error::Apply)?;
    }
    absent::remove(ctx, pool, &prepared.absent).await.map_err(Error::Apply)?;
    // Only what is not as it should be needs an explanation.
    let pods = match status::is_whole(&deployment) {
        true => PodsSeen::default(),
        false => dereference::pods(ctx, &validated).await.map_err(Error::Dereference)?,
    };
    Ok(status::Applied { deployment, pods, placement: validated.placement })
}

/// The autoscaler lets go: `replicas` becomes what there is, and counts from then on.
async fn returned(ctx: &Context, pool: &AgentPool) -> Result<u32, Error> {
    let (namespace, name) = (namespace_of(pool), names::agents(&pool.name_any()));
    let api: Api<Deployment> = Api::namespaced(ctx.client.clone(), &namespace);
    let found = apply::within("get", format!("Deployment {namespace}/{name}"), api.get_opt(&name)).await;
    let there = found.map_err(Error::Dereference)?.and_then(|deployment| deployment.spec?.replicas);
    let replicas = ownership::handed_back(there, pool.spec.replicas);
    if replicas == pool.spec.replicas {
        return Ok(replicas);
    }
    let changed = apply::change(ctx, pool, SCALE_MANAGER, json!({"replicas": replicas})).await;
    if changed.map_err(Error::Apply)? { Ok(replicas) } else { Err(Error::Overtaken) }
}

fn on_error(object: Arc<Guarded>, error: &Error, ctx: Arc<Context>) -> Action {
    ctx.metrics.failed("AgentPool", error.reason());
    match error {
        // Only a change of the object helps, which is watched; what is said of it is looked at again.
        Error::Unreadable(_) => {
            let pool = object.meta().name.as_deref().unwrap_or_default();
            tracing::warn!(%pool, error = %chain(error), "left as it is");
            Action::requeue(RESYNC)
        }
        Error::Validate(_) | Error::NamespaceFull | Error::Apply(apply::Error::NotOurs { .. }) => {
            Action::requeue(RETRY * 3)
        }
        _ if error.is_of_a_leaving_namespace() => Action::requeue(RETRY),
        _ => {
            tracing::warn!(pool = %object.meta().name.as_deref().unwrap_or_default(), error = %chain(error), "failed, trying again");
            Action::requeue(RETRY)
        }
    }
}

/// Objects that the operator makes, of one kind. Gateways have the same kinds as pools, and one watch shows both: what belongs to no
/// pool is a gateway's, or of agents that outlive theirs, with which the namespace's Secrets go. It makes its namespace be looked at.
fn children<K>(ctx: &Arc<Context>, scope: &Scope) -> Triggers<Guarded>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let looking = Arc::clone(ctx);
    scope.made::<K, Guarded, _>(ctx, move |object| {
        if object.owner_references().is_empty() {
            looking.namespaces.look_at(object.namespace().unwrap_or_default());
        }
        pool_of(object)
    })
}

/// The pool that an object belongs to, by its label.
fn pool_of<K: Resource<DynamicType = ()>>(object: PartialObjectMeta<K>) -> Option<ObjectRef<Guarded>> {
    let pool = object.labels().get(POOL_LABEL)?;
    Some(ObjectRef::new(pool).within(object.namespace().as_deref()?))
}

/// The pools that a pipeline names: how long its stages may take is what they give their agents to end.
pub fn pools_of(pipeline: &DeserializeGuard<Pipeline>) -> Vec<ObjectRef<DeserializeGuard<AgentPool>>> {
    let Ok(pipeline) = &pipeline.0 else { return Vec::new() };
    let namespace = namespace_of(pipeline);
    named_pools(&pipeline.spec).into_iter().map(|name| ObjectRef::new(name).within(&namespace)).collect()
}
