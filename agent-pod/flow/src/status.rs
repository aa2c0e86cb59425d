//! What workers and gateways say of themselves: for each other, for the scaler, for people.

use serde::Serialize;

use crate::{Digest, Millis, WaitCounts};

/// What a worker says of itself, once a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Who; unique among the processes of a broker.
    pub name: String,
    /// The pool whose tasks it works.
    pub pool: String,
    /// Tasks that it works at once.
    pub slots: u32,
    /// Tasks in work.
    pub in_work: u32,
    /// Requests of clients at its inference interface, beside its slots.
    pub interactive: u32,
    /// Whether everything is loaded.
    pub ready: bool,
    /// Whether it takes nothing new, because it is to stop or was told to rest.
    pub cordoned: bool,
    /// How long its newest tasks took.
    pub service_times: Vec<ServiceTime>,
    /// How long loading all models took.
    pub model_load_seconds: Option<f64>,
    /// From the start of the process to its readiness.
    pub ready_after_seconds: Option<f64>,
    /// What its cache of results has done since it started.
    pub cache: Vec<CacheCounts>,
    /// Tasks handed back unfinished because it stops.
    pub interrupted: u64,
    /// The models that it holds.
    pub models: Vec<HeldModel>,
    /// The heads that have learned from feedback.
    pub heads: Vec<LearnedHead>,
    /// Host and port of its inference interface, where it has one.
    pub address: Option<String>,
    /// Tasks that it has started since it began, by how long they had waited. `None`: it does not count them.
    pub waits: Option<WaitCounts>,
    /// Share of its CPU limit that it uses, 0 to 1, over the last few seconds. `None`: it cannot tell.
    pub cpu: Option<f64>,
    /// Tokens that models have read and written for its tasks since it began.
    pub tokens: u64,
    /// What they cost by the models' prices, in the currency of these.
    pub cost: f64,
    /// Whether it is cordoned because it was told to rest: it lives, and takes tasks again when it is told.
    pub resting: bool,
    /// Documents in work that have a deadline. For the autoscaler alone: pools are shared, and whoever asks for statistics is not
    /// to see the documents of others.
    #[serde(skip)]
    pub due: Vec<DueInWork>,
    /// When it began: what it counts starts again with it. 0: it does not say.
    pub began: Millis,
    /// When it said this.
    pub at: Millis,
}

/// Documents in work at a stage that have a deadline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueInWork {
    /// The pipeline.
    pub pipeline: String,
    /// The stage.
    pub stage: String,
    /// When they must have ended, one a document.
    pub deadlines: Vec<Millis>,
}

/// What the agents of a pool are told, again and again: what is not said again soon holds no longer, and they pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolOrders {
    /// Of the lease of who orders: agents ignore a lower one than they have seen.
    pub epoch: u64,
    /// Names of those that are to pull nothing; what they hold they finish.
    pub resting: Vec<String>,
}

/// Times of the newest tasks of one stage and size, in seconds: from taking a task up to its record's being written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTime {
    /// The pipeline.
    pub pipeline: String,
    /// The stage.
    pub stage: String,
    /// Size class: the most tokens that the stage's models read. 0 holds the tasks for which none were read: without a
    /// model, or answered by the cache. `None`: more than every bound.
    pub up_to_tokens: Option<u64>,
    /// Class of the documents' size, see [`crate::size_class`].
    pub document_size: u8,
    /// How many tasks the numbers are of.
    pub count: u32,
    /// How many tasks of all kinds the worker did from the first of these on; 0: not known.
    pub of_all: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
}

impl ServiceTime {
    /// Of the tasks that the worker does, the part that is like these; `None` where it does not say.
    pub fn frequency(&self) -> Option<f64> {
        (self.of_all > 0).then(|| (f64::from(self.count) / self.of_all as f64).min(1.0))
    }
}

/// What one level of the cache has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheCounts {
    /// `memory`, `redis` or `disk`.
    pub level: String,
    /// Lookups that it answered.
    pub hits: u64,
    /// Lookups that it had nothing for.
    pub misses: u64,
    /// Lookups and stores that failed.
    pub errors: u64,
}

/// A model in a worker's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldModel {
    /// Its name in the pool.
    pub name: String,
    /// BLAKE3 of its weights.
    pub digest: Digest,
}

/// A head that has learned from feedback.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LearnedHead {
    /// The pipeline.
    pub pipeline: String,
    /// The head.
    pub head: String,
    /// Examples that it has learned from.
    pub examples: u64,
}

/// What a gateway says, every few seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Who.
    pub name: String,
    /// The pipelines that it serves.
    pub pipelines: Vec<PipelineTally>,
    /// When it said this.
    pub at: Millis,
}

/// The documents of a pipeline, counted from their records.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineTally {
    /// The pipeline.
    pub pipeline: String,
    /// Documents that have not ended.
    pub open: u64,
    /// Documents that ended in the minute before they were counted.
    pub done_per_minute: u64,
    /// Dead letters that are kept.
    pub dead_letters: u64,
    /// Median of the seconds from submission to end, of the documents that ended last.
    pub p50: Option<f64>,
    /// 95th percentile of the same.
    pub p95: Option<f64>,
}
