//! Between the flow's types and the generated ones. Enumerations and messages that are never left out are checked here.

use super::{
    DecodeError, VERSION,
    proto::{self, stage_state::Status, timer},
};
use crate::{
    Alarm, Cause, Completion, DeadLetter, DocumentRecord, End, FallenBack, Outcome, Spent, StageState, StageStatus,
    Submission, Task, Timer, Traces,
};

fn missing(what: &'static str, field: &'static str) -> DecodeError {
    DecodeError::Field { what, field }
}

impl From<&DocumentRecord> for proto::DocumentRecord {
    fn from(record: &DocumentRecord) -> Self {
        Self {
            version: VERSION,
            submission: Some(proto::Submission::from(&record.submission)),
            pipeline: record.pipeline.clone(),
            plan: record.plan.clone(),
            generation: record.generation,
            epoch: record.epoch,
            round: record.round,
            submitted_at: record.submitted_at,
            started_at: record.started_at,
            changed_at: record.changed_at,
            suspended: record.suspended,
            stages: record.stages.iter().map(|(name, state)| (name.clone(), state.into())).collect(),
            degraded: record.degraded.clone(),
            quality: record.quality,
            previous: record.previous.clone(),
            end: record.end.as_ref().map(proto::End::from),
            written_off: written(&record.written_off),
            outdated_payloads: record.outdated.payloads.iter().cloned().collect(),
            outdated_cache_keys: record.outdated.cache_keys.iter().cloned().collect(),
        }
    }
}

impl TryFrom<proto::DocumentRecord> for DocumentRecord {
    type Error = DecodeError;

    fn try_from(record: proto::DocumentRecord) -> Result<Self, DecodeError> {
        let stages = record.stages.into_iter().map(|(name, state)| Ok((name, state.try_into()?)));
        Ok(Self {
            submission: record.submission.ok_or(missing("record", "submission"))?.try_into()?,
            pipeline: record.pipeline,
            plan: record.plan,
            generation: record.generation,
            epoch: record.epoch,
            round: record.round,
            submitted_at: record.submitted_at,
            started_at: record.started_at,
            changed_at: record.changed_at,
            suspended: record.suspended,
            stages: stages.collect::<Result<_, DecodeError>>()?,
            degraded: record.degraded,
            quality: record.quality,
            previous: record.previous,
            end: record.end.map(End::try_from).transpose()?,
            written_off: record.written_off.map(Spent::from).unwrap_or_default(),
            outdated: Traces {
                payloads: record.outdated_payloads.into_iter().collect(),
                cache_keys: record.outdated_cache_keys.into_iter().collect(),
            },
        })
    }
}

impl From<&Submission> for proto::Submission {
    fn from(submission: &Submission) -> Self {
        Self {
            document: submission.document.clone(),
            tenant: submission.tenant.clone(),
            source: submission.source.clone(),
            payload: submission.payload.clone(),
            metadata: submission.metadata.clone(),
            priority: priority_to(submission.priority),
            deadline: submission.deadline,
            bytes: submission.bytes,
        }
    }
}

impl TryFrom<proto::Submission> for Submission {
    type Error = DecodeError;

    fn try_from(submission: proto::Submission) -> Result<Self, DecodeError> {
        Ok(Self {
            priority: priority_from(submission.priority).ok_or(missing("record", "submission.priority"))?,
            document: submission.document,
            tenant: submission.tenant,
            source: submission.source,
            payload: submission.payload,
            metadata: submission.metadata,
            deadline: submission.deadline,
            bytes: submission.bytes,
        })
    }
}

impl From<&StageState> for proto::StageState {
    fn from(state: &StageState) -> Self {
        let empty = proto::Empty {};
        let status = match &state.status {
            StageStatus::Waiting => Status::Waiting(empty),
            StageStatus::Held => Status::Held(empty),
            StageStatus::Dispatched => Status::Dispatched(empty),
            StageStatus::Backoff { until, cause } => {
                Status::Backoff(proto::Backoff { until: *until, cause: Some(cause.into()) })
            }
            StageStatus::Awaiting { since, request, unanswered } => Status::Awaiting(proto::Awaiting {
                since: *since,
                request: request.clone(),
                unanswered: unanswered.clone(),
            }),
            StageStatus::Done(completion) => Status::Done(completion.into()),
            StageStatus::Skipped => Status::Skipped(empty),
            StageStatus::Failed(cause) => Status::Failed(cause.into()),
        };
        Self {
            round: state.round,
            attempt: state.attempt,
            unreported: state.unreported,
            waiting_since: state.waiting_since,
            status: Some(status),
            spent: written(&state.spent),
            fallen_back: state.fallen_back.as_ref().map(proto::FallenBack::from),
        }
    }
}

