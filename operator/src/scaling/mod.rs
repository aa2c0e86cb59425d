//! The autoscaler at work: pools with `scaling` are decided about each second while they have work, and woken by it when they
//! sleep.
//!
//! ```text
//! watch (pods, Deployments) and broker (what waits, what agents say)
//!   → observe (pure) → decide (the crate `scaler`, pure) → choose (pure) → act (orders, marks, the number) → keep, tell
//! ```
//! It must not know how documents are worked, nor own a number that `mode` gives to somebody else.

mod act;
pub mod board;
pub mod choose;
pub mod deadlines;
pub mod devices;
mod follower;
pub mod foreseen;
pub mod keeping;
pub mod kinds;
mod namespace;
pub mod observe;
pub mod pool;
pub mod rounds;
pub mod seen;
pub mod settings;
pub mod sleepers;
pub mod starts;
pub mod told;
pub mod undisturbed;
pub mod waits;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use crds::{AgentPool, Pipeline};
use futures::StreamExt;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{ResourceExt, core::DeserializeGuard, runtime::reflector::Store};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use self::{
    devices::{Wish, grants},
    namespace::{Found, Namespace, Pools},
    rounds::Rounds,
    seen::{Mirror, Pool, SeenDeployment, SeenPod},
    sleepers::Sleepers,
};
use crate::{chain, context::Context, watching::Scope};

/// The condition of a pool that says whether the autoscaler acts.
pub const CONDITION: &str = "ScalingActive";

/// Pools that are awake are looked at so often.
const EVERY: Duration = Duration::from_secs(1);
/// A broker that cannot be listened to is tried again after this.
const RETRY: Duration = Duration::from_secs(5);
/// So long may the first lists take, before pools are told that pods cannot be seen.
const LISTING: Duration = Duration::from_secs(10);
/// Devices are shared out so often, in seconds: a pool that is to have none of them first takes back what it had asked for.
const SHARED_EVERY: f64 = 10.0;
/// Namespaces that are looked at at once. One whose broker does not answer takes a place for some seconds.
const AT_ONCE: usize = 64;

/// What is watched.
struct Watched {
    pools: Pools,
    pipelines: Store<DeserializeGuard<Pipeline>>,
    pods: Arc<Mirror<SeenPod>>,
    deployments: Arc<Mirror<SeenDeployment>>,
}

/// Scales the pools of a scope until it is stopped.
pub async fn run(ctx: Arc<Context>, scope: Scope, stop: CancellationToken) {
    let (pools, changed_pools) = scope.objects::<DeserializeGuard<AgentPool>>(&ctx);
    let (pipelines, changed_pipelines) = scope.objects::<DeserializeGuard<Pipeline>>(&ctx);
    let (pods, deployments) = (Arc::new(Mirror::default()), Arc::new(Mirror::default()));
    let following = futures::future::join4(
        changed_pools.for_each(async |_| {}),
        changed_pipelines.for_each(async |_| {}),
        scope.mirror::<Pod, _>(&ctx, Arc::clone(&pods), SeenPod::of),
        scope.mirror::<Deployment, _>(&ctx, Arc::clone(&deployments), SeenDeployment::of),
    );
    let watched = Watched { pools, pipelines, pods, deployments };
    let mut scaling = Scaling {
        ctx: Arc::clone(&ctx),
        watched,
        rounds: Rounds::new(AT_ONCE),
        sleepers: Sleepers::default(),
        woken: BTreeSet::new(),
        wishes: BTreeMap::new(),
        granted: HashMap::new(),
        granted_at: 0.0,
        began: Instant::now(),
    };
    tokio::select! {
        // A write that is under way is given up with it: it was sent under conditions.
        () = stop.cancelled() => {}
        _ = following => {}
        () = scaling.live() => {}
    }
}

struct Scaling {
    ctx: Arc<Context>,
    watched: Watched,
    rounds: Rounds<Namespace, Looked>,
    sleepers: Sleepers,
    /// Pools for which something came while their namespace was looked at.
    woken: BTreeSet<Pool>,
    /// What pools want of devices that others may want as well, by namespace.
    wishes: BTreeMap<String, Vec<Wish>>,
    /// Pods that pools may have which share too few devices, and when that was worked out, in seconds since 1970.
    granted: HashMap<Pool, u32>,
    granted_at: f64,
    began: Instant,
}

/// What came of a look at a namespace.
struct Looked {
    asleep: Vec<String>,
    wishes: Vec<Wish>,
}

