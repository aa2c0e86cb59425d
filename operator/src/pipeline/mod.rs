//! The controller of Pipelines: whether they can work, what becomes of their documents, and what serves them.
//!
//! A pipeline's own objects are the namespace's: its gateway serves all pipelines of it.

pub mod counts;
pub mod dereference;
pub mod pools;
pub mod serving;
pub mod status;
pub mod unkept;
pub mod workers;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use crds::{AgentPool, DeletionPolicy, Pipeline};
use futures::{FutureExt, StreamExt};
use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use kube::{
    Api, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        applier,
        controller::{Action, Config},
        finalizer::{self, finalizer},
        reflector::{ObjectRef, Store},
    },
};
use tokio_util::sync::CancellationToken;

use self::workers::Workers;
use crate::{
    apply, broker, chain,
    condition::{Observed, State},
    context::Context,
    held::{self, Held},
    names::{FINALIZER, GATEWAY},
    namespace::{self, Orphans},
    unreadable,
    watching::{self, Scope, namespace_of},
};

/// Without a reason to look again, objects are looked at this often.
const RESYNC: Duration = Duration::from_secs(300);
/// After a failure that may pass.
const RETRY: Duration = Duration::from_secs(10);
/// While something that the pipeline needs is on its way.
const WAITING: Duration = Duration::from_secs(5);
/// After a write that was about a state that has passed: the watch tells of the present one.
const CHANGED: Duration = Duration::from_secs(1);
/// Pipelines that are brought to their state at once.
const AT_ONCE: u16 = 16;

/// Why a pipeline's pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object cannot be read; its author can fix it.
    #[error(
        "the pipeline cannot be read, and is served as it last could be, if it ever could: {0}; write it as this version of Docket knows it \
         (`kubectl explain pipelines.spec`), or run the version that it was written for"
    )]
    Unreadable(String),
    /// What the pipeline refers to could not be read. Retried.
    #[error("failed to read what the pipeline refers to")]
    Dereference(#[source] apply::Error),
    /// The status could not be written. Retried.
    #[error("failed to write the pipeline's status")]
    Status(#[source] apply::Error),
    /// The broker did not let go of the pipeline's records. Retried.
    #[error("failed to remove the pipeline's records from the broker")]
    Cleanup(#[source] broker::RemoveError),
    /// What the namespace has for all its pools and pipelines could not be removed with the last of them. Retried.
    #[error("failed to remove the namespace's objects")]
    Leave(#[source] namespace::Error),
    /// The finalizer could not be set or removed. Retried.
    #[error("failed to change the pipeline's finalizer")]
    Finalizer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// A word from a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "Unreadable",
            Self::Dereference(_) => "ReadFailed",
            Self::Status(_) => "StatusFailed",
            Self::Cleanup(broker::RemoveError::NotLeading) => "NotLeading",
            Self::Cleanup(_) => "BrokerUnavailable",
            Self::Leave(error) => error.reason(),
            Self::Finalizer(_) => "FinalizerFailed",
        }
    }
}

type Guarded = DeserializeGuard<Pipeline>;

/// Controls the pipelines of a scope until it is stopped.
pub async fn run(ctx: Arc<Context>, scope: Scope, stop: CancellationToken) {
    let (pipelines, written) = scope.objects::<Guarded>(&ctx);
    let (of_pool, of_gateway) = (pipelines.clone(), pipelines.clone());
    let triggers = watching::all(vec![
        written,
        scope.others::<DeserializeGuard<AgentPool>, _, _>(&ctx, readiness, move |pool| {
            let (namespace, name) = (namespace_of(&pool), pool.name_any());
            in_namespace(&of_pool, &namespace, |pipeline| pools::names_pool(&pipeline.spec, &name))
        }),
        scope.made::<Deployment, _, _>(&ctx, move |deployment| {
            let namespace = namespace_of(&deployment);
            in_namespace(&of_gateway, &namespace, |_| deployment.name_any() == GATEWAY)
        }),
    ]);
    let counting = counts::run(Arc::clone(&ctx), pipelines.clone(), stop.clone());
    let passes = applier(
        |pipeline, ctx| reconcile(pipeline, ctx).boxed(),
        on_error,
        ctx,
        pipelines.clone(),
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
            () = watching::stopped_before_it_began(&pipelines, &stop) => {}
        }
    };
    futures::join!(passing, counting);
}

