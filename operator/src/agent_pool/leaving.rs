//! When what a deleted pool has at the broker may be removed: after its agents have ended. Pure.
//!
//! ```text
//! End: the Deployment is deleted ──▶ Wait: its pods end ──▶ Remove          ──▶ the finalizer goes
//!                                         │ not in time ──▶ RemoveRegardless ─▶
//! Keep: somebody wants the agents to outlive their pool ────────────────────────▶
//! ```
//! A stream that is taken away under an agent takes along what that one has in hand, and an agent that still runs would take
//! tasks of a pool of the same name. The finalizer keeps that name, so whatever bears it is of this pool, or of one before whose
//! finalizer somebody took away by hand.
//!
//! Guarantees: it ends. An agent that should have ended and has not, because its node is gone or because nobody tells it to, is
//! waited for until [`MARGIN`] after its time. Since when is kept in a condition, so that another process goes on with it.

use crds::{AgentPool, AgentPoolStatus};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    jiff::{SignedDuration, Timestamp},
};
use kube::{Resource, ResourceExt};

use crate::{
    condition::{self, Observed, State},
    names::{self, Component, FIELD_MANAGER, POOL_LABEL},
    watching::namespace_of,
};

/// The condition of a pool that waits for its agents.
pub const CONDITION: &str = "Leaving";
/// After the time that a pod is given to end: for the controllers that tell it to, and for the kubelet, which kills it then.
pub const MARGIN: SignedDuration = SignedDuration::from_secs(60);
/// No agent is given longer to end (`validate`, `build`). Whoever may make pods could else hold a pool as long as he likes, by
/// one that bears its labels.
const LONGEST: i64 = 16 * 60;
/// What Kubernetes gives a pod that does not say.
const USUAL: i64 = 30;
/// Pods that a message names; there may be thousands.
const NAMED: usize = 3;
/// Finalizer of an object whose children are to outlive it (`kubectl delete --cascade=orphan`).
const ORPHAN: &str = "orphan";

/// The Deployment of a pool that is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agents {
    /// Nobody makes agents any more.
    Ended,
    /// It is there, and the pool's.
    Running,
    /// It is to outlive the pool.
    Kept,
}

/// Pods that have not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// How many.
    pub count: usize,
    names: Vec<String>,
    /// When the last of those should be gone that were told to end.
    told: Option<Timestamp>,
    /// The longest time that one may take of those that were not.
    untold: Option<SignedDuration>,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The Deployment is deleted.
    End,
    /// Agents end.
    Wait,
    /// Nobody is left.
    Remove,
    /// Somebody is left who should have ended.
    RemoveRegardless,
    /// The agents go on without their pool, with what they have at the broker.
    Keep,
}

/// Agents that did not end in time; whoever administers their nodes can fix it.
#[derive(Debug, thiserror::Error)]
#[error(
    "{agents} should have ended, and what the pool has at the broker is removed although they may still run; they would take tasks \
     of a pool of the same name: `kubectl delete replicasets,pods --namespace {namespace} --selector {selector}`, with `--force` \
     where their node is gone for good"
)]
pub struct NotEnded {
    agents: String,
    namespace: String,
    selector: String,
}

impl Agents {
    /// What the Deployment of the pool's name says; one that is not ours says nothing.
    pub fn of(pool: &AgentPool, found: Option<&Deployment>) -> Self {
        let Some(found) = found.filter(|found| is_made_for(found, &pool.name_any())) else { return Self::Ended };
        let owners = found.owner_references();
        let is_orphaned = owners.is_empty() || pool.finalizers().iter().any(|finalizer| finalizer == ORPHAN);
        match owners.iter().any(|owner| Some(&owner.uid) == pool.metadata.uid.as_ref()) {
            _ if found.metadata.deletion_timestamp.is_some() => Self::Ended,
            _ if is_orphaned => Self::Kept,
            true => Self::Running,
            // One of a pool before: Kubernetes deletes it, as its owner is gone.
            false => Self::Ended,
        }
    }
}

fn is_made_for(deployment: &Deployment, pool: &str) -> bool {
    let label = |key: &str| deployment.labels().get(key).map(String::as_str);
    label(POOL_LABEL) == Some(pool) && label("app.kubernetes.io/managed-by") == Some(FIELD_MANAGER)
}

