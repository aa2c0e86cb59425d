//! Stages that wait for a person: what is asked, the answer, and what happens without one.

use crds::{Approve, OnApprovalTimeout};

use crate::{Cause, Completion, Digest, DocumentRecord, Millis, Plan, StageStatus};

use super::{failure, open_stage, readiness, reason};

/// What a person answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Whether the document may go on; otherwise it is given up at this stage, or goes on without an optional one.
    pub approved: bool,
    /// Who answered.
    pub by: String,
    /// What they said.
    pub comment: Option<String>,
    /// Payload with the answer: the output of the stage.
    pub output: Digest,
}

/// An attempt has found what is to be asked. One that comes late counts while nobody has been asked yet.
pub(super) fn request(
    record: &mut DocumentRecord,
    task: (&str, u32, u32),
    attempt: u32,
    (request, unanswered): (Digest, Digest),
    now: Millis,
) -> bool {
    match open_stage(record, task) {
        Some(state) if !state.is_awaiting() && (1..=state.attempt).contains(&attempt) => {
            state.enter(StageStatus::Awaiting { since: now, request, unanswered });
            true
        }
        _ => false,
    }
}

/// Somebody answered; the first answer counts.
pub(super) fn answer(
    plan: &Plan,
    record: &mut DocumentRecord,
    task: (&str, u32, u32),
    answer: Answer,
    now: Millis,
) -> bool {
    let Some(state) = open_stage(record, task).filter(|state| state.is_awaiting()) else { return false };
    if answer.approved {
        let Answer { output, by: worker, .. } = answer;
        state.enter(StageStatus::Done(Completion { output, worker, ..Completion::default() }));
        return true;
    }
    let said = answer.comment.map(|comment| format!(": {comment}")).unwrap_or_default();
    let cause = failure::cause(reason::REJECTED, &format!("rejected by {}{said}", answer.by));
    failure::fail_for_good(plan, record, task.0, Cause { worker: answer.by, ..cause }, now);
    true
}

/// Nobody answered in time.
pub(super) fn give_up_waiting(plan: &Plan, record: &mut DocumentRecord, task: (&str, u32, u32), now: Millis) -> bool {
    let stage = task.0;
    let Some(Approve { timeout: Some(timeout), on_timeout, .. }) = asked(plan, stage) else { return false };
    let Some(state) = open_stage(record, task) else { return false };
    let StageStatus::Awaiting { unanswered, .. } = &state.status else { return false };
    let message = format!("nobody answered within {timeout}");
    match on_timeout {
        OnApprovalTimeout::Approve => {
            let output = unanswered.clone();
            state.enter(StageStatus::Done(Completion { output, ..Completion::default() }));
        }
        OnApprovalTimeout::DeadLetter if readiness::matters(plan, record, stage) => {
            failure::dead_letter(record, Some(stage), failure::cause(reason::APPROVAL_TIMEOUT, &message), now);
        }
        OnApprovalTimeout::DeadLetter => {
            failure::fail_for_good(plan, record, stage, failure::cause(reason::APPROVAL_TIMEOUT, &message), now);
        }
        OnApprovalTimeout::Reject => {
            failure::fail_for_good(plan, record, stage, failure::cause(reason::REJECTED, &message), now);
        }
    }
    true
}

/// What a stage asks a person.
pub(super) fn asked<'a>(plan: &'a Plan, stage: &str) -> Option<&'a Approve> {
    plan.stage(stage)?.spec.approve.as_ref()
}
