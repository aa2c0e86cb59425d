//! Whether a pool's agents are placed on its device or fall back to the CPU, and how they come back. Pure.
//!
//! ```text
//!            none has the device, one has waited 30 s for it alone
//!   Device ────────────────────────────────────────────────────────▶ Cpu ◀───┐
//!     ▲                                                                │     │ not placed in time
//!     │ an agent on the device is ready                                ▼     │
//!     └───────────────────────────────────────────────────────────── Trial ──┘
//!                                       30 minutes later, or another `device`
//! ```
//! Guarantees: the memory is `status.fallback`, written before anything is built by it, so that a process that comes later
//! goes on where the last one was; agents on the CPU stay until one on the device is ready, but for the one whose place a trial takes
//! where their state folder is on a claim; nothing changes twice within the 30 minutes unless a person changes `device`.
//! Assumptions: nodes are not read, which would need rights over the whole cluster. What is missing is known from the
//! scheduler's message alone: it has no other form.

use std::time::Duration;

use crds::{AgentPool, Device, DeviceFallback, DeviceKind, FallbackStatus};
use k8s_openapi::jiff::Timestamp;

use super::{
    pods_seen::Group,
    status::{Applied, is_whole, wanted},
    want,
};
use crate::names;

/// A pod waits so long for its device: longer than a scheduler takes to look at it, and to look again.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between trials: what was missing for 30 s is seldom there a moment later, and a trial keeps the autoscaler from shrinking.
const PAUSE: Duration = Duration::from_secs(30 * 60);
/// A trial's agent waits so long: a cluster that adds a node for it takes minutes.
const TRIAL: Duration = Duration::from_secs(5 * 60);

/// What a pool's agents are built for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// The pool's device.
    #[default]
    Device,
    /// The CPU, because nobody got the device.
    Cpu,
    /// The device, while those on the CPU stay.
    Trial,
}

/// What a pool's agents are built for now.
pub fn placement(pool: &AgentPool, now: Timestamp) -> Placement {
    let Some(before) = before(pool).filter(|_| allowed(&pool.spec.device)) else { return Placement::Device };
    let has_agents = pool.status.as_ref().is_some_and(|status| status.replicas > 0);
    let is_another = before.device != digest(&pool.spec.device);
    match (has_agents, is_another) {
        // Nobody is there who could stay: another device is as good as a first one.
        (false, true) => Placement::Device,
        // The next agents come at once, and the device is tried when they are there.
        (false, false) => Placement::Cpu,
        (true, true) => Placement::Trial,
        (true, false) if before.trying || is_past(&before.next, now) => Placement::Trial,
        (true, false) => Placement::Cpu,
    }
}

/// What the status says after a pass that went well.
pub fn after(pool: &AgentPool, applied: &Applied, now: Timestamp) -> Option<FallbackStatus> {
    let device = &pool.spec.device;
    if !allowed(device) {
        return None;
    }
    match applied.placement {
        Placement::Device => {
            let agents = &applied.pods.with_device;
            let missing = waited(pool, agents, PATIENCE, now)?;
            (agents.placed == 0).then(|| FallbackStatus {
                since: later(now, Duration::ZERO),
                missing,
                next: later(now, PAUSE),
                trying: false,
                device: digest(device),
            })
        }
        Placement::Cpu => before(pool).cloned().map(|before| FallbackStatus { trying: false, ..before }),
        Placement::Trial => tried(pool, before(pool)?, applied, now),
    }
}

/// What became of a trial so far.
fn tried(pool: &AgentPool, before: &FallbackStatus, applied: &Applied, now: Timestamp) -> Option<FallbackStatus> {
    let device = &pool.spec.device;
    let is_done = is_whole(&applied.deployment) && wanted(applied) > 0;
    let agents = &applied.pods.with_device;
    if is_done || agents.ready > 0 {
        return None;
    }
    let begins = !before.trying || before.device != digest(device);
    if begins {
        let next = later(now, TRIAL);
        return Some(FallbackStatus { trying: true, next, device: digest(device), ..before.clone() });
    }
    // One that has a node is on its way, however long its models take; if it fails, that is to be seen.
    let is_placed = agents.placed > 0;
    // A pool that grows meanwhile would have its new agents wait too: it needs them more than a trial.
    let waiting = agents.staying - agents.placed;
    if is_placed || waiting <= 1 && !is_past(&before.next, now) {
        return Some(before.clone());
    }
    let missing = waited(pool, agents, Duration::ZERO, now).unwrap_or_else(|| before.missing.clone());
    Some(FallbackStatus { trying: false, next: later(now, PAUSE), missing, ..before.clone() })
}

/// The time until the device is tried again, or the trial is over.
pub fn until_next(status: Option<&FallbackStatus>, now: Timestamp) -> Option<Duration> {
    let next: Timestamp = status?.next.parse().ok()?;
    // What is due and does not happen waits for something else than time.
    Duration::try_from(next.duration_since(now)).ok().filter(|left| !left.is_zero())
}

/// What a status says of it in a sentence.
pub fn sentence(status: &FallbackStatus) -> String {
    let next = match status.trying {
        true => format!("the device is being tried until {}", status.next),
        false => format!("the device is tried again at {}, and at once when `device` changes", status.next),
    };
    let FallbackStatus { since, missing, .. } = status;
    format!(
        "agents are placed on the CPU since {since}, as device.fallback says, for want of the device: {missing}; {next}"
    )
}

fn before(pool: &AgentPool) -> Option<&FallbackStatus> {
    pool.status.as_ref()?.fallback.as_ref()
}

fn allowed(device: &Device) -> bool {
    device.kind == DeviceKind::Gpu && device.fallback == Some(DeviceFallback::Cpu)
}

/// Names a device by what is asked for. Numbers of replicas change the generation of a pool too, and are no reason to try.
fn digest(device: &Device) -> String {
    let asked = Device { memory_fraction: None, ..device.clone() };
    let text = serde_json::to_string(&asked).expect("a device is plain data");
    names::digest(text.as_bytes())[..16].to_owned()
}

/// What an agent has waited for, and nothing else, for as long as that.
fn waited(pool: &AgentPool, agents: &Group, time: Duration, now: Timestamp) -> Option<String> {
    agents.refused.iter().find_map(|(message, &since)| {
        let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        (waited >= time && want::is_of_device_alone(&pool.spec, message)).then(|| want::reasons(message).to_owned())
    })
}

fn is_past(time: &str, now: Timestamp) -> bool {
    // One that cannot be read was written by somebody else: trying does no harm.
    time.parse::<Timestamp>().map_or(true, |time| time <= now)
}

fn later(now: Timestamp, time: Duration) -> String {
    let seconds = now.as_second().saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).to_string()
}