impl Pods {
    /// Takes note of one more pod, unless its containers have ended.
    pub fn add(&mut self, pod: &Pod) {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return;
        }
        self.count += 1;
        if self.names.len() < NAMED {
            self.names.push(pod.name_any());
        }
        match ends(pod) {
            Some(at) => self.told = self.told.max(Some(at)),
            None => {
                let given = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(USUAL);
                self.untold = self.untold.max(Some(SignedDuration::from_secs(given.clamp(0, LONGEST))));
            }
        }
    }

    /// When nobody is waited for any more, if agents are told to end since then.
    pub fn until(&self, since: Timestamp) -> Timestamp {
        let untold = self.untold.map(|given| later(since, given));
        later(self.told.max(untold).unwrap_or(since), MARGIN)
    }

    fn shown(&self) -> String {
        let more = self.count.saturating_sub(self.names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{} of its agents ({}{more})", self.count, self.names.join(", "))
    }
}

/// When a pod that was told to end should be gone.
fn ends(pod: &Pod) -> Option<Timestamp> {
    let at = pod.meta().deletion_timestamp.as_ref()?.0;
    let given = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
    Some(later(at, SignedDuration::from_secs(LONGEST.saturating_sub(given).min(0))))
}

/// A time far away stays as it is.
fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(at)
}

/// What is to be done next for a pool that is being deleted.
pub fn step(agents: Agents, pods: &Pods, since: Timestamp, now: Timestamp) -> Step {
    match agents {
        Agents::Kept => Step::Keep,
        Agents::Running => Step::End,
        Agents::Ended if pods.count == 0 => Step::Remove,
        Agents::Ended if now < pods.until(since) => Step::Wait,
        Agents::Ended => Step::RemoveRegardless,
    }
}

/// Since when a pool waits for its agents: since now if it has not begun.
pub fn since(pool: &AgentPool, now: Timestamp) -> Timestamp {
    let conditions = pool.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let begun = conditions.iter().find(|condition| condition.type_ == CONDITION && condition.status == "True");
    begun.map_or(now, |begun| begun.last_transition_time.0)
}

/// The status of a pool that waits for its agents.
pub fn status(pool: &AgentPool, pods: &Pods, now: Timestamp) -> AgentPoolStatus {
    let previous = pool.status.clone().unwrap_or_default();
    let message = waiting(pool, pods, since(pool, now));
    let leaving = Observed::new(CONDITION, State::True, "AgentsEnd", message.clone());
    let ready = Observed::new("Ready", State::False, CONDITION, message);
    let generation = pool.metadata.generation;
    let conditions = condition::replace(&previous.conditions, ready, generation, now);
    AgentPoolStatus { conditions: condition::replace(&conditions, leaving, generation, now), ..previous }
}

/// The status of a pool whose agents first work the documents of a pipeline to their end that is being deleted, too.
pub fn draining(pool: &AgentPool, pipeline: &str, now: Timestamp) -> AgentPoolStatus {
    let previous = pool.status.clone().unwrap_or_default();
    let message = format!(
        "the agents work the documents of pipeline {pipeline} to their end before the pool goes; to give them up, set its \
         deletionPolicy to Cancel"
    );
    let ready = Observed::new("Ready", State::False, "Draining", message);
    let conditions = condition::replace(&previous.conditions, ready, pool.metadata.generation, now);
    AgentPoolStatus { conditions, ..previous }
}

fn waiting(pool: &AgentPool, pods: &Pods, since: Timestamp) -> String {
    if pods.count == 0 {
        return "the agents are told to end; then what the pool has at the broker is removed".to_owned();
    }
    // In whole seconds, as `since` is read back.
    let until = Timestamp::from_second(pods.until(since).as_second()).unwrap_or(since);
    format!(
        "{} end what they have in hand; then what the pool has at the broker is removed, at {until} in any case. One whose node is gone \
         for good ends by `kubectl delete pod --namespace {} NAME --force`",
        pods.shown(),
        namespace_of(pool)
    )
}

/// That a pool went before its agents.
pub fn not_ended(pool: &AgentPool, pods: &Pods) -> NotEnded {
    let selector = names::selector_text(&names::selector(Component::Agents, &pool.name_any()));
    NotEnded { agents: pods.shown(), namespace: namespace_of(pool), selector }
}

/// That a pool's agents outlive it, and what becomes of them.
pub fn kept(pool: &AgentPool) -> String {
    format!(
        "the agents were to outlive their pool (--cascade=orphan), so they go on with their tasks. A pool of the same name takes both \
         over; to end them: `kubectl delete deployment --namespace {} {}`. Their tasks stay at the broker until a pool of the \
         same name is deleted with its agents",
        namespace_of(pool),
        names::agents(&pool.name_any())
    )
}
