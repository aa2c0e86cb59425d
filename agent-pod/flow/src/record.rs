//! The small state of one document, and what leaves it: tasks, timers, the end.

use std::collections::BTreeMap;

use crds::Priority;
use serde::{Deserialize, Serialize};

use crate::{NanoCost, Spent, Traces};

/// Milliseconds since the Unix epoch; the caller's clock.
pub type Millis = u64;

/// BLAKE3 digest of a payload, 64 hexadecimal digits.
pub type Digest = String;

/// What is known of a document when it is submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// Unique within the pipeline.
    pub document: String,
    /// Owner; caches and erasure keep tenants apart.
    pub tenant: String,
    /// Where it came from, for people.
    pub source: String,
    /// Payload with the document's bytes.
    pub payload: Digest,
    /// Payload with the document's metadata (a JSON object), if it has any.
    pub metadata: Option<Digest>,
    /// How urgent it is.
    pub priority: Priority,
    /// When it must have ended.
    pub deadline: Option<Millis>,
    /// How many bytes the payload has; `None` where nobody has counted them.
    pub bytes: Option<u64>,
}

/// The state of one document: which stages have ended with what. Its outbox follows from it (see [`DocumentRecord::outbox`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocumentRecord {
    /// What was submitted.
    pub submission: Submission,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Digest of the plan that the document keeps to its end.
    pub plan: Digest,
    /// Generation of that plan.
    pub generation: u64,
    /// Grows with each replay, so that a replayed task has a new id.
    pub epoch: u32,
    /// The round that the repeated part of the graph is in; 0 is the first.
    pub round: u32,
    /// When it was submitted.
    pub submitted_at: Millis,
    /// When the epoch began: at the submission or the last replay. The deadline counts from here.
    pub started_at: Millis,
    /// When the record last changed.
    pub changed_at: Millis,
    /// Whether stages that become ready are held back.
    pub suspended: bool,
    /// One entry a stage of the plan.
    pub stages: BTreeMap<String, StageState>,
    /// Why the document will not end as plainly succeeded: left-out branches, partial joins, quality below the threshold.
    /// Each note begins with its stage: `review: …`.
    pub degraded: Vec<String>,
    /// Last score of the quality stage.
    pub quality: Option<f64>,
    /// Outputs of the repeated stages in the round before, for the prompts of this one.
    pub previous: BTreeMap<String, Digest>,
    /// What earlier rounds and epochs made and nobody needs any more; see [`DocumentRecord::traces`].
    pub outdated: Traces,
    /// How it ended.
    pub end: Option<End>,
    /// What had been consumed when the epoch began: the budget counts from here.
    pub written_off: Spent,
}

/// Where a stage of a document stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageState {
    /// The stage's own round: stages outside the repeated part stay at 0.
    pub round: u32,
    /// Current attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Attempts of this round that were entered before work started and have not reported.
    pub unreported: u32,
    /// When the first predecessor delivered, where a join with a time-out waits.
    pub waiting_since: Option<Millis>,
    /// What earlier rounds and failed attempts consumed. What the present output took is in its completion.
    pub spent: Spent,
    /// The state itself.
    pub status: StageStatus,
    /// The fallback that the stage has turned to in this round and epoch; `None` while it does its own work.
    pub fallen_back: Option<FallenBack>,
}

/// That a stage failed for good and something else is tried in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallenBack {
    /// Which of the stage's fallbacks, from 1.
    pub level: u32,
    /// Attempts that were made before.
    pub attempts: u32,
    /// Why the last one of them failed.
    pub cause: Cause,
}

/// The states of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StageStatus {
    /// Predecessors have not delivered.
    Waiting,
    /// Ready, but another stage of the document is in work (`parallel: false`) or the document is suspended.
    Held,
    /// A task is out.
    Dispatched,
    /// The attempt failed; the next one starts at this time.
    Backoff {
        /// When.
        until: Millis,
        /// What failed.
        cause: Cause,
    },
    /// A person is asked; no task is out.
    Awaiting {
        /// Since when.
        since: Millis,
        /// Payload with what is asked (JSON).
        request: Digest,
        /// Payload that becomes the output if nobody answers in time and that counts as approved.
        unanswered: Digest,
    },
    /// Ended with an output.
    Done(Completion),
    /// Left out, because `when` was false or all predecessors were skipped.
    Skipped,
    /// Failed for good.
    Failed(Cause),
}

