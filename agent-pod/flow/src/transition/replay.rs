//! Starting a dead-lettered document again.

use std::collections::BTreeSet;

use crate::{DocumentRecord, Millis, Outcome, Plan, StageState, StageStatus};

/// Starts again in a new epoch: everything that has not ended, and where a stage failed, that stage, the failed ones before
/// it which may be why (a join that became impossible), and what follows them. What is done stays done.
pub(super) fn replay(plan: &Plan, record: &mut DocumentRecord, now: Millis) -> bool {
    let Some(end) = record.end.take_if(|end| end.outcome == Outcome::DeadLettered) else {
        return false;
    };
    let failed = end.dead_letter.and_then(|letter| letter.stage);
    let again = failed.map(|stage| failed_and_following(plan, record, &stage)).unwrap_or_default();
    record.epoch = record.epoch.saturating_add(1);
    record.started_at = now;
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

fn failed_and_following<'a>(plan: &'a Plan, record: &DocumentRecord, stage: &str) -> BTreeSet<&'a str> {
    let status = |name: &str| record.stages.get(name).map(|state: &StageState| &state.status);
    let not_done = |name: &str| !matches!(status(name), Some(StageStatus::Done(_)));
    let failed = |name: &str| matches!(status(name), Some(StageStatus::Failed(_)));
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = vec![stage];
    while let Some(planned) = open.pop().and_then(|name| plan.stage(name)) {
        if found.insert(planned.name.as_str()) {
            open.extend(planned.predecessors.iter().map(String::as_str).filter(|name| failed(name)));
        }
    }
    open.extend(found.iter().copied());
    while let Some(planned) = open.pop().and_then(|name| plan.stage(name)) {
        for next in planned.successors.iter().map(String::as_str).filter(|name| not_done(name)) {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}