impl Scaling {
    async fn live(&mut self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.look(None),
                (namespace, pool) = self.sleepers.next() => self.wake(namespace, pool),
                (name, namespace, looked) = self.rounds.next() => self.looked(name, namespace, looked),
            }
        }
    }

    /// Something came for a pool that slept.
    fn wake(&mut self, namespace: String, pool: String) {
        if let Some(idle) = self.rounds.idle(&namespace) {
            idle.wake(&pool);
            self.look(Some(&namespace));
        } else if self.rounds.is_busy(&namespace) {
            self.woken.insert((namespace, pool));
        }
    }

    /// Begins a look at all namespaces that are not being looked at, or at one of them.
    fn look(&mut self, only: Option<&str>) {
        if !self.watched.is_complete() && self.began.elapsed() < LISTING {
            return;
        }
        let mut found = self.watched.found();
        for ((namespace, pool), most) in &self.granted {
            if let Some(found) = found.get_mut(namespace) {
                found.granted.insert(pool.clone(), *most);
            }
        }
        // A namespace that has no pool any more is looked at once again, and ends what it had begun.
        let names: BTreeSet<String> = match only {
            Some(name) => BTreeSet::from([name.to_owned()]),
            None => found.keys().chain(self.rounds.names()).cloned().collect(),
        };
        for name in names {
            let has = found.remove(&name).unwrap_or_default();
            let (ctx, of, latest) = (Arc::clone(&self.ctx), name.clone(), self.watched.pools.clone());
            self.rounds.begin(name, move |mut namespace: Namespace| async move {
                let pools = has.pools.clone();
                let asleep = namespace.look(&ctx, &of, has, &latest).await;
                let wishes = namespace.wishes(&pools, follower::now());
                (namespace, Looked { asleep, wishes })
            });
        }
        let now = follower::now();
        if now - self.granted_at >= SHARED_EVERY {
            self.granted_at = now;
            let wishes: Vec<Wish> = self.wishes.values().flatten().cloned().collect();
            self.granted = grants(&wishes);
        }
    }

    fn looked(&mut self, name: String, mut namespace: Namespace, looked: Looked) {
        for pool in looked.asleep {
            let (ctx, pool) = (Arc::clone(&self.ctx), (name.clone(), pool));
            self.sleepers.wait_for(pool.clone(), || listen(ctx, pool));
        }
        self.sleepers.only(&name, |pool| namespace.looks_at(pool));
        let woken: Vec<Pool> = self.woken.extract_if(.., |(of, _)| *of == name).collect();
        woken.iter().for_each(|(_, pool)| namespace.wake(pool));
        if namespace.is_empty() {
            self.wishes.remove(&name);
            return;
        }
        self.wishes.insert(name.clone(), looked.wishes);
        self.rounds.keep(name.clone(), namespace);
        if !woken.is_empty() {
            self.look(Some(&name));
        }
    }
}

/// Returns when something may have come for a pool.
async fn listen(ctx: Arc<Context>, (namespace, pool): Pool) {
    if let Err(error) = ctx.brokers.woken(&namespace, &pool).await {
        tracing::debug!(namespace, pool, error = %chain(&error), "nobody listens for work");
        sleep(RETRY).await;
    }
}

impl Watched {
    /// Whether pods and Deployments were listed.
    fn is_complete(&self) -> bool {
        self.pods.is_complete() && self.deployments.is_complete()
    }

    /// What the cluster has, by namespace, where anything may be scaled.
    fn found(&self) -> HashMap<String, Found> {
        let mut all: HashMap<String, Found> = HashMap::new();
        for guarded in self.pools.state() {
            let namespace = guarded.namespace().unwrap_or_default();
            all.entry(namespace)
                .or_insert_with(|| Found { at: follower::now(), ..Found::default() })
                .pools
                .push(guarded);
        }
        all.retain(|_, found| {
            let is_scaled = |pool: &AgentPool| pool.spec.scaling.is_some();
            // One that cannot be read may be scaled.
            found.pools.iter().any(|pool| pool.0.as_ref().map_or(true, is_scaled))
        });
        if all.is_empty() {
            return all;
        }
        for guarded in self.pipelines.state() {
            if let Some(found) = guarded.namespace().and_then(|namespace| all.get_mut(&namespace)) {
                found.pipelines.push(guarded);
            }
        }
        if let Some(pods) = self.pods.by_pool() {
            all.values_mut().for_each(|found| found.pods = Some(HashMap::new()));
            for ((namespace, pool), pods) in pods {
                if let Some(there) = all.get_mut(&namespace).and_then(|found| found.pods.as_mut()) {
                    there.insert(pool, pods);
                }
            }
        }
        for ((namespace, pool), deployments) in self.deployments.by_pool().unwrap_or_default() {
            if let (Some(found), Some(deployment)) = (all.get_mut(&namespace), deployments.into_iter().next()) {
                found.deployments.insert(pool, deployment);
            }
        }
        all
    }
}
