//! The pools of a namespace in one second: those that are awake are looked at together, because the work of one is the next
//! one's soon.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crds::{AgentPool, Pipeline, PipelineSpec, Stage};
use futures::{StreamExt, stream};
use kube::{
    Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::reflector::{ObjectRef, Store},
};
use scaler::ColdStart;

use super::{
    deadlines::{Times, ahead, dated, deadlines},
    devices::Wish,
    follower::{self, Follower},
    foreseen::{Branches, Load, Remembered, foreseen, handed_on, service_of, upstream},
    kinds::{by_stage, waiting},
    observe::Sight,
    pool::Outlook,
    seen::{SeenDeployment, SeenPod},
};
use crate::{chain, context::Context, watching::namespace_of};

/// Pools that are looked at at once.
const AT_ONCE: usize = 16;
/// A pool that sleeps is looked at this often, in seconds, in case its waking was lost.
const LOOK: f64 = 30.0;
/// Assumed of a pool's first start, in seconds.
const FIRST_START: f64 = 10.0;

/// The pools as they are now.
pub type Pools = Store<DeserializeGuard<AgentPool>>;

/// What the cluster has of a namespace.
#[derive(Default)]
pub struct Found {
    /// When that was looked at, in seconds since 1970.
    pub at: f64,
    /// Its pools.
    pub pools: Vec<Arc<DeserializeGuard<AgentPool>>>,
    /// Its pipelines.
    pub pipelines: Vec<Arc<DeserializeGuard<Pipeline>>>,
    /// Pods by pool; `None` before they were listed.
    pub pods: Option<HashMap<String, Vec<SeenPod>>>,
    /// Deployments by pool.
    pub deployments: HashMap<String, SeenDeployment>,
    /// Pods that pools may have which share too few devices.
    pub granted: HashMap<String, u32>,
}

/// A namespace with pools that are scaled.
#[derive(Default)]
pub struct Namespace {
    watched: BTreeMap<String, Watched>,
}

/// A pool that is looked at: one that is scaled, or one whose work becomes such a one's.
#[derive(Default)]
struct Watched {
    /// Of the pool that is scaled.
    uid: Option<String>,
    sleeps: bool,
    /// When it is looked at though it sleeps, in seconds since 1970.
    look_at: f64,
    /// When it was looked at, in seconds since 1970.
    looked_at: f64,
    sight: Sight,
    remembered: Remembered,
    /// Whether tasks of it were ever seen at the broker.
    had_tasks: bool,
    /// Where it is scaled.
    follower: Option<Follower>,
}

impl Namespace {
    /// Something came for a pool.
    pub fn wake(&mut self, pool: &str) {
        if let Some(watched) = self.watched.get_mut(pool) {
            watched.sleeps = false;
        }
    }

    /// Whether a pool is looked at, be it asleep.
    pub fn looks_at(&self, pool: &str) -> bool {
        self.watched.contains_key(pool)
    }

    /// Whether nothing is scaled here.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// One second. Returns the pools that sleep from now on. `latest` says what becomes of the pools meanwhile.
    pub async fn look(&mut self, ctx: &Context, namespace: &str, found: Found, latest: &Pools) -> Vec<String> {
        let now = follower::now();
        let pools: BTreeMap<String, &AgentPool> = found
            .pools
            .iter()
            .filter_map(|pool| pool.0.as_ref().ok())
            .filter(|pool| pool.metadata.deletion_timestamp.is_none())
            .map(|pool| (pool.name_any(), pool))
            .collect();
        let pipelines: Vec<(String, &PipelineSpec)> = found
            .pipelines
            .iter()
            .filter_map(|pipeline| pipeline.0.as_ref().ok())
            .filter(|pipeline| !pipeline.spec.suspend)
            .map(|pipeline| (pipeline.name_any(), &pipeline.spec))
            .collect();
        let unreadable: BTreeSet<String> = found
            .pools
            .iter()
            .filter(|pool| pool.0.is_err() && pool.meta().deletion_timestamp.is_none())
            .map(|pool| pool.name_any())
            .collect();
        self.meet(ctx, namespace, (&pools, &unreadable), &pipelines).await;
        self.wake_by_cluster(&pools, &found);
        self.see(ctx, namespace, &found, now).await;

        let loads: BTreeMap<String, Load> =
            self.watched.iter_mut().map(|(name, watched)| (name.clone(), watched.load(now))).collect();
        let (found, pools, pipelines, loads) = (&found, &pools, &pipelines, &loads);
        // One whose writes take long keeps no other waiting.
        let followed = self.watched.iter_mut().map(|(name, watched)| async move {
            if watched.sleeps {
                // Its work is on its way: it is looked at in a second.
                let expected = foreseen(name, pipelines, loads, &Branches::default(), now);
                watched.sleeps = watched.follower.is_none() || expected.is_empty();
                // Whenever it is looked at it is decided about, too: its days may say that work is about to come.
                if !watched.sleeps || watched.looked_at < now {
                    return;
                }
            }
            let may_sleep = match (&mut watched.follower, pools.get(name)) {
                (Some(follower), Some(pool)) => {
                    let arrived = watched.sight.depth.as_ref().map(|depth| depth.arrived);
                    let branches = follower.branches(&handed_on(name, pipelines, loads), arrived);
                    let outlook = Outlook {
                        granted: found.granted.get(name).copied(),
                        ..outlook(name, &watched.sight, pipelines, (loads, &branches), now)
                    };
                    let is_current = || is_current(latest, pool);
                    follower
                        .follow(ctx, (pool, &is_current), &watched.sight, found.deployments.get(name), outlook)
                        .await
                }
                // Its work matters to others; its number of agents is not ours.
                _ => watched.sight.depth.as_ref().is_some_and(|depth| depth.total() == 0),
            };
            watched.sleeps = may_sleep;
            if may_sleep {
                watched.look_at = now + LOOK;
            }
        });
        stream::iter(followed).for_each_concurrent(AT_ONCE, |followed| followed).await;
        let asleep = self.watched.iter().filter(|(_, watched)| watched.sleeps && watched.looked_at == now);
        asleep.map(|(name, _)| name.clone()).collect()
    }

