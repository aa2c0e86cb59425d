//! Finds the pool that a ScaledObject is about, and what the autoscaler wants for it. Knows nothing of gRPC but its status.

use crds::{AgentPool, ScalingMode};
use futures::{Stream, StreamExt, future};
use kube::{Api, Client, core::DeserializeGuard, runtime::watcher};
use tokio::{sync::watch, time::Instant};
use tonic::Status;

use super::{decided::Decided, protocol::ScaledObjectRef};
use crate::{apply, chain, client};

/// Key of a ScaledObject's metadata that names the pool.
const POOL: &str = "pool";

/// The pools of a cluster.
#[derive(Clone)]
pub(super) struct Pools {
    pub(super) calls: Client,
    pub(super) watches: Client,
    pub(super) namespaces: Vec<String>,
    pub(super) decided: watch::Receiver<Decided>,
}

/// A pool by its place.
pub(super) struct Place {
    namespace: String,
    name: String,
}

impl Pools {
    /// Where the pool is that a ScaledObject is about.
    pub(super) fn place(&self, scaled: &ScaledObjectRef) -> Result<Place, Status> {
        let namespace = scaled.namespace.clone();
        if !self.namespaces.is_empty() && !self.namespaces.contains(&namespace) {
            let text = format!("this operator does not look after namespace \"{namespace}\"");
            return Err(Status::permission_denied(text));
        }
        match scaled.scaler_metadata.get(POOL).filter(|name| !name.is_empty()) {
            Some(name) => Ok(Place { namespace, name: name.clone() }),
            None => Err(Status::invalid_argument(format!(
                "the trigger of ScaledObject {namespace}/{} names no pool: set metadata.{POOL} to the name of its AgentPool",
                scaled.name
            ))),
        }
    }

    /// Agents that are wanted now.
    pub(super) async fn desired(&self, place: &Place) -> Result<u32, Status> {
        let api: Api<AgentPool> = Api::namespaced(self.calls.clone(), &place.namespace);
        let asked = apply::within("read", format!("AgentPool {place}"), api.get_opt(&place.name)).await;
        let pool = asked.map_err(|error| Status::unavailable(chain(&error)))?;
        desired_now(&pool.ok_or_else(|| place.missing())?, &self.decided)
    }

    /// Agents that are wanted, now and at each change, for as long as the pool is there.
    pub(super) fn changes(&self, place: Place) -> impl Stream<Item = Result<u32, Status>> + use<> {
        let api: Api<DeserializeGuard<AgentPool>> = Api::namespaced(self.watches.clone(), &place.namespace);
        let decided = self.decided.clone();
        let only = client::watching().fields(&format!("metadata.name={}", place.name));
        let mut told = None;
        let mut there = false;
        watcher(api, only)
            .filter_map(move |event| {
                let answer = match event {
                    Ok(watcher::Event::InitApply(pool) | watcher::Event::Apply(pool)) => {
                        there = true;
                        Some(match pool.0 {
                            Ok(pool) => desired_now(&pool, &decided),
                            Err(invalid) => Err(Status::failed_precondition(invalid.to_string())),
                        })
                    }
                    Ok(watcher::Event::InitDone) if there => None,
                    Ok(watcher::Event::InitDone | watcher::Event::Delete(_)) => Some(Err(place.missing())),
                    Ok(watcher::Event::Init) => None,
                    Err(error) => Some(Err(Status::unavailable(chain(&error)))),
                };
                // The status changes with every count; only another number is news.
                let news = answer.filter(|answer| !matches!(answer, Ok(desired) if told == Some(*desired)));
                if let Some(Ok(desired)) = &news {
                    told = Some(*desired);
                }
                future::ready(news)
            })
            // KEDA asks again after an error; this stream would only repeat it.
            .scan(false, |failed, answer| {
                let over = *failed;
                *failed = answer.is_err();
                future::ready((!over).then_some(answer))
            })
    }
}

impl Place {
    fn missing(&self) -> Status {
        Status::not_found(format!("there is no AgentPool {self}; metadata.{POOL} of the trigger names it"))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What the autoscaler wants for a pool now: what was decided long ago is not known to hold.
fn desired_now(pool: &AgentPool, decided: &watch::Receiver<Decided>) -> Result<u32, Status> {
    let desired = desired_of(pool)?;
    if decided.borrow().is_of(Instant::now()) {
        return Ok(desired);
    }
    Err(Status::unavailable(
        "what was decided last may be old: no process of the operator leads, or one does only since a moment",
    ))
}

/// What the autoscaler wants for a pool, where it is KEDA that acts on it.
pub fn desired_of(pool: &AgentPool) -> Result<u32, Status> {
    let Some(scaling) = &pool.spec.scaling else {
        return Err(Status::failed_precondition("the pool has no spec.scaling: set it, with mode External"));
    };
    if scaling.mode != ScalingMode::External {
        return Err(Status::failed_precondition(format!(
            "spec.scaling.mode of the pool is {:?}: set it to External, or two owners write its replicas",
            scaling.mode
        )));
    }
    let status = pool.status.as_ref().and_then(|status| status.scaling.as_ref());
    // A status of another mode is from before the hand-over.
    let decided = status.filter(|status| status.mode == Some(ScalingMode::External)).and_then(|status| status.desired);
    decided
        .and_then(|desired| u32::try_from(desired).ok())
        .ok_or_else(|| Status::unavailable("the autoscaler has not decided about the pool yet"))
}
