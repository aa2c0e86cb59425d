//! What is seen of a pool, put together for the decision. Pure. What could not be read is missing, never zero.

use std::collections::HashMap;

use flow::PodStatus;
use queue::Depth;
use scaler::{ColdStart, Deadline, DeadlineAhead, Foreseen, Observation, Pods, ServiceTime, Waits};

use super::{
    kinds::{Waiting, work},
    seen::SeenPod,
};

/// A pod that is not ready after so many seconds, while there is nothing to do, will not hold a pool up.
const HOPELESS: f64 = 300.0;
/// The 95th percentile of a normal distribution, in standard deviations above the mean.
const P95: f64 = 1.645;

/// What was read of a pool at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// When the oldest of it was looked at, in seconds since 1970.
    pub at: f64,
    /// What the broker says; `None`: it did not.
    pub depth: Option<Depth>,
    /// What agents say; `None`: the broker did not tell.
    pub agents: Option<Vec<PodStatus>>,
    /// Its pods; `None`: they were not listed yet.
    pub pods: Option<Vec<SeenPod>>,
    /// Some of what waits, each for its part of the queue.
    pub waiting: Vec<Waiting>,
}

/// What is known beside that.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The number of pods that the Deployment asks for.
    pub replicas: u32,
    /// Tasks that one pod works at once.
    pub slots: u32,
    /// See [`Observation::waits`].
    pub waits: Option<Waits>,
    /// See [`Observation::cold_start`].
    pub cold_start: Option<ColdStart>,
    /// See [`Observation::foreseen`].
    pub foreseen: Vec<Foreseen>,
    /// See [`Observation::deadlines`].
    pub deadlines: Vec<Deadline>,
    /// See [`Observation::deadlines_ahead`].
    pub deadlines_ahead: Vec<DeadlineAhead>,
    /// Whether the pool may have fewer pods than it asks for, as there are too few devices.
    pub is_limited: bool,
}

/// The observation at `at`, in seconds since 1970.
pub fn observation(sight: &Sight, known: Known, at: f64) -> Observation {
    let depth = sight.depth.as_ref();
    let agents = sight.agents.as_deref();
    let work = depth.map(|depth| work(depth, &sight.waiting, agents.unwrap_or_default()));
    let has_work = depth.is_none_or(|depth| depth.total() > 0);
    let in_work = depth.map(|depth| depth.in_work);
    let is_counted = |pod: &&SeenPod| !(known.is_limited && pod.lacks_device);
    let pods: Option<Vec<&SeenPod>> = sight.pods.as_ref().map(|pods| pods.iter().filter(is_counted).collect());
    // Where there are none, no agent needs to be heard to know what they do.
    let pods = pods.filter(|pods| agents.is_some() || pods.is_empty());
    let pods = pods.map(|pods| states(&pods, agents.unwrap_or_default(), in_work, has_work, at));
    let oldest_wait = depth.and_then(|depth| depth.oldest_wait).map(|wait| wait.as_secs_f64());
    Observation {
        at,
        work,
        arrivals: depth.map(|depth| depth.arrived),
        finished: depth.map(|depth| depth.finished),
        waits: known.waits,
        oldest_wait,
        pods,
        replicas: known.replicas,
        slots_per_pod: known.slots,
        cold_start: known.cold_start,
        foreseen: known.foreseen,
        deadlines: known.deadlines,
        deadlines_ahead: known.deadlines_ahead,
        latency_p95: agents.and_then(slowest).map(|service| service + oldest_wait.unwrap_or(0.0)),
        cpu: agents.and_then(cpu),
        interactive: agents.into_iter().flatten().map(|agent| f64::from(agent.interactive)).sum(),
    }
}

/// Pods by what they do.
fn states(pods: &[&SeenPod], agents: &[PodStatus], in_work: Option<u64>, has_work: bool, now: f64) -> Pods {
    let mut states = Pods::default();
    let agents = by_name(agents);
    for pod in pods {
        let agent = agents.get(pod.name.as_str()).copied();
        if pod.leaving {
            states.draining += 1;
        } else if is_ready(pod, agent) {
            match load(agent, in_work) {
                Some(0) => states.idle += 1,
                // One that does not speak may be at work.
                _ => states.busy += 1,
            }
        } else if is_starting(pod, has_work, now) {
            states.starting.push((now - pod.created).max(0.0));
        }
    }
    states
}

/// Whether a pod takes work: it says so itself some seconds before the cluster does.
pub fn is_ready(pod: &SeenPod, agent: Option<&PodStatus>) -> bool {
    pod.ready_since.is_some() || agent.is_some_and(|agent| agent.ready)
}

/// What a pod has in hand; `None` where it is not known. One that does not speak has nothing where the broker says that
/// nothing of the pool is in work.
pub fn load(agent: Option<&PodStatus>, in_work: Option<u64>) -> Option<u32> {
    match agent {
        Some(agent) => Some(agent.in_work.saturating_add(agent.interactive)),
        None => (in_work == Some(0)).then_some(0),
    }
}

/// Agents by their names, which are those of their pods.
pub fn by_name(agents: &[PodStatus]) -> HashMap<&str, &PodStatus> {
    agents.iter().map(|agent| (agent.name.as_str(), agent)).collect()
}

/// Whether a pod that is not ready is waited for. While nothing is to be done, one without a node, or one that fails again and
/// again, would else keep a pool from going to sleep.
fn is_starting(pod: &SeenPod, has_work: bool, now: f64) -> bool {
    has_work || pod.has_node && now - pod.created < HOPELESS
}

/// The times of all agents' newest tasks together.
pub fn service_time(agents: &[PodStatus]) -> Option<ServiceTime> {
    of_times(agents.iter().flat_map(|agent| &agent.service_times))
}

/// Of the tasks that agents do, the part that is like these, added up over the agents: it says something beside others. 0 where
/// one of them does not say.
pub fn share_of<'a>(times: impl Iterator<Item = &'a flow::ServiceTime>) -> f64 {
    let all: Option<f64> = times.filter(|time| time.count > 0).map(flow::ServiceTime::frequency).sum();
    all.unwrap_or(0.0)
}

/// Several times together.
pub fn of_times<'a>(times: impl Iterator<Item = &'a flow::ServiceTime> + Clone) -> Option<ServiceTime> {
    let times = || times.clone().filter(|time| time.count > 0);
    let count: u64 = times().map(|time| u64::from(time.count)).sum();
    if count == 0 {
        return None;
    }
    // As many of each kind are known, however often they come.
    let share = share_of(times());
    let weight = |time: &flow::ServiceTime| time.frequency().filter(|_| share > 0.0).unwrap_or(f64::from(time.count));
    let all: f64 = times().map(weight).sum();
    let of_all =
        |value: &dyn Fn(&flow::ServiceTime) -> f64| times().map(|time| value(time) * weight(time)).sum::<f64>() / all;
    let mean = of_all(&|time| time.mean);
    // Within each, and between them.
    let variance = of_all(&|time| ((time.p95 - time.mean).max(0.0) / P95).powi(2) + (time.mean - mean).powi(2));
    Some(ServiceTime { mean, deviation: variance.sqrt(), count })
}

fn slowest(agents: &[PodStatus]) -> Option<f64> {
    agents.iter().flat_map(|agent| &agent.service_times).map(|time| time.p95).reduce(f64::max)
}

fn cpu(agents: &[PodStatus]) -> Option<f64> {
    let shares: Vec<f64> = agents.iter().filter_map(|agent| agent.cpu).collect();
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
}