impl TryFrom<proto::StageState> for StageState {
    type Error = DecodeError;

    fn try_from(state: proto::StageState) -> Result<Self, DecodeError> {
        let status = match state.status.ok_or(missing("record", "stage status"))? {
            Status::Waiting(_) => StageStatus::Waiting,
            Status::Held(_) => StageStatus::Held,
            Status::Dispatched(_) => StageStatus::Dispatched,
            Status::Backoff(backoff) => StageStatus::Backoff {
                until: backoff.until,
                cause: backoff.cause.ok_or(missing("record", "backoff cause"))?.into(),
            },
            Status::Awaiting(proto::Awaiting { since, request, unanswered }) => {
                StageStatus::Awaiting { since, request, unanswered }
            }
            Status::Done(completion) => StageStatus::Done(completion.into()),
            Status::Skipped(_) => StageStatus::Skipped,
            Status::Failed(cause) => StageStatus::Failed(cause.into()),
        };
        let spent = state.spent.map(Spent::from).unwrap_or_default();
        let fallen_back = state.fallen_back.map(FallenBack::try_from).transpose()?;
        let proto::StageState { round, attempt, unreported, waiting_since, .. } = state;
        Ok(Self { round, attempt, unreported, waiting_since, spent, status, fallen_back })
    }
}

impl From<&FallenBack> for proto::FallenBack {
    fn from(fallen: &FallenBack) -> Self {
        Self { level: fallen.level, attempts: fallen.attempts, cause: Some((&fallen.cause).into()) }
    }
}

impl TryFrom<proto::FallenBack> for FallenBack {
    type Error = DecodeError;

    fn try_from(fallen: proto::FallenBack) -> Result<Self, DecodeError> {
        let cause = fallen.cause.ok_or(missing("record", "cause of a fallback"))?.into();
        Ok(Self { level: fallen.level, attempts: fallen.attempts, cause })
    }
}

/// Nothing is left out.
fn written(spent: &Spent) -> Option<proto::Spent> {
    (*spent != Spent::default()).then(|| spent.into())
}

/// Both ways between structs with the same fields.
macro_rules! same_fields {
    ($name:ident: $($field:ident),+) => {
        impl From<&$name> for proto::$name {
            fn from(value: &$name) -> Self {
                Self { $($field: value.$field.clone()),+ }
            }
        }

        impl From<proto::$name> for $name {
            fn from(value: proto::$name) -> Self {
                Self { $($field: value.$field),+ }
            }
        }
    };
}

same_fields!(
    Completion: output, score, cached, cache_level, seconds, prompt_tokens, completion_tokens, worker, model, cost, fallback,
    references, cache_key
);
same_fields!(Cause: reason, message, worker, model);
same_fields!(Spent: seconds, prompt_tokens, completion_tokens, cost);

impl From<&End> for proto::End {
    fn from(end: &End) -> Self {
        let outcome = match end.outcome {
            Outcome::Succeeded => proto::Outcome::Succeeded,
            Outcome::Partial => proto::Outcome::Partial,
            Outcome::DeadLettered => proto::Outcome::DeadLettered,
            Outcome::Cancelled => proto::Outcome::Cancelled,
        };
        let dead_letter = end.dead_letter.as_ref().map(|letter| proto::DeadLetter {
            stage: letter.stage.clone(),
            attempts: letter.attempts,
            cause: Some((&letter.cause).into()),
        });
        Self { outcome: outcome.into(), at: end.at, dead_letter }
    }
}

impl TryFrom<proto::End> for End {
    type Error = DecodeError;

