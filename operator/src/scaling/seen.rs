//! The pods and Deployments of pools as a watch shows them, cut down to what scaling looks at: ten thousand whole pods would be
//! a hundred megabytes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{Resource, ResourceExt, runtime::watcher::Event};

use crate::{
    agent_pool::{
        pods_seen::{condition, devices},
        want::NO_CLAIM,
    },
    names::{DELETION_COST, POOL_LABEL},
};

/// A namespace and a pool in it.
pub type Pool = (String, String);

/// A pod of a pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenPod {
    /// Its name, which is also its agent's.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// When it was created, in seconds since 1970.
    pub created: f64,
    /// Since when it is ready, in seconds since 1970. `None`: it is not.
    pub ready_since: Option<f64>,
    /// Whether a container of it was started again.
    pub restarted: bool,
    /// Whether it has a node.
    pub has_node: bool,
    /// Whether it is being deleted.
    pub leaving: bool,
    /// Whether it is marked as one that a ReplicaSet should take away first.
    pub marked: bool,
    /// Whether no node has a device left for it.
    pub lacks_device: bool,
    /// Its priority, as its PriorityClass gives it.
    pub priority: i32,
}

/// A pool's Deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenDeployment {
    /// Its name, namespace, uid, generation and resourceVersion, to be written under the condition that it still is that one.
    pub reference: Deployment,
    /// Pods that it asks for.
    pub replicas: u32,
    /// Pods that it has, those that leave not counted, by its own word.
    pub pods: u32,
    /// Whether pods of an older kind are being replaced.
    pub is_rolling: bool,
}

impl SeenPod {
    /// A pod of a pool; `None` where it is nobody's, or has ended.
    pub fn of(pod: &Pod) -> Option<(Pool, Self)> {
        let status = pod.status.as_ref();
        if matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed")) {
            return None;
        }
        let ready = condition(pod, "Ready").filter(|ready| ready.status == "True");
        let created = seconds(pod.metadata.creation_timestamp.as_ref()).unwrap_or_default();
        let seen = Self {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            created,
            ready_since: ready.map(|ready| seconds(ready.last_transition_time.as_ref()).unwrap_or(created)),
            restarted: status
                .and_then(|status| status.container_statuses.as_ref())
                .is_some_and(|containers| containers.iter().any(|container| container.restart_count > 0)),
            has_node: pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()),
            leaving: pod.metadata.deletion_timestamp.is_some(),
            marked: pod.annotations().contains_key(DELETION_COST),
            lacks_device: lacks_device(pod),
            priority: pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default(),
        };
        Some((pool_of(&pod.metadata)?, seen))
    }
}

/// Whether the scheduler says of a pod that a device is what it lacks. It says so in words alone.
fn lacks_device(pod: &Pod) -> bool {
    let unplaced = condition(pod, "PodScheduled").filter(|scheduled| scheduled.status == "False");
    let why = unplaced.and_then(|scheduled| scheduled.message.as_deref());
    why.is_some_and(|why| {
        let mut resources = devices(pod).peekable();
        if resources.peek().is_none() {
            return claims_devices(pod) && why.contains(NO_CLAIM);
        }
        resources.any(|device| why.contains(&format!("Insufficient {device}")))
    })
}

fn claims_devices(pod: &Pod) -> bool {
    let claims = pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_ref());
    claims.is_some_and(|claims| !claims.is_empty())
}

impl SeenDeployment {
    /// A Deployment of a pool; `None` where it is nobody's, or is being deleted.
    pub fn of(deployment: &Deployment) -> Option<(Pool, Self)> {
        let metadata = &deployment.metadata;
        if metadata.deletion_timestamp.is_some() {
            return None;
        }
        let status = deployment.status.clone().unwrap_or_default();
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let reference = ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            generation: metadata.generation,
            resource_version: metadata.resource_version.clone(),
            ..ObjectMeta::default()
        };
        let seen = Self {
            reference: Deployment { metadata: reference, ..Deployment::default() },
            replicas: u32::try_from(replicas).unwrap_or_default(),
            pods: status.replicas.and_then(|pods| u32::try_from(pods).ok()).unwrap_or_default(),
            is_rolling: status.updated_replicas.unwrap_or_default() < status.replicas.unwrap_or_default(),
        };
        Some((pool_of(metadata)?, seen))
    }
}

fn pool_of(metadata: &ObjectMeta) -> Option<Pool> {
    let pool = metadata.labels.as_ref()?.get(POOL_LABEL)?;
    Some((metadata.namespace.clone()?, pool.clone()))
}

fn seconds(time: Option<&Time>) -> Option<f64> {
    time.map(|time| time.0.as_millisecond() as f64 / 1_000.0)
}

/// Objects of one kind, by namespace and name, kept as a watch tells of them.
pub struct Mirror<V> {
    state: Mutex<State<V>>,
}

struct State<V> {
    known: HashMap<Pool, (Pool, V)>,
    /// What the list that is being read has shown so far.
    listed: Option<HashMap<Pool, (Pool, V)>>,
    complete: bool,
}

impl<V> Default for Mirror<V> {
    fn default() -> Self {
        Self { state: Mutex::new(State { known: HashMap::new(), listed: None, complete: false }) }
    }
}

impl<V: Clone> Mirror<V> {
    /// Takes note of what the watch says.
    pub fn take<K: Resource>(&self, event: Event<K>, of: impl Fn(&K) -> Option<(Pool, V)>) {
        let name = |object: &K| {
            let meta = object.meta();
            (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
        };
        let mut state = self.state();
        match event {
            Event::Init => state.listed = Some(HashMap::new()),
            Event::InitApply(object) => {
                if let (Some(seen), Some(listed)) = (of(&object), &mut state.listed) {
                    listed.insert(name(&object), seen);
                }
            }
            Event::InitDone => {
                if let Some(listed) = state.listed.take() {
                    state.known = listed;
                }
                state.complete = true;
            }
            Event::Apply(object) => match of(&object) {
                Some(seen) => drop(state.known.insert(name(&object), seen)),
                None => drop(state.known.remove(&name(&object))),
            },
            Event::Delete(object) => drop(state.known.remove(&name(&object))),
        }
    }

    /// Whether the first list was read.
    pub fn is_complete(&self) -> bool {
        self.state().complete
    }

    /// All objects, by the pool that they are of; `None` before the first list was read.
    pub fn by_pool(&self) -> Option<HashMap<Pool, Vec<V>>> {
        let state = self.state();
        if !state.complete {
            return None;
        }
        let mut pools: HashMap<Pool, Vec<V>> = HashMap::new();
        for (pool, seen) in state.known.values() {
            pools.entry(pool.clone()).or_default().push(seen.clone());
        }
        Some(pools)
    }

    fn state(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