/// What a pipeline has to know of a pool: what it says, and whether it is ready. Its numbers are none of its business.
fn readiness(pool: &DeserializeGuard<AgentPool>) -> Option<u64> {
    let conditions = pool.0.as_ref().ok().and_then(|pool| pool.status.as_ref()).map(|status| &status.conditions);
    let ready = conditions.and_then(|conditions| conditions.iter().find(|condition| condition.type_ == "Ready"));
    let mut hasher = DefaultHasher::new();
    (pool.meta().generation, ready.map(|ready| (&ready.status, &ready.message))).hash(&mut hasher);
    Some(hasher.finish())
}

/// The pipelines of a namespace that something concerns.
fn in_namespace(
    pipelines: &Store<Guarded>,
    namespace: &str,
    concerns: impl Fn(&Pipeline) -> bool,
) -> Vec<ObjectRef<Guarded>> {
    let concerned = |guarded: &Guarded| {
        guarded.meta().namespace.as_deref() == Some(namespace) && guarded.0.as_ref().is_ok_and(&concerns)
    };
    pipelines.state_filter(concerned).iter().map(|pipeline| ObjectRef::from_obj(&**pipeline)).collect()
}

/// Brings one Pipeline to its desired state and reports in its status what came of it.
async fn reconcile(object: Arc<Guarded>, ctx: Arc<Context>) -> Result<Action, Error> {
    ctx.metrics.timed("Pipeline", pass(&object, &ctx)).await
}

async fn pass(object: &Guarded, ctx: &Context) -> Result<Action, Error> {
    ctx.namespaces.look_at(namespace_of(object));
    let namespace = namespace_of(object);
    let leaves = object.meta().deletion_timestamp.is_some();
    let turn = leaves.then(|| ctx.namespaces.try_turn(&namespace));
    if turn.as_ref().is_some_and(Option::is_none) {
        return Ok(Action::requeue(namespace::TURN));
    }
    let Ok(pipeline) = &object.0 else { return pass_unread(object, ctx).await };
    let api: Api<Pipeline> = Api::namespaced(ctx.client.clone(), &namespace);
    let pass = finalizer(&api, FINALIZER, Arc::new(pipeline.clone()), |event| async {
        match event {
            finalizer::Event::Apply(pipeline) => bring(ctx, &pipeline).await,
            finalizer::Event::Cleanup(pipeline) => clean_up(ctx, &pipeline).await,
        }
    });
    ended(pass.await)
}