    /// What the pools want of devices that others may want as well. `now` is in seconds since 1970.
    pub fn wishes(&self, pools: &[Arc<DeserializeGuard<AgentPool>>], now: f64) -> Vec<Wish> {
        let wishes = pools.iter().filter_map(|pool| pool.0.as_ref().ok()).filter_map(|pool| {
            let watched = self.watched.get(&pool.name_any())?;
            let wanted = watched.follower.as_ref().map_or(0, |follower| follower.wanted);
            Wish::of_pool(pool, &watched.sight, wanted, now)
        });
        wishes.collect()
    }

    /// Begins with the pools that are new, and ends with those that are gone. What was learned of one that this version cannot read
    /// stays for one that can.
    async fn meet(
        &mut self,
        ctx: &Context,
        namespace: &str,
        (pools, unreadable): (&BTreeMap<String, &AgentPool>, &BTreeSet<String>),
        pipelines: &[(String, &PipelineSpec)],
    ) {
        let scaled: BTreeSet<&String> =
            pools.iter().filter(|(_, pool)| pool.spec.scaling.is_some()).map(|(name, _)| name).collect();
        let is_there = |name: &String| pools.contains_key(name) || unreadable.contains(name);
        let before: BTreeSet<String> =
            scaled.iter().flat_map(|pool| upstream(pool, pipelines)).filter(is_there).collect();
        let is_gone = |name: &&String| !scaled.contains(name) && !before.contains(*name) && !unreadable.contains(*name);
        let is_another = |(name, watched): &(&String, &Watched)| {
            watched.follower.is_some() && pools.get(*name).is_some_and(|pool| pool.uid() != watched.uid)
        };
        let others = self.watched.iter().filter(is_another).map(|(name, _)| name);
        let gone: BTreeSet<String> = self.watched.keys().filter(is_gone).chain(others).cloned().collect();
        for name in gone {
            if let Some(follower) = self.watched.remove(&name).and_then(|watched| watched.follower) {
                follower.forget(ctx, namespace, &name).await;
            }
        }
        for name in before.iter().chain(scaled.iter().copied()) {
            let watched = self.watched.entry(name.clone()).or_default();
            match (scaled.contains(name), watched.follower.is_some()) {
                (true, false) => {
                    watched.uid = pools.get(name).and_then(|pool| pool.uid());
                    watched.follower = Some(Follower::default());
                    watched.sleeps = false;
                }
                (false, true) if !unreadable.contains(name) => {
                    if let Some(follower) = watched.follower.take() {
                        follower.forget(ctx, namespace, name).await;
                    }
                }
                _ => {}
            }
        }
    }

    /// A pool that has pods, or is to have some, or whose work is on its way, does not sleep.
    fn wake_by_cluster(&mut self, pools: &BTreeMap<String, &AgentPool>, found: &Found) {
        for (name, watched) in self.watched.iter_mut().filter(|(_, watched)| watched.follower.is_some()) {
            let least = pools.get(name).and_then(|pool| pool.spec.scaling.as_ref());
            let has_pods = found.pods.as_ref().is_none_or(|pods| pods.get(name).is_some_and(|pods| !pods.is_empty()));
            let asked_for = found.deployments.get(name).is_some_and(|deployment| deployment.replicas > 0);
            // A schedule may begin at any time.
            let bound = least.is_some_and(|scaling| scaling.min_replicas > 0 || !scaling.schedule.is_empty());
            if has_pods || asked_for || bound {
                watched.sleeps = false;
            }
        }
    }

