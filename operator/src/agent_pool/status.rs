//! What a pool's status says after a pass, whether it went well or not. Pure.
//!
//! Counts that `counts` observes at the broker keep their last value here; the time lands only in a condition that flipped.

use crds::{AgentPool, AgentPoolStatus, EffectiveSettings, FallbackStatus, Span};
use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::ResourceExt;

use super::{
    Error,
    fallback::{self, Placement},
    ownership,
    pods_seen::{Group, PodsSeen},
    validate,
};
use crate::{
    apply, chain,
    condition::{self, Observed, State},
    names::{self, Component},
};

/// The reason of a pool without `scaling`.
const NOT_CONFIGURED: &str = "NotConfigured";

/// What a pass has seen after it applied everything.
pub struct Applied {
    /// The Deployment as it is.
    pub deployment: Deployment,
    /// What its pods lack, where it is not whole.
    pub pods: PodsSeen,
    /// What it is built for.
    pub placement: Placement,
}

impl Applied {
    /// Whether nothing is under way.
    pub fn is_settled(&self) -> bool {
        is_whole(&self.deployment)
    }
}

/// Whether a Deployment has exactly the pods that it should have, all ready and of its newest kind.
pub fn is_whole(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return false };
    let is = |count: Option<i32>| count.unwrap_or_default() == wanted;
    status.observed_generation >= deployment.metadata.generation
        && is(status.replicas)
        && is(status.updated_replicas)
        && is(status.ready_replicas)
}

/// The status after a pass.
pub fn after(pool: &AgentPool, outcome: &Result<Applied, Error>, now: Timestamp) -> AgentPoolStatus {
    let previous = pool.status.clone().unwrap_or_default();
    let fallback = match outcome {
        Ok(applied) => fallback::after(pool, applied, now),
        Err(_) => previous.fallback.clone(),
    };
    let mut observed = match outcome {
        Ok(applied) => observed(pool, applied, fallback.as_ref(), now),
        Err(error) => failed(error),
    };
    observed.push(scaling(pool, outcome, &previous.conditions));
    let counts = match outcome {
        Ok(applied) => applied
            .deployment
            .status
            .as_ref()
            .map(|status| (status.replicas.unwrap_or_default(), status.ready_replicas.unwrap_or_default())),
        Err(_) => None,
    };
    let (replicas, ready_replicas) = counts.unwrap_or((previous.replicas, previous.ready_replicas));
    AgentPoolStatus {
        observed_generation: pool.metadata.generation,
        desired_replicas: outcome.as_ref().map_or(previous.desired_replicas, |applied| Some(wanted(applied))),
        scaling: if outcome.is_ok() { ownership::status(pool) } else { ownership::status_after_failure(pool) },
        fallback,
        selector: names::selector_text(&names::selector(Component::Agents, &pool.name_any())),
        replicas,
        ready_replicas,
        effective: Some(effective(pool)),
        conditions: condition::merge(&previous.conditions, observed, pool.metadata.generation, now),
        ..previous
    }
}

/// The status of a pool that is being deleted, where that failed.
pub fn not_deleted(pool: &AgentPool, error: &Error, now: Timestamp) -> AgentPoolStatus {
    let previous = pool.status.clone().unwrap_or_default();
    let ready = Observed::new("Ready", State::False, error.reason(), chain(error));
    let conditions = condition::replace(&previous.conditions, ready, pool.metadata.generation, now);
    AgentPoolStatus { conditions, ..previous }
}