    fn try_from(end: proto::End) -> Result<Self, DecodeError> {
        let outcome = match end.outcome() {
            proto::Outcome::Unspecified => return Err(missing("record", "outcome")),
            proto::Outcome::Succeeded => Outcome::Succeeded,
            proto::Outcome::Partial => Outcome::Partial,
            proto::Outcome::DeadLettered => Outcome::DeadLettered,
            proto::Outcome::Cancelled => Outcome::Cancelled,
        };
        let dead_letter = end.dead_letter.map(|letter| {
            let cause = letter.cause.ok_or(missing("record", "cause of a dead letter"))?.into();
            Ok(DeadLetter { stage: letter.stage, attempts: letter.attempts, cause })
        });
        Ok(Self { outcome, at: end.at, dead_letter: dead_letter.transpose()? })
    }
}

impl From<&Task> for proto::Task {
    fn from(task: &Task) -> Self {
        Self {
            version: VERSION,
            document: task.document.clone(),
            pipeline: task.pipeline.clone(),
            plan: task.plan.clone(),
            stage: task.stage.clone(),
            pool: task.pool.clone(),
            round: task.round,
            epoch: task.epoch,
            attempt: task.attempt,
            priority: priority_to(task.priority),
            deadline: task.deadline,
            bytes: task.bytes,
        }
    }
}

impl TryFrom<proto::Task> for Task {
    type Error = DecodeError;

    fn try_from(task: proto::Task) -> Result<Self, DecodeError> {
        let priority = priority_from(task.priority).ok_or(missing("task", "priority"))?;
        let proto::Task { document, pipeline, plan, stage, pool, round, epoch, attempt, deadline, bytes, .. } = task;
        Ok(Self { document, pipeline, plan, stage, pool, round, epoch, attempt, priority, deadline, bytes })
    }
}

impl From<&Timer> for proto::Timer {
    fn from(timer: &Timer) -> Self {
        let alarm = match timer.alarm.clone() {
            Alarm::Retry { stage, round, epoch, attempt } => {
                timer::Alarm::Retry(proto::Retry { stage, round, epoch, attempt })
            }
            Alarm::JoinTimeout { stage, round, epoch } => {
                timer::Alarm::JoinTimeout(proto::JoinTimeout { stage, round, epoch })
            }
            Alarm::ApprovalTimeout { stage, round, epoch } => {
                timer::Alarm::ApprovalTimeout(proto::ApprovalTimeout { stage, round, epoch })
            }
            Alarm::Deadline { epoch } => timer::Alarm::Deadline(proto::Deadline { epoch }),
        };
        let (document, pipeline) = (timer.document.clone(), timer.pipeline.clone());
        Self { version: VERSION, document, pipeline, at: timer.at, alarm: Some(alarm) }
    }
}

impl TryFrom<proto::Timer> for Timer {
    type Error = DecodeError;

    fn try_from(timer: proto::Timer) -> Result<Self, DecodeError> {
        let alarm = match timer.alarm.ok_or(missing("timer", "alarm"))? {
            timer::Alarm::Retry(proto::Retry { stage, round, epoch, attempt }) => {
                Alarm::Retry { stage, round, epoch, attempt }
            }
            timer::Alarm::JoinTimeout(proto::JoinTimeout { stage, round, epoch }) => {
                Alarm::JoinTimeout { stage, round, epoch }
            }
            timer::Alarm::ApprovalTimeout(proto::ApprovalTimeout { stage, round, epoch }) => {
                Alarm::ApprovalTimeout { stage, round, epoch }
            }
            timer::Alarm::Deadline(proto::Deadline { epoch }) => Alarm::Deadline { epoch },
        };
        Ok(Self { document: timer.document, pipeline: timer.pipeline, at: timer.at, alarm })
    }
}

fn priority_to(priority: crds::Priority) -> i32 {
    let priority = match priority {
        crds::Priority::Critical => proto::Priority::Critical,
        crds::Priority::High => proto::Priority::High,
        crds::Priority::Normal => proto::Priority::Normal,
        crds::Priority::Low => proto::Priority::Low,
    };
    priority.into()
}

fn priority_from(priority: i32) -> Option<crds::Priority> {
    match proto::Priority::try_from(priority).ok()? {
        proto::Priority::Unspecified => None,
        proto::Priority::Critical => Some(crds::Priority::Critical),
        proto::Priority::High => Some(crds::Priority::High),
        proto::Priority::Normal => Some(crds::Priority::Normal),
        proto::Priority::Low => Some(crds::Priority::Low),
    }
}
