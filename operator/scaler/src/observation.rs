//! What is seen of a pool at one moment. Knows not where it was read.

use serde::{Deserialize, Serialize};

use crate::ColdStart;

/// What is seen of a pool at one moment. What could not be read is `None`, never zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// When the numbers were read, in seconds since 1970.
    pub at: f64,
    /// Work by stage and size, from the consumer's leader.
    pub work: Option<Vec<Work>>,
    /// Tasks that ever arrived, as the stream counts them. Only differences are used.
    pub arrivals: Option<u64>,
    /// Tasks that were ever done with (acknowledged). Only differences are used.
    pub finished: Option<u64>,
    /// How long tasks that started had waited, as the pods count it.
    pub waits: Option<Waits>,
    /// Seconds that the oldest waiting task has waited.
    pub oldest_wait: Option<f64>,
    /// Pods by what they do.
    pub pods: Option<Pods>,
    /// The number of replicas that is asked for now.
    pub replicas: u32,
    /// Tasks that one pod works on at once.
    pub slots_per_pod: u32,
    /// How long pods took from creation to ready. `None`: none was ever measured.
    pub cold_start: Option<ColdStart>,
    /// Tasks that earlier stages will hand on.
    #[serde(default)]
    pub foreseen: Vec<Foreseen>,
    /// Waiting tasks that must start by a certain time.
    #[serde(default)]
    pub deadlines: Vec<Deadline>,
    /// Tasks that earlier stages will hand on and that must then start by a certain time.
    #[serde(default)]
    pub deadlines_ahead: Vec<DeadlineAhead>,
    /// Seconds within which 95 of 100 tasks are done.
    pub latency_p95: Option<f64>,
    /// Share of its CPU that the pool uses, 0 to 1.
    pub cpu: Option<f64>,
    /// Requests in work on the pool's own endpoint; each takes a slot.
    #[serde(default)]
    pub interactive: f64,
}

/// Tasks of one stage and size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// The stage.
    pub stage: String,
    /// Class of size, such as the binary logarithm of the tokens.
    pub size: u8,
    /// Tasks that wait.
    pub pending: u64,
    /// Tasks that are delivered and not acknowledged.
    pub in_work: u64,
    /// How long such tasks took of late. `None`: none was measured yet.
    pub service: Option<ServiceTime>,
    /// Of the tasks that were done of late, the part that was of this stage and size, in proportion to that of others. `None`:
    /// nobody says; then all that were measured are taken to come as often as they were measured.
    #[serde(default)]
    pub share: Option<f64>,
}

/// How long tasks were in work.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTime {
    /// Mean, in seconds.
    pub mean: f64,
    /// Standard deviation, in seconds.
    pub deviation: f64,
    /// Tasks measured.
    pub count: u64,
}

/// How long tasks that started had waited.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waits {
    /// Tasks that ever started.
    pub started: u64,
    /// Of these, tasks that had waited longer than the target.
    pub late: u64,
}

/// Pods by what they do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// Ready pods that hold at least one task.
    pub busy: u32,
    /// Ready pods that hold none.
    pub idle: u32,
    /// Ages of the pods that are not ready yet, in seconds since their creation.
    pub starting: Vec<f64>,
    /// Pods that are being removed; they take no work.
    pub draining: u32,
}

/// Tasks that an earlier stage will hand on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Foreseen {
    /// When the first will arrive, in seconds since 1970.
    pub at: f64,
    /// Over how many seconds they arrive evenly.
    pub over: f64,
    /// How many.
    pub tasks: f64,
    /// How probable it is that each comes, 0 to 1.
    pub probability: f64,
}

/// Tasks that must start by a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deadline {
    /// The latest start, in seconds since 1970; see [`crate::start_by`].
    pub start_by: f64,
    /// How many.
    pub tasks: f64,
}

/// Tasks that an earlier stage will hand on, and that must then start by a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadlineAhead {
    /// When they can come at the earliest, in seconds since 1970.
    pub at: f64,
    /// The latest start, in seconds since 1970; see [`crate::start_by`].
    pub start_by: f64,
    /// How many.
    pub tasks: f64,
    /// How probable it is that each comes, 0 to 1.
    pub probability: f64,
}

impl Observation {
    /// Nothing waits, nothing runs.
    pub fn empty_at(at: f64, slots_per_pod: u32) -> Self {
        Self {
            at,
            work: Some(Vec::new()),
            arrivals: Some(0),
            finished: Some(0),
            waits: None,
            oldest_wait: None,
            pods: Some(Pods::default()),
            replicas: 0,
            slots_per_pod,
            cold_start: None,
            foreseen: Vec::new(),
            deadlines: Vec::new(),
            deadlines_ahead: Vec::new(),
            latency_p95: None,
            cpu: None,
            interactive: 0.0,
        }
    }

    /// Whether it is known that there is no pod, nor is one asked for.
    pub(crate) fn has_nobody(&self) -> bool {
        self.replicas == 0 && self.pods.as_ref() == Some(&Pods::default())
    }

    pub(crate) fn pending(&self) -> u64 {
        self.work.iter().flatten().map(|work| work.pending).fold(0, u64::saturating_add)
    }

    pub(crate) fn in_work(&self) -> u64 {
        self.work.iter().flatten().map(|work| work.in_work).fold(0, u64::saturating_add)
    }
}

impl Pods {
    pub(crate) fn ready(&self) -> u32 {
        self.busy.saturating_add(self.idle)
    }

    pub(crate) fn starting(&self) -> u32 {
        self.starting.len() as u32
    }
}
