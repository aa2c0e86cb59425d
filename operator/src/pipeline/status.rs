//! What a pipeline's status says after a pass. Pure.

use crds::{Pipeline, PipelineStatus};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::{
    Error,
    dereference::{Found, Gateway},
};
use crate::{
    chain,
    condition::{self, Observed, State},
    names::{GATEWAY, HTTP},
    namespace::GATEWAY_REFUSED,
    watching::namespace_of,
};

/// Problems that are told; further ones come to light when these are solved.
const TOLD: usize = 8;

/// The status after a pass.
pub fn after(pipeline: &Pipeline, found: &Result<Found, Error>, now: Timestamp) -> PipelineStatus {
    let previous = pipeline.status.clone().unwrap_or_default();
    let observed = match found {
        Ok(found) => observed(pipeline, found),
        Err(error) => {
            let (reason, message) = (error.reason(), chain(error));
            ["Accepted", "PoolsReady", "StreamsReady", "Ready", "Degraded", "Kept"]
                .map(|kind| Observed::new(kind, State::Unknown, reason, message.clone()))
                .to_vec()
        }
    };
    let plan = found.as_ref().ok().and_then(|found| found.plan.as_ref().ok());
    PipelineStatus {
        observed_generation: pipeline.metadata.generation,
        stages: i32::try_from(pipeline.spec.stages.len()).unwrap_or(i32::MAX),
        plan: plan.map(|plan| plan.digest.clone()).or(previous.plan),
        gateway: Some(format!("http://{GATEWAY}.{}.svc:{HTTP}", namespace_of(pipeline))),
        conditions: condition::merge(&previous.conditions, observed, pipeline.metadata.generation, now),
        ..previous
    }
}

/// The status of a pipeline that is being deleted while documents are in flight. `idle` is which of its pools work nothing.
pub fn draining(pipeline: &Pipeline, open: u64, idle: &[String], now: Timestamp) -> PipelineStatus {
    let previous = pipeline.status.clone().unwrap_or_default();
    let but = if idle.is_empty() { String::new() } else { format!(", but {}", idle.join(", and ")) };
    let message = format!(
        "{open} documents are worked to their end before the pipeline goes{but}; to give them up, set deletionPolicy to Cancel"
    );
    let ready = Observed::new("Ready", State::False, "Draining", message);
    let generation = pipeline.metadata.generation;
    PipelineStatus {
        open: Some(i64::try_from(open).unwrap_or(i64::MAX)),
        conditions: condition::replace(&previous.conditions, ready, generation, now),
        ..previous
    }
}

/// The status of a pipeline that is being deleted, where that failed.
pub fn not_deleted(pipeline: &Pipeline, error: &Error, now: Timestamp) -> PipelineStatus {
    let previous = pipeline.status.clone().unwrap_or_default();
    let ready = Observed::new("Ready", State::False, error.reason(), chain(error));
    let conditions = condition::replace(&previous.conditions, ready, pipeline.metadata.generation, now);
    PipelineStatus { conditions, ..previous }
}

fn observed(pipeline: &Pipeline, found: &Found) -> Vec<Observed> {
    let accepted = accepted(found);
    let pools = pools(found);
    let streams = match &found.broker {
        Ok(()) => Observed::new("StreamsReady", State::True, "BrokerAnswers", "the broker answers"),
        Err(error) => Observed::new("StreamsReady", State::False, "BrokerUnavailable", error.clone()),
    };
    let kept = kept(found);
    let degraded = degraded(pipeline, found, accepted.state);
    // Health checks of config/argocd and config/flux know the reasons for False that pass by themselves.
    let ready = if accepted.state != State::True {
        Observed::new("Ready", State::False, accepted.reason.clone(), accepted.message.clone())
    } else if streams.state != State::True {
        Observed::new("Ready", State::False, streams.reason.clone(), streams.message.clone())
    } else if let Some(why) = found.refused.as_ref().filter(|_| found.gateway != Gateway::Serving) {
        Observed::new("Ready", State::False, GATEWAY_REFUSED, why)
    } else if let Some(trouble) = found.gateway_trouble.as_ref().filter(|_| found.gateway != Gateway::Serving) {
        Observed::new("Ready", State::False, "GatewayFails", trouble)
    } else if found.gateway == Gateway::Away {
        let message = "the gateway does not serve; kubectl describe deployment docket-gateway says more";
        Observed::new("Ready", State::False, "GatewayAway", message)
    } else if found.gateway == Gateway::RollingOut {
        Observed::new("Ready", State::False, "RollingOut", "gateways with the newest plans are starting")
    } else if pools.state != State::True {
        Observed::new("Ready", State::False, pools.reason.clone(), pools.message.clone())
    } else if pipeline.spec.suspend {
        Observed::new("Ready", State::True, "Suspended", "documents are taken and none is worked: spec.suspend is set")
    } else if kept.state != State::True {
        let message = format!("documents are taken and worked, but not all is kept: {}", kept.reason);
        Observed::new("Ready", State::True, "Serving", message)
    } else {
        Observed::new("Ready", State::True, "Serving", "documents are taken and worked")
    };
    vec![accepted, pools, streams, ready, degraded, kept]
}

/// Whether something else is served than what is written.
fn degraded(pipeline: &Pipeline, found: &Found, accepted: State) -> Observed {
    if found.gateway == Gateway::Away {
        return Observed::new("Degraded", State::Unknown, "NotServed", "no gateway serves the pipeline now");
    }
    if accepted == State::True {
        return Observed::new("Degraded", State::False, "AsWritten", "the pipeline is served as it is written");
    }
    let message = format!("{} is served as it last was accepted, if it ever was", pipeline.name_any());
    Observed::new("Degraded", State::True, "ServedAsBefore", message)
}

/// Whether what is written outlives the pods. The pipeline works all the same: for trying out that may be enough.
fn kept(found: &Found) -> Observed {
    let Some(first) = found.unkept.first() else {
        return Observed::new("Kept", State::True, "NothingLost", "nothing that lasts is kept in a pod's own folders");
    };
    let messages: Vec<&str> = found.unkept.iter().map(|unkept| unkept.message.as_str()).collect();
    Observed::new("Kept", State::False, first.reason, messages.join("; "))
}

fn accepted(found: &Found) -> Observed {
    match &found.plan {
        Ok(plan) => Observed::new("Accepted", State::True, "Planned", format!("plan {}", &plan.digest[..12])),
        Err(problems) => {
            let reason = problems.first().map_or("Invalid", |problem| problem.reason);
            let mut told: Vec<String> = problems.iter().take(TOLD).map(ToString::to_string).collect();
            if problems.len() > TOLD {
                told.push(format!("and {} more", problems.len() - TOLD));
            }
            Observed::new("Accepted", State::False, reason, told.join("; "))
        }
    }
}

fn pools(found: &Found) -> Observed {
    let unready: Vec<String> = found
        .pools
        .iter()
        .filter(|(_, (state, _))| *state != State::True)
        .map(|(name, (_, message))| format!("{name}: {message}"))
        .collect();
    if unready.is_empty() {
        return Observed::new("PoolsReady", State::True, "AllReady", format!("{} pools are ready", found.pools.len()));
    }
    Observed::new("PoolsReady", State::False, "PoolsNotReady", unready.join("; "))
}
