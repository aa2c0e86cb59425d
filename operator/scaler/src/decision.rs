//! What was decided and why, in closed sets of words. Knows not how it was decided.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many replicas a pool is to have, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Replicas to ask for.
    pub replicas: u32,
    /// Ready pods that are to pull tasks; the others rest. Which rest is the caller's choice: the least busy ones.
    pub pulling: u32,
    /// Why the number is what it is.
    pub reason: Reason,
    /// What each part asked for, those that asked for nothing left out.
    pub terms: Vec<TermValue>,
    /// What kept the number from being what the terms asked for.
    pub clamp: Option<Clamp>,
    /// When the decision may change though nothing else does, in seconds since 1970. `None`: it will not.
    pub next_change_at: Option<f64>,
}

/// Why the number is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// More replicas, for the term.
    Up(Term),
    /// Fewer replicas: the pods that go are idle and are not expected to be needed soon.
    Down,
    /// The last replicas go: nothing waits, nothing is in work, and nothing is expected soon.
    ToZero,
    /// As many as before, because of the term.
    Steady(Term),
    /// Nothing to do and no replicas.
    Asleep,
    /// As many as before, because the numbers cannot be trusted.
    Held(Hold),
}

/// Why numbers cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// Work, arrivals or pods could not be read.
    Missing,
    /// The numbers are old, or from the future.
    Stale,
    /// A number is not one, is infinite, or cannot be.
    Absurd,
    /// The numbers do not follow from those before.
    Jumped,
    /// The settings contradict themselves.
    Settings,
}

/// A part of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Term {
    /// Tasks that wait must start within the target.
    Backlog,
    /// Tasks that will arrive at the present rate must, too.
    Arrivals,
    /// Tasks that earlier stages will hand on must, too.
    Foreseen,
    /// Tasks must start by their deadlines.
    Deadline,
    /// Tasks that earlier stages will hand on must start by their deadlines.
    DeadlineAhead,
    /// Tasks take longer than the latency target.
    Latency,
    /// More slots are in use than the utilisation target allows.
    Utilization,
    /// The shape of the day or week says that work is coming.
    Season,
    /// Tasks in work hold their pods.
    InWork,
    /// Idle pods that will soon be needed again cost less than new ones.
    Kept,
    /// Waiting tasks against plain thresholds.
    Queue,
    /// The oldest task's wait against plain thresholds.
    Wait,
    /// CPU against plain thresholds.
    Cpu,
    /// The bounds ask for it.
    Bounds,
    /// No part asks for anything.
    Nothing,
}

/// What one part asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermValue {
    /// The part.
    pub term: Term,
    /// Replicas that it asked for.
    pub replicas: u32,
}

/// What kept the number from being what the terms asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clamp {
    /// `minReplicas`.
    Minimum,
    /// `maxReplicas`.
    Maximum,
    /// The lower bound of a window of the schedule.
    ScheduledMinimum,
    /// The upper bound of a window of the schedule.
    ScheduledMaximum,
    /// Pods at work are never taken away.
    BusyPods,
    /// A change of direction so soon after the last step.
    Reversal,
    /// `stabilization.up` or `stabilization.down`.
    Stabilization,
    /// `cooldownToZero`.
    Cooldown,
    /// Others want the same devices, of which there are too few.
    Devices,
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(term) => write!(out, "more replicas: {term}"),
            Self::Down => out.write_str("fewer replicas: those that go are idle and will not be needed soon"),
            Self::ToZero => out.write_str("no replicas: nothing waits, nothing is in work, nothing is expected soon"),
            Self::Steady(term) => write!(out, "as many as before: {term}"),
            Self::Asleep => out.write_str("nothing to do"),
            Self::Held(hold) => write!(out, "held: {hold}"),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Missing => "work, arrivals or pods could not be read",
            Self::Stale => "the numbers are old or from the future",
            Self::Absurd => "a number cannot be",
            Self::Jumped => "the numbers do not follow from those before",
            Self::Settings => "the settings contradict themselves",
        })
    }
}

impl fmt::Display for Term {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Backlog => "waiting tasks must start within the target",
            Self::Arrivals => "tasks arrive at a rate that needs them",
            Self::Foreseen => "earlier stages will hand on tasks",
            Self::Deadline => "tasks must start by their deadlines",
            Self::DeadlineAhead => "documents at earlier stages must start here by their deadlines",
            Self::Latency => "tasks take longer than the latency target",
            Self::Utilization => "more slots are in use than the utilisation target allows",
            Self::Season => "at this time of the day or week work is coming",
            Self::InWork => "tasks are in work",
            Self::Kept => "idle pods will soon be needed again",
            Self::Queue => "waiting tasks against the thresholds",
            Self::Wait => "the oldest task's wait against the thresholds",
            Self::Cpu => "CPU against the thresholds",
            Self::Bounds => "the bounds ask for it",
            Self::Nothing => "nothing asks for a change",
        })
    }
}

impl fmt::Display for Clamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Minimum => "minReplicas",
            Self::Maximum => "maxReplicas",
            Self::ScheduledMinimum => "the schedule's minimum",
            Self::ScheduledMaximum => "the schedule's maximum",
            Self::BusyPods => "pods at work are never taken away",
            Self::Reversal => "a change of direction so soon after the last step",
            Self::Stabilization => "the stabilization time",
            Self::Cooldown => "cooldownToZero",
            Self::Devices => "the devices that there are, which other pools want as well",
        })
    }
}