/// What a stage delivered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// Payload with the output (JSON).
    pub output: Digest,
    /// Payloads that the output names: it is worth nothing without them.
    pub references: Vec<Digest>,
    /// Key of the result in the cache, where one was used.
    pub cache_key: Option<String>,
    /// The stage's score, where it has one.
    pub score: Option<f64>,
    /// Whether the cache answered.
    pub cached: bool,
    /// Which part of the cache answered: `memory`, `redis` or `disk` for the same request, `semantic` for a nearly equal one.
    pub cache_level: Option<String>,
    /// Seconds from the start of the work to its output; waiting for the queue is left out, for the engine not.
    pub seconds: f64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Who did it, and with which model.
    pub worker: String,
    /// Model that was used, if any.
    pub model: Option<String>,
    /// What the tokens cost.
    #[serde(default)]
    pub cost: NanoCost,
    /// What it was made by instead of the stage's own work: `model:NAME`, `pool:NAME` or `constant`.
    #[serde(default)]
    pub fallback: Option<String>,
}

/// Why something failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// CamelCase word from a closed set, for metrics and conditions, for example `Timeout`.
    pub reason: String,
    /// For people: what, where and what to do.
    pub message: String,
    /// Who found it.
    pub worker: String,
    /// Model that was used, if any.
    pub model: Option<String>,
}

/// How a document ended; exactly one of four outcomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Which of the four.
    pub outcome: Outcome,
    /// When.
    pub at: Millis,
    /// With [`Outcome::DeadLettered`]: at which stage (`None`: the document as a whole) and why.
    pub dead_letter: Option<DeadLetter>,
}

/// Why and where a document was dead-lettered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The stage; `None` for a deadline.
    pub stage: Option<String>,
    /// Attempts that the stage had.
    pub attempts: u32,
    /// Why.
    pub cause: Cause,
}

/// The four ways to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything was done.
    Succeeded,
    /// Done, with something left out; the record says what.
    Partial,
    /// Given up; `docket dlq` lists and replays it.
    DeadLettered,
    /// Cancelled by its owner.
    Cancelled,
}

/// One stage of one document, one attempt: what a worker gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The document.
    pub document: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// The plan's digest.
    pub plan: Digest,
    /// The stage.
    pub stage: String,
    /// Pool that works it.
    pub pool: String,
    /// The stage's round.
    pub round: u32,
    /// The record's epoch.
    pub epoch: u32,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The document's priority.
    pub priority: Priority,
    /// When the document must have ended. For those who look at what waits; whoever works the task reads the record.
    pub deadline: Option<Millis>,
    /// How many bytes the document has, for the same; `None` where nobody has counted them.
    pub bytes: Option<u64>,
}

/// Something that must happen at a time although no pod may be running then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timer {
    /// The document.
    pub document: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// When.
    pub at: Millis,
    /// What.
    pub alarm: Alarm,
}

/// What a timer tells the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alarm {
    /// Start the next attempt of a stage.
    Retry {
        /// The stage.
        stage: String,
        /// Its round.
        round: u32,
        /// The record's epoch.
        epoch: u32,
        /// The attempt that failed.
        attempt: u32,
    },
    /// A join has waited long enough.
    JoinTimeout {
        /// The stage that waits.
        stage: String,
        /// Its round.
        round: u32,
        /// The record's epoch.
        epoch: u32,
    },
    /// A person has been waited for long enough.
    ApprovalTimeout {
        /// The stage that waits.
        stage: String,
        /// Its round.
        round: u32,
        /// The record's epoch.
        epoch: u32,
    },
    /// The document's time is over.
    Deadline {
        /// The record's epoch.
        epoch: u32,
    },
}

/// What leaves a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Publish a task.
    Publish(Task),
    /// Set a timer.
    SetTimer(Timer),
    /// Report the end.
    Report(End),
}
