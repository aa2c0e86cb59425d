//! What a failure leads to: another attempt, a stage that is left out, or a dead letter.

use crate::{
    Cause, DeadLetter, DocumentRecord, End, FallenBack, Millis, Outcome, Plan, PlannedStage, Spent, StageStatus,
    plan::LONGEST_WAIT,
};

use super::{millis, open_stage, readiness};

/// Reasons of causes that the flow itself finds or acts upon; the others come from workers.
pub mod reason {
    /// Nobody answered in time.
    pub const APPROVAL_TIMEOUT: &str = "ApprovalTimeout";
    /// The document took more tokens or cost more than its budget allows.
    pub const BUDGET_EXCEEDED: &str = "BudgetExceeded";
    /// The model was not asked, because it failed too often just before.
    pub const CIRCUIT_OPEN: &str = "CircuitOpen";
    /// The document did not end before its deadline.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// Too few predecessors of a join can still deliver.
    pub const JOIN_IMPOSSIBLE: &str = "JoinImpossible";
    /// A join waited too long.
    pub const JOIN_TIMEOUT: &str = "JoinTimeout";
    /// The quality stage delivered no score.
    pub const NO_SCORE: &str = "NoScore";
    /// A person said no, or nobody answered and that counts as no.
    pub const REJECTED: &str = "Rejected";
    /// Attempts of the stage started and never reported, as if the document took its workers down.
    pub const QUARANTINED: &str = "Quarantined";
}

/// Starts without a report after which a document is suspected of killing its workers. One or two happen to any document
/// while nodes are drained.
const UNREPORTED_STARTS: u32 = 3;

pub(super) fn cause(reason: &str, message: &str) -> Cause {
    Cause { reason: reason.to_owned(), message: message.to_owned(), ..Cause::default() }
}

/// What a worker said about an attempt that failed.
pub(super) struct FailedAttempt {
    pub(super) attempt: u32,
    pub(super) cause: Cause,
    pub(super) transient: bool,
    pub(super) spent: Spent,
    pub(super) after: Option<Millis>,
}

/// An attempt is about to start that may have been started before.
pub(super) fn start(
    record: &mut DocumentRecord,
    task: (&str, u32, u32),
    attempt: u32,
    worker: String,
    now: Millis,
) -> bool {
    match open_stage(record, task) {
        Some(state) if state.status == StageStatus::Dispatched && state.attempt == attempt => {
            if state.unreported < UNREPORTED_STARTS {
                state.unreported += 1;
            } else {
                let message = format!("{UNREPORTED_STARTS} attempts started and never reported");
                let cause = Cause { worker, ..cause(reason::QUARANTINED, &message) };
                dead_letter(record, Some(task.0), cause, now);
            }
            true
        }
        _ => false,
    }
}

/// An attempt that was entered is handed back unfinished.
pub(super) fn interrupt(record: &mut DocumentRecord, task: (&str, u32, u32), attempt: u32) -> bool {
    match open_stage(record, task) {
        Some(state) if state.status == StageStatus::Dispatched && state.attempt == attempt && state.unreported > 0 => {
            state.unreported -= 1;
            true
        }
        _ => false,
    }
}

/// An attempt reported a failure.
pub(super) fn fail_attempt(
    plan: &Plan,
    record: &mut DocumentRecord,
    task: (&str, u32, u32),
    failed: FailedAttempt,
    now: Millis,
) -> bool {
    let FailedAttempt { attempt, cause, transient, spent, after } = failed;
    let matters = readiness::matters(plan, record, task.0);
    match open_stage(record, task) {
        Some(state) if state.status == StageStatus::Dispatched && state.attempt == attempt => {
            state.spent = state.spent.plus(spent);
            let planned = plan.stage(task.0);
            let before = state.fallen_back.as_ref().map_or(0, |fallen| fallen.attempts);
            let made = attempt.saturating_sub(before);
            let retried = planned.filter(|planned| transient && made < planned.retry.max_attempts);
            let level = state.level().saturating_add(1);
            let falls_back = matters
                && cause.reason != reason::BUDGET_EXCEEDED
                && planned.is_some_and(|planned| planned.fallback(level).is_some());
            match retried {
                // Nothing is gained by waiting for an open circuit where another way is at hand.
                Some(planned) if !falls_back || cause.reason != reason::CIRCUIT_OPEN => {
                    let until = now.saturating_add(wait(planned, made).max(after.unwrap_or(0)));
                    state.enter(StageStatus::Backoff { until, cause });
                }
                _ if falls_back => {
                    state.enter(StageStatus::Held);
                    state.fallen_back = Some(FallenBack { level, attempts: attempt, cause });
                }
                _ => fail_for_good(plan, record, task.0, cause, now),
            }
            true
        }
        _ => false,
    }
}

/// The wait after an attempt. Numbers too large for the clock become its end.
fn wait(planned: &PlannedStage, attempt: u32) -> Millis {
    let backoff = &planned.retry.backoff;
    let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let wait = (millis(backoff.initial.0) as f64 * backoff.factor.powi(exponent)) as Millis;
    if planned.writes_results() { wait.min(millis(LONGEST_WAIT)) } else { wait }
}

/// A stage will not be tried again. One that is optional, or that nothing waits for any more, is left out; any other ends
/// the document.
pub(super) fn fail_for_good(plan: &Plan, record: &mut DocumentRecord, stage: &str, cause: Cause, now: Millis) {
    let optional = plan.stage(stage).is_some_and(|planned| planned.spec.optional);
    if !optional && readiness::matters(plan, record, stage) {
        return dead_letter(record, Some(stage), cause, now);
    }
    record.note(stage, &format!("left out, {}: {}", cause.reason, cause.message));
    if let Some(state) = record.stages.get_mut(stage) {
        state.enter(StageStatus::Failed(cause));
    }
}

/// Ends the document as given up, at a stage or as a whole.
pub(super) fn dead_letter(record: &mut DocumentRecord, stage: Option<&str>, cause: Cause, now: Millis) {
    let state = stage.and_then(|stage| record.stages.get_mut(stage));
    let attempts = state.as_ref().map_or(0, |state| state.attempt);
    if let Some(state) = state {
        state.enter(StageStatus::Failed(cause.clone()));
    }
    let dead_letter = DeadLetter { stage: stage.map(str::to_owned), attempts, cause };
    record.end = Some(End { outcome: Outcome::DeadLettered, at: now, dead_letter: Some(dead_letter) });
}
