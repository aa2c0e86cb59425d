//! Starting a dead-lettered document again.

use std::collections::BTreeSet;

use crate::{DocumentRecord, Millis, Outcome, Plan, StageState, StageStatus};

/// Starts again in a new epoch: everything that has not ended, what failed, and what follows it; see [`again`]. What is
/// done stays done.
pub(super) fn replay(plan: &Plan, record: &mut DocumentRecord, now: Millis) -> bool {
    let Some(end) = record.end.take_if(|end| end.outcome == Outcome::DeadLettered) else {
        return false;
    };
    let dead = end.dead_letter.and_then(|letter| letter.stage);
    let again = again(plan, record, dead.as_deref());
    record.epoch = record.epoch.saturating_add(1);
    record.started_at = now;
    record.written_off = record.consumed();
    let restarts: Vec<(String, u32)> = record
        .stages
        .iter()
        .filter(|(name, state)| !state.has_ended() || again.contains(name.as_str()))
        .map(|(name, state)| (name.clone(), state.round))
        .collect();
    for (stage, round) in restarts {
        record.reset(&stage, round);
    }
    true
}

/// What starts again: the stage that the dead letter names and what has not ended; the failed stages before a failed one,
/// which may be why it failed (a join that became impossible); the lost stages before any other, which waits anew and for
/// them too (optional ones stay left out); and what followed from the end of any of these, unless it is done.
fn again<'a>(plan: &'a Plan, record: &DocumentRecord, dead: Option<&str>) -> BTreeSet<&'a str> {
    let status = |name: &str| record.stages.get(name).map(|state| &state.status);
    let done = |name: &str| matches!(status(name), Some(StageStatus::Done(_)));
    let failed = |name: &str| matches!(status(name), Some(StageStatus::Failed(_)));
    let ended = |name: &str| record.stages.get(name).is_some_and(StageState::has_ended);
    let optional = |name: &str| plan.stage(name).is_some_and(|planned| planned.spec.optional);
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = record.stages.keys().map(String::as_str).filter(|name| !ended(name)).collect();
    open.extend(dead);
    while let Some(name) = open.pop() {
        let Some(planned) = plan.stage(name).filter(|planned| found.insert(planned.name.as_str())) else { continue };
        let before = planned.predecessors.iter().map(String::as_str);
        open.extend(before.filter(|before| failed(before) && (failed(name) || !optional(before))));
        if ended(name) {
            open.extend(planned.successors.iter().map(String::as_str).filter(|next| !done(next)));
        }
    }
    found
}