/// Agents that the Deployment asks for.
pub(super) fn wanted(applied: &Applied) -> i32 {
    applied.deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Whether the autoscaler acts, as far as a pass knows; the rest is the autoscaler's own word.
fn scaling(pool: &AgentPool, outcome: &Result<Applied, Error>, before: &[Condition]) -> Observed {
    const KIND: &str = crate::scaling::CONDITION;
    if let Err(Error::Validate(error @ validate::Error::Scaling { .. })) = outcome {
        return Observed::new(KIND, State::False, error.reason(), error.to_string());
    }
    if pool.spec.scaling.is_none() {
        return Observed::new(KIND, State::False, NOT_CONFIGURED, "the pool has no scaling: `replicas` applies");
    }
    let before = before.iter().find(|condition| condition.type_ == KIND && condition.reason != NOT_CONFIGURED);
    before.map_or_else(
        || Observed::new(KIND, State::Unknown, "Beginning", "nothing was decided yet"),
        |before| Observed {
            kind: KIND,
            state: condition::state(std::slice::from_ref(before), KIND),
            reason: before.reason.clone().into(),
            message: before.message.clone(),
        },
    )
}

fn effective(pool: &AgentPool) -> EffectiveSettings {
    let effective = pool.spec.effective();
    EffectiveSettings {
        concurrency: effective.concurrency,
        max_batch: effective.max_batch,
        max_wait: Span(effective.max_wait).to_string(),
        token_budget: effective.token_budget,
    }
}

fn failed(error: &Error) -> Vec<Observed> {
    let (reason, message) = (error.reason(), chain(error));
    let state = match error {
        // What is there goes on as it is.
        Error::Validate(_) | Error::NamespaceFull | Error::Apply(apply::Error::NotOurs { .. }) => State::False,
        _ => State::Unknown,
    };
    vec![
        Observed::new("Ready", state, reason, message.clone()),
        Observed::new("Progressing", State::False, reason, message),
        Observed::new("Schedulable", State::Unknown, reason, "the pods were not looked at"),
        Observed::new("ModelsLoaded", State::Unknown, reason, "the pods were not looked at"),
    ]
}

fn observed(pool: &AgentPool, applied: &Applied, fallback: Option<&FallbackStatus>, now: Timestamp) -> Vec<Observed> {
    let status = applied.deployment.status.clone().unwrap_or_default();
    let wanted = wanted(applied);
    let ready = status.ready_replicas.unwrap_or_default();
    let whole = is_whole(&applied.deployment);
    // One that waits for the device while others work on the CPU is what falling back means.
    let counted = if fallback.is_some() { applied.pods.without_device.clone() } else { applied.pods.all() };
    let Group { staying, placed, unschedulable, .. } = counted;
    let trouble = refused(&applied.deployment).or(applied.pods.trouble.clone()).or_else(|| applied.pods.overdue(now));
    // A pod that does not exist yet, or that the scheduler has not looked at, may turn out to fit nowhere.
    let all_placed = whole || placed == staying && staying >= wanted.unsigned_abs() as usize;
    let scheduled = match (&unschedulable, fallback) {
        (Some(message), _) => Observed::new("Schedulable", State::False, "NoNodeFits", message),
        (None, Some(fallback)) if wanted == 0 || all_placed => {
            Observed::new("Schedulable", State::True, "FellBack", fallback::sentence(fallback))
        }
        (None, _) if wanted == 0 => Observed::new("Schedulable", State::True, "NoAgentsWanted", "no agents are wanted"),
        (None, _) if all_placed => Observed::new("Schedulable", State::True, "Scheduled", "no agent waits for a node"),
        (None, _) => {
            let message = format!("{placed} of {wanted} agents have a node so far");
            Observed::new("Schedulable", State::Unknown, "Pending", message)
        }
    };
    let loaded = match (wanted, ready, &trouble) {
        (0, ..) => Observed::new("ModelsLoaded", State::False, "NoAgentsWanted", "no agents are wanted"),
        _ if whole => Observed::new("ModelsLoaded", State::True, "Loaded", "all agents have loaded their models"),
        (_, _, Some((reason, message))) => Observed::new("ModelsLoaded", State::False, *reason, message.clone()),
        _ => Observed::new(
            "ModelsLoaded",
            State::False,
            "Loading",
            format!("{ready} of {wanted} agents have loaded their models"),
        ),
    };
    let progressing = if whole {
        Observed::new("Progressing", State::False, "Settled", "as many agents as are wanted, all of the newest kind")
    } else if status.observed_generation < applied.deployment.metadata.generation {
        Observed::new("Progressing", State::True, "Starting", "the cluster has not begun")
    } else {
        let updated = status.updated_replicas.unwrap_or_default();
        let message = format!(
            "{updated} agents of the newest kind, {} in all, {wanted} wanted",
            status.replicas.unwrap_or_default()
        );
        Observed::new("Progressing", State::True, "RollingOut", message)
    };
    let message = format!("{ready} of {wanted} agents take work");
    // Health checks of config/argocd and config/flux know the reasons for False that pass by themselves: `Starting` alone.
    let is_ready = match (whole, unschedulable, trouble) {
        (true, ..) => Observed::new("Ready", State::True, "AllReady", message),
        (_, Some(why), _) => Observed::new("Ready", State::False, "NoNodeFits", format!("{message}: {why}")),
        (_, _, Some((reason, why))) => Observed::new("Ready", State::False, reason, format!("{message}: {why}")),
        // A rollout takes nobody away before somebody else is ready.
        _ if ready >= wanted && wanted > 0 => Observed::new("Ready", State::True, "RollingOut", message),
        // A pool that follows its work is as it should be while agents come and go.
        _ if ownership::is_scaled(pool) => Observed::new("Ready", State::True, "Scaling", message),
        _ => Observed::new("Ready", State::False, "Starting", message),
    };
    vec![is_ready, progressing, scheduled, loaded]
}

/// Why a Deployment's pods are not even made: a quota, or a rule of the cluster.
fn refused(deployment: &Deployment) -> Option<(&'static str, String)> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure =
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    Some(("PodsRefused", failure.message.clone().unwrap_or_default()))
}
