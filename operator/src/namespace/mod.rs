//! What a namespace has once, for all its pools and pipelines: the gateway, the tokens of clients and of metrics, the broker's password.
//!
//! Not a controller of a kind: passes over pools and pipelines say that their namespace is to be looked at, and it is, once
//! for all who said so.

pub mod build;
pub mod gather;
pub mod room;

use std::{
    array,
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::sync::{Mutex as Turn, MutexGuard as TurnGuard, Notify};
use tokio_util::sync::CancellationToken;

use crate::{apply, broker, chain, context::Context};

pub use build::{pipeline_file, pool_file};
pub use gather::Gathered;

/// Changes that come together are one pass.
const TOGETHER: Duration = Duration::from_millis(150);
/// After a failure that may pass.
const RETRY: Duration = Duration::from_secs(10);
/// The same where somebody else was quicker.
const CHANGED: Duration = Duration::from_secs(1);
/// After so long an object that leaves asks again for its turn.
pub const TURN: Duration = Duration::from_millis(500);
/// The reason of pipelines whose gateway cannot be made.
pub const GATEWAY_REFUSED: &str = "GatewayRefused";
/// Namespaces that are looked at once, and pipelines of one that are told something.
const AT_ONCE: usize = 8;
/// Turns that all namespaces share: two that meet wait for each other, which is seldom and harmless.
const TURNS: usize = 64;

/// The namespaces that are to be looked at, those whose objects could not be made, and the pipelines that have no room in theirs.
pub struct Namespaces {
    due: Mutex<BTreeSet<String>>,
    changed: Notify,
    refused: Mutex<HashMap<String, String>>,
    left_out: Mutex<HashMap<String, BTreeMap<String, String>>>,
    turns: [Turn<()>; TURNS],
}

impl Default for Namespaces {
    fn default() -> Self {
        Self {
            due: Mutex::default(),
            changed: Notify::default(),
            refused: Mutex::default(),
            left_out: Mutex::default(),
            turns: array::from_fn(|_| Turn::default()),
        }
    }
}

impl Namespaces {
    /// Something changed in this namespace.
    pub fn look_at(&self, namespace: impl Into<String>) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace.into());
        self.changed.notify_one();
    }

    /// The turn to make or remove a namespace's objects. An object that leaves holds it until it is gone: of two that leave,
    /// the second one sees that it is the last.
    async fn turn(&self, namespace: &str) -> TurnGuard<'_, ()> {
        self.turn_of(namespace).lock().await
    }

    /// The same, if nobody has it: where many objects of a namespace leave, those of others are not to wait until all of them had
    /// their turn.
    pub fn try_turn(&self, namespace: &str) -> Option<TurnGuard<'_, ()>> {
        self.turn_of(namespace).try_lock().ok()
    }

    fn turn_of(&self, namespace: &str) -> &Turn<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(namespace) as usize;
        &self.turns[hash % TURNS]
    }

    /// Why the objects of a namespace could not be made; none where they could the last time.
    pub fn refused(&self, namespace: &str) -> Option<String> {
        self.all_refused().get(namespace).cloned()
    }

    fn all_refused(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the files of a namespace's gateway have no room for a pipeline as it is written; none where they had the last time.
    pub fn left_out(&self, namespace: &str, pipeline: &str) -> Option<String> {
        self.all_left_out().get(namespace)?.get(pipeline).cloned()
    }

    /// Notes for which pipelines of a namespace there is no room.
    fn leave_out(&self, namespace: &str, left_out: BTreeMap<String, String>) {
        let mut all = self.all_left_out();
        if left_out.is_empty() {
            all.remove(namespace);
        } else {
            all.insert(namespace.to_owned(), left_out);
        }
    }

    fn all_left_out(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<String, String>>> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Brings namespaces to their desired state until it is stopped.
pub async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = ctx.namespaces.changed.notified() => {}
        }
        tokio::time::sleep(TOGETHER).await;
        let ctx = &ctx;
        stream::iter(ctx.namespaces.take()).for_each_concurrent(AT_ONCE, |namespace| look(ctx, namespace)).await;
    }
}

async fn look(ctx: &Arc<Context>, namespace: String) {
    let Err(error) = ctx.metrics.timed("Namespace", converge(ctx, &namespace)).await else {
        ctx.namespaces.all_refused().remove(&namespace);
        return;
    };
    ctx.metrics.failed("Namespace", error.reason());
    let overtaken = matches!(error, Error::Apply(apply::Error::Overtaken { .. }));
    if !overtaken && !error.is_of_a_leaving_namespace() {
        let why = chain(&error);
        tracing::warn!(%namespace, error = why, "failed to bring a namespace to its state, trying again");
        // One who leads no longer has nothing to say of what the next one does.
        if ctx.may_write().is_ok() {
            ctx.namespaces.all_refused().insert(namespace.clone(), why);
            tell(ctx, &namespace, &error).await;
        }
    }
    again(ctx, namespace, if overtaken { CHANGED } else { RETRY });
}

/// Says on a namespace's pipelines, which wait for its gateway, why it cannot be made.
async fn tell(ctx: &Context, namespace: &str, error: &Error) {
    let pipelines = match gather::pipelines(ctx, namespace).await {
        Ok(pipelines) => pipelines,
        Err(error) => {
            tracing::debug!(%namespace, error = %chain(&error), "there are no Events of what was refused");
            return;
        }
    };
    stream::iter(pipelines)
        .for_each_concurrent(AT_ONCE, |pipeline| async move {
            ctx.events.failed(&pipeline, GATEWAY_REFUSED, error).await;
        })
        .await;
}