    /// Reads what waits and what agents say, of the pools that are awake, or due.
    async fn see(&mut self, ctx: &Context, namespace: &str, found: &Found, now: f64) {
        let due = self.watched.iter_mut().filter(|(_, watched)| !watched.sleeps || watched.look_at <= now);
        let looks = due.map(|(name, watched)| async move {
            let (read, agents) =
                futures::join!(ctx.brokers.sample(namespace, name), ctx.brokers.agents_of(namespace, name));
            for error in [read.as_ref().err(), agents.as_ref().err()].into_iter().flatten() {
                tracing::debug!(namespace, pool = name, error = %chain(error), "a pool could not be looked at");
            }
            let pods = found.pods.as_ref().map(|pods| pods.get(name).cloned().unwrap_or_default());
            let read = match read {
                // Before its first task a pool has no stream, and nothing waits. A stream that is gone says nothing.
                Ok(None) => (!watched.had_tasks(ctx, namespace, name).await).then(Default::default),
                read => read.ok().flatten(),
            };
            let (depth, sample) = read.unzip();
            let waiting = waiting(&sample.unwrap_or_default());
            watched.had_tasks |= depth.as_ref().is_some_and(|depth| depth.arrived > 0);
            watched.sight = Sight { at: found.at, depth, agents: agents.ok(), pods, waiting };
            watched.looked_at = now;
            watched.look_at = now + LOOK;
            if watched.sight.depth.as_ref().is_none_or(|depth| depth.total() > 0) {
                watched.sleeps = false;
            }
        });
        stream::iter(looks).for_each_concurrent(AT_ONCE, |look| look).await;
    }
}

/// Whether a pool is still what was decided about: its number may be another one's since.
fn is_current(latest: &Pools, pool: &AgentPool) -> bool {
    let now = latest.get(&ObjectRef::new(&pool.name_any()).within(&namespace_of(pool)));
    let now = now.as_ref().and_then(|now| now.0.as_ref().ok());
    now.is_some_and(|now| (now.uid(), now.metadata.generation) == (pool.uid(), pool.metadata.generation))
}

/// What pipelines and other pools say of what a pool has to do.
fn outlook(
    name: &str,
    sight: &Sight,
    pipelines: &[(String, &PipelineSpec)],
    (loads, branches): (&BTreeMap<String, Load>, &Branches),
    now: f64,
) -> Outlook {
    let service = |pipeline: &str, stage: &Stage| service_of(pipeline, stage, pipelines, loads);
    let start = |pool: &str| loads.get(pool).map_or(0.0, |load| load.start);
    let times = Times { service: &service, start: &start };
    Outlook {
        foreseen: foreseen(name, pipelines, loads, branches, now),
        deadlines: deadlines(&sight.waiting, pipelines, times, now),
        deadlines_ahead: ahead(name, pipelines, loads, times, branches.probability(), now),
        granted: None,
    }
}

impl Watched {
    /// Whether the pool ever had tasks at the broker, as far as is known.
    async fn had_tasks(&mut self, ctx: &Context, namespace: &str, name: &str) -> bool {
        match &mut self.follower {
            Some(follower) if !self.had_tasks => follower.had_tasks(ctx, namespace, name).await,
            _ => self.had_tasks,
        }
    }

    /// How much is to do here, for the pools that come after.
    fn load(&mut self, now: f64) -> Load {
        let (seen, is_told) = (self.seen_load(now), self.sight.depth.is_some());
        self.remembered.load(seen, is_told, now)
    }

    fn seen_load(&self, now: f64) -> Load {
        let agents = self.sight.agents.as_deref().unwrap_or_default();
        let slots: f64 = agents.iter().filter(|agent| agent.ready).map(|agent| f64::from(agent.slots)).sum();
        let oldest = self.sight.pods.iter().flatten().map(|pod| now - pod.created).reduce(f64::max);
        let measured = self.follower.as_ref().and_then(Follower::cold_start);
        let start = ColdStart::with_guess(measured.as_ref()).mean;
        let mut load = Load {
            tasks: self.sight.depth.as_ref().map_or(0.0, |depth| depth.total() as f64),
            finished: self.sight.depth.as_ref().map(|depth| depth.finished),
            begins_in: if slots > 0.0 { 0.0 } else { (FIRST_START - oldest.unwrap_or(0.0)).max(1.0) },
            slots,
            waiting: by_stage(&self.sight.waiting),
            dated: dated(&self.sight.waiting, agents),
            // Of agents that could not be read, nobody knows that there are none.
            start: if slots > 0.0 || self.sight.agents.is_none() { 0.0 } else { start },
            ..Load::default()
        };
        load.learn(agents);
        load
    }
}