/// The same for a pipeline that cannot be read: its author is told, and it can be deleted.
async fn pass_unread(object: &Guarded, ctx: &Context) -> Result<Action, Error> {
    let found = unreadable::live::<Pipeline>(ctx, object.meta()).await.map_err(Error::Dereference)?;
    let Some(found) = found else { return Ok(Action::await_change()) };
    let Err(why) = unreadable::read::<Pipeline>(&found) else { return Ok(Action::requeue(CHANGED)) };
    if found.metadata.deletion_timestamp.is_some() != object.meta().deletion_timestamp.is_some() {
        return Ok(Action::requeue(CHANGED));
    }
    if found.metadata.deletion_timestamp.is_none() {
        let error = Error::Unreadable(why);
        let ready = Observed::new("Ready", State::False, error.reason(), chain(&error));
        unreadable::say::<Pipeline>(ctx, &found, ready).await.map_err(Error::Status)?;
        ctx.events.failed(object, error.reason(), &error).await;
        return Err(error);
    }
    let pipeline: &Pipeline = &unreadable::stand_in(&found);
    let api = apply::untyped::<Pipeline>(ctx, &namespace_of(object));
    let pass = finalizer(&api, FINALIZER, Arc::new(found), |event| async move {
        match event {
            // It leaves, as was seen.
            finalizer::Event::Apply(_) => Ok(Action::await_change()),
            finalizer::Event::Cleanup(_) => clean_up(ctx, pipeline).await,
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
        Err(finalizer::Error::CleanupFailed(Held::Waiting) | finalizer::Error::ApplyFailed(Held::Waiting)) => {
            Ok(Action::requeue(WAITING))
        }
        Err(error) if held::is_of_another_state(&error) => Ok(Action::requeue(CHANGED)),
        Err(error) => Err(Error::Finalizer(Box::new(error))),
    }
}

async fn bring(ctx: &Context, pipeline: &Pipeline) -> Result<Action, Held<Error>> {
    let live = apply::live(ctx, pipeline).await.map_err(|error| Held::Failed(Error::Dereference(error)))?;
    let Some(pipeline) = &live else { return Ok(Action::await_change()) };
    let found = dereference::of(ctx, pipeline).await.map_err(Error::Dereference);
    let status = status::after(pipeline, &found, Timestamp::now());
    apply::status(ctx, pipeline, apply::Read::Anew, pipeline.status.as_ref(), &status)
        .await
        .map_err(|error| Held::Failed(Error::Status(error)))?;
    if let Err(error) = &found {
        ctx.events.failed(pipeline, error.reason(), error).await;
    }
    let found = found.map_err(Held::Failed)?;
    Ok(Action::requeue(if found.is_settled() { RESYNC } else { WAITING }))
}

/// Removes what a pipeline has, and says on the pipeline why it is still there where that fails.
pub async fn clean_up(ctx: &Context, pipeline: &Pipeline) -> Result<Action, Held<Error>> {
    let removed = remove(ctx, pipeline).await;
    if let Err(Held::Failed(error)) = &removed
        && ctx.may_write().is_ok()
    {
        ctx.events.failed(pipeline, error.reason(), error).await;
        if let Err(untold) = tell(ctx, pipeline, error).await {
            let (namespace, pipeline) = (namespace_of(pipeline), pipeline.name_any());
            tracing::warn!(%namespace, %pipeline, error = %chain(&untold), "it is not said on the pipeline why it stays");
        }
    }
    removed
}

/// Writes into the status why a pipeline is still there.
async fn tell(ctx: &Context, pipeline: &Pipeline, error: &Error) -> Result<(), apply::Error> {
    let Some(live) = unreadable::leaving::<Pipeline>(ctx, &pipeline.metadata).await? else { return Ok(()) };
    let status = status::not_deleted(&live, error, Timestamp::now());
    apply::status(ctx, &live, apply::Read::Anew, live.status.as_ref(), &status).await
}

/// Waits for open documents where the pipeline says so and somebody is to work them; then removes what it has at the broker.
async fn remove(ctx: &Context, pipeline: &Pipeline) -> Result<Action, Held<Error>> {
    let (namespace, name) = (namespace_of(pipeline), pipeline.name_any());
    let failed = |error| Held::Failed(Error::Cleanup(error));
    // What is removed at the broker has no uid: one of the same name may be a successor's. What becomes of documents is asked anew,
    // too: somebody may have given them up since.
    let live = unreadable::leaving::<Pipeline>(ctx, &pipeline.metadata).await;
    let live = live.map_err(|error| Held::Failed(Error::Dereference(error)))?;
    let Some(pipeline) = &live else { return Err(Held::Waiting) };
    if pipeline.spec.deletion_policy == DeletionPolicy::Drain {
        let open = ctx.brokers.open_documents(&namespace, &name).await;
        let open = open.map_err(|error| failed(broker::RemoveError::Broker(error)))?;
        // Without a pool nobody would ever end these documents.
        let workers = match open {
            0 => Workers::default(),
            _ => workers::of(ctx, pipeline).await.map_err(|error| Held::Failed(Error::Dereference(error)))?,
        };
        if workers.stay {
            let status = status::draining(pipeline, open, &workers.idle, Timestamp::now());
            apply::status(ctx, pipeline, apply::Read::Anew, pipeline.status.as_ref(), &status)
                .await
                .map_err(|error| Held::Failed(Error::Status(error)))?;
            return Err(Held::Waiting);
        }
    }
    ctx.brokers.remove_pipeline(&namespace, &name).await.map_err(failed)?;
    namespace::leave(ctx, &namespace, Orphans::None).await.map_err(|error| Held::Failed(Error::Leave(error)))?;
    Ok(Action::await_change())
}

fn on_error(object: Arc<Guarded>, error: &Error, ctx: Arc<Context>) -> Action {
    ctx.metrics.failed("Pipeline", error.reason());
    let (namespace, pipeline) = (namespace_of(&*object), object.name_any());
    match error {
        // Only a change of the object helps, which is watched; what is said of it is looked at again.
        Error::Unreadable(_) => {
            tracing::warn!(%namespace, %pipeline, error = %chain(error), "left as it is");
            Action::requeue(RESYNC)
        }
        _ => {
            tracing::warn!(%namespace, %pipeline, error = %chain(error), "failed, trying again");
            Action::requeue(RETRY)
        }
    }
}