fn again(ctx: &Arc<Context>, namespace: String, after: Duration) {
    let ctx = Arc::clone(ctx);
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        ctx.namespaces.look_at(namespace);
    });
}

/// What could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Pools and pipelines could not be read. Retried.
    #[error("failed to read the namespace's pools and pipelines")]
    Gather(#[source] apply::Error),
    /// An object could not be written. Retried.
    #[error("failed to make the namespace's objects")]
    Apply(#[source] apply::Error),
    /// The broker did not let go of what the namespace had there. Retried.
    #[error("failed to remove the namespace's documents from the broker")]
    Broker(#[source] broker::RemoveError),
}

impl Error {
    fn is_of_a_leaving_namespace(&self) -> bool {
        matches!(self, Self::Apply(error) if error.is_of_a_leaving_namespace())
    }

    /// A word from a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Gather(_) => "ReadFailed",
            Self::Apply(_) => "ApplyFailed",
            Self::Broker(broker::RemoveError::NotLeading) => "NotLeading",
            Self::Broker(_) => "BrokerUnavailable",
        }
    }
}

/// Makes what pods of a namespace mount, before there are pods: one that waits for a Secret is tried again only after a while.
///
/// Where each pool has credentials of its own, all of them are in one Secret: it is written at the namespace's turn, with the
/// pools that are there then, so that no two passes take away what the other has added. The pools for which it has no room are
/// given back.
pub async fn prepare(ctx: &Context, namespace: &str) -> Result<Vec<String>, apply::Error> {
    let keys = ctx.config.nats_keys().is_some();
    let _turn = if keys { Some(ctx.namespaces.turn(namespace).await) } else { None };
    secrets(ctx, namespace).await
}

async fn secrets(ctx: &Context, namespace: &str) -> Result<Vec<String>, apply::Error> {
    let keys = ctx.config.nats_keys().is_some();
    let pools = if keys { gather::pools(ctx, namespace).await? } else { Vec::new() };
    apply::once(ctx, &build::tokens(namespace)).await?;
    if ctx.config.authenticates_metrics() {
        apply::once(ctx, &build::metrics_token(namespace)).await?;
    }
    let nats = build::nats(namespace, &ctx.config, pools.iter());
    let (nats, left_out) = nats.map(|nats| (nats.secret, nats.left_out)).unzip();
    for secret in [nats, build::payloads(namespace, &ctx.config)].iter().flatten() {
        apply::converge(ctx, secret).await?;
    }
    Ok(left_out.unwrap_or_default())
}

/// Whether agents go on without their pool, with what they have at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphans {
    /// None of the object that leaves.
    None,
    /// Those of the pool that leaves.
    Kept,
}

/// Removes what a namespace has, in the cluster and at the broker, where the one that leaves is the last, but for what agents need that
/// go on without their pool. Its finalizer stays until
/// then, so that a process that dies meanwhile leaves nothing behind: afterwards nothing would tell that the namespace was ever
/// ours. To be called with the namespace's turn.
pub async fn leave(ctx: &Context, namespace: &str, orphans: Orphans) -> Result<(), Error> {
    let mut gathered = gather::of(ctx, namespace).await.map_err(Error::Gather)?;
    if gathered.objects > 1 {
        return Ok(());
    }
    gathered.objects = 0;
    gathered.outlived |= orphans == Orphans::Kept;
    remove(ctx, &build::all(&gathered, &ctx.config)).await?;
    if gathered.outlived {
        return Ok(());
    }
    // Last of all, and looked for again: one that was made meanwhile keeps it.
    if gather::of(ctx, namespace).await.map_err(Error::Gather)?.objects > 1 {
        return Ok(());
    }
    ctx.brokers.remove_namespace(namespace).await.map_err(Error::Broker)
}

async fn converge(ctx: &Context, namespace: &str) -> Result<(), Error> {
    let _turn = ctx.namespaces.turn(namespace).await;
    let mut gathered = gather::of(ctx, namespace).await.map_err(Error::Gather)?;
    ctx.namespaces.leave_out(namespace, std::mem::take(&mut gathered.left_out));
    // Not for those that leave: what they mount is there already, and the last of them may have begun to remove it.
    if gathered.staying > 0 {
        secrets(ctx, namespace).await.map_err(Error::Apply)?;
    }
    let prepared = build::all(&gathered, &ctx.config);
    for child in &prepared.present {
        apply::converge(ctx, child).await.map_err(Error::Apply)?;
    }
    remove(ctx, &prepared).await?;
    if gathered.is_empty() {
        ctx.brokers.close(namespace);
    }
    Ok(())
}

async fn remove(ctx: &Context, prepared: &build::Prepared) -> Result<(), Error> {
    let ours = |live: &serde_json::Value| {
        live["metadata"]["labels"]["app.kubernetes.io/managed-by"] == crate::names::FIELD_MANAGER
    };
    for child in &prepared.absent {
        apply::absent(ctx, child, ours).await.map_err(Error::Apply)?;
    }
    Ok(())
}
