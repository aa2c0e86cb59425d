//! Pools that want the same device, of which there are too few. Pure.
//!
//! How many there are is not asked of the nodes, which others use as well and which an operator of some namespaces may not see:
//! that devices are missing shows in pods that find no node for want of one. Then there are as many as pods of these pools hold.
//! Of devices that are claimed, which others want is not known either: who claims by the same templates wants the same.

use std::collections::{BTreeMap, HashMap};

use crds::{AgentPool, ScalingMode};
use kube::ResourceExt;
use queue::{Depth, Priority};
use scaler::{Claim, share};

use super::{
    foreseen::UNKNOWN_SERVICE,
    observe::{Sight, service_time},
    seen::{Pool, SeenPod},
};
use crate::watching::namespace_of;

/// A pod that lacks a device for so long, in seconds, does not only wait for the scheduler's next round.
const LACKING: f64 = 10.0;

/// By so much more another pool must be helped before it asks in the place of the one that asks already: else they would take turns.
const TAKES_OVER: f64 = 1.5;

/// What a pool that is scaled wants of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// The pool.
    pub pool: Pool,
    /// What each of its pods takes one of: the nodes' resource, or what the same templates of a namespace claim.
    pub resource: String,
    /// Pods that have a node and stay.
    pub held: u32,
    /// Pods that have one and are on their way out.
    pub leaving: u32,
    /// Pods that have found no node for want of a device, long enough.
    pub lacking: u32,
    /// The pods' priority.
    pub priority: i32,
    /// Pods that the decision asks for.
    pub wanted: u32,
    /// See [`benefit`].
    pub benefit: f64,
}

impl Wish {
    /// What a pool wants of which this was seen, and that would have `wanted` agents. Nothing where somebody else owns their
    /// number, where they ask for no device, and where they have fallen back and do without it. `now` is in seconds since 1970.
    pub fn of_pool(pool: &AgentPool, sight: &Sight, wanted: u32, now: f64) -> Option<Self> {
        let applies = pool.spec.scaling.as_ref().is_some_and(|scaling| scaling.mode == ScalingMode::Apply);
        let fell_back = pool.status.as_ref().is_some_and(|status| status.fallback.is_some());
        let resource = resource(pool).filter(|_| applies && !fell_back)?;
        let pods = sight.pods.as_deref().unwrap_or_default();
        let service =
            service_time(sight.agents.as_deref().unwrap_or_default()).map_or(UNKNOWN_SERVICE, |time| time.mean);
        Some(Self {
            wanted,
            benefit: sight.depth.as_ref().map_or(0.0, |depth| benefit(depth, service)),
            ..Self::of((namespace_of(pool), pool.name_any()), resource, pods, now)
        })
    }

    /// What a pool wants whose pods are these. `now` is in seconds since 1970.
    pub fn of(pool: Pool, resource: String, pods: &[SeenPod], now: f64) -> Self {
        let number = |is: &dyn Fn(&&SeenPod) -> bool| pods.iter().filter(is).count() as u32;
        Self {
            pool,
            resource,
            held: number(&|pod| pod.has_node && !pod.leaving),
            leaving: number(&|pod| pod.has_node && pod.leaving),
            lacking: number(&|pod| pod.lacks_device && !pod.leaving && now - pod.created >= LACKING),
            priority: pods.iter().map(|pod| pod.priority).max().unwrap_or_default(),
            wanted: 0,
            benefit: 0.0,
        }
    }
}

/// What each agent of a pool takes one of. A pool that asks for a resource and claims devices beside it shares the resource alone:
/// its claims, such as of a link between machines, are for what goes with it.
fn resource(pool: &AgentPool) -> Option<String> {
    let device = &pool.spec.device;
    if let Some(resource) = device.of_each_agent() {
        return Some(resource.to_owned());
    }
    let mut templates: Vec<&str> = device.claims.iter().map(|claim| claim.template.as_str()).collect();
    templates.sort_unstable();
    // No resource's name has a space.
    (!templates.is_empty()).then(|| format!("claims of {}: {}", namespace_of(pool), templates.join(" ")))
}

/// Seconds of work that wait, those of urgent documents weighted as they are when they are pulled.
pub fn benefit(depth: &Depth, service: f64) -> f64 {
    let weight = |class: Priority| f64::from(class.weight()) / f64::from(Priority::Normal.weight());
    let waits = Priority::ALL.into_iter().zip(depth.pending);
    waits.map(|(class, tasks)| tasks as f64 * weight(class)).sum::<f64>() * service
}

/// Pods that pools may have which want more of a device than there is. Pools that are not named are free.
///
/// One device more than there are is shared out: whom it would help most goes on asking for it, and gets the first that becomes
/// free; and whoever adds nodes sees that one is missing. A pool that has none goes on asking for one.
pub fn grants(wishes: &[Wish]) -> HashMap<Pool, u32> {
    let mut resources: BTreeMap<&str, Vec<&Wish>> = BTreeMap::new();
    for wish in wishes {
        resources.entry(&wish.resource).or_default().push(wish);
    }
    let scarce =
        resources.into_values().filter(|wishes| wishes.len() > 1 && wishes.iter().any(|wish| wish.lacking > 0));
    let mut grants = HashMap::new();
    for mut wishes in scarce {
        wishes.sort_by_key(|wish| &wish.pool);
        let there: u32 = wishes.iter().map(|wish| wish.held + wish.leaving).sum();
        let claims: Vec<Claim> = wishes.iter().map(|wish| wish.claim()).collect();
        for (wish, grant) in wishes.iter().zip(share(there + 1, &claims)) {
            if grant.replicas < wish.wanted {
                grants.insert(wish.pool.clone(), grant.replicas.max(1));
            }
        }
    }
    grants
}

impl Wish {
    fn claim(&self) -> Claim {
        Claim {
            pool: format!("{}/{}", self.pool.0, self.pool.1),
            priority: self.priority,
            devices: 1,
            held: self.held,
            wanted: self.wanted,
            benefit: if self.lacking > 0 { self.benefit * TAKES_OVER } else { self.benefit },
        }
    }
}
