//! Which stages can start, which never will, and whether the document has ended.

use std::collections::BTreeSet;

use crds::JoinMode;

use crate::{DocumentRecord, End, Millis, Outcome, Plan, PlannedStage, RESULTS_STAGE, StageState, StageStatus};

use super::failure;

/// Where a waiting stage stands.
enum Readiness {
    Waits,
    Ready,
    Skipped,
    Impossible,
}

/// How many predecessors of a stage stand where.
#[derive(Default)]
struct Count {
    done: usize,
    skipped: usize,
    /// Failed, and optional.
    left_out: usize,
    /// Failed when nothing waited for them, and not optional: what comes to need them after all cannot have them.
    lost: usize,
    open: usize,
}

/// Draws all conclusions from the states of the stages. One pass in topological order is enough, since a stage depends on
/// earlier ones only.
pub(super) fn settle(plan: &Plan, record: &mut DocumentRecord, now: Millis) {
    if !record.is_closing() {
        for planned in plan.stages().iter().filter(|planned| !planned.writes_results()) {
            if record.end.is_some() {
                return;
            }
            settle_stage(plan, record, planned, now);
        }
        if record.end.is_none() && !record.suspended {
            release(plan, record);
        }
    }
    end_if_over(plan, record, now);
}

/// The predecessors of a stage that have not ended.
pub(super) fn missing<'a>(plan: &'a Plan, record: &DocumentRecord, stage: &str) -> Vec<&'a str> {
    let predecessors = plan.stage(stage).map(|planned| planned.predecessors.as_slice()).unwrap_or_default();
    let open = |name: &&String| !record.stages.get(*name).is_some_and(StageState::has_ended);
    predecessors.iter().filter(open).map(String::as_str).collect()
}

/// Whether the outcome of a stage can still change anything: it is a last one, it is judged, or a stage that waits for it
/// matters itself. The losers of a join that has started do not.
pub(super) fn matters(plan: &Plan, record: &DocumentRecord, stage: &str) -> bool {
    let judged = plan.spec.quality.as_ref().map(|quality| quality.stage.as_str());
    let waits = |name: &str| record.stages.get(name).is_none_or(|state| state.status == StageStatus::Waiting);
    let mut mattering = BTreeSet::new();
    for planned in plan.stages().iter().rev() {
        let name = planned.name.as_str();
        let needed = planned.successors.iter().any(|next| waits(next) && mattering.contains(next.as_str()));
        if planned.successors.is_empty() || judged == Some(name) || needed {
            mattering.insert(name);
        }
    }
    mattering.contains(stage)
}

fn settle_stage(plan: &Plan, record: &mut DocumentRecord, planned: &PlannedStage, now: Millis) {
    let count = Count::of(plan, record, planned);
    let round = if planned.repeats { record.round } else { 0 };
    let state = record.stages.entry(planned.name.clone()).or_insert_with(|| StageState::waiting(round));
    if state.status != StageStatus::Waiting {
        return;
    }
    match count.readiness(planned) {
        Readiness::Ready => state.enter(StageStatus::Held),
        Readiness::Skipped => state.enter(StageStatus::Skipped),
        Readiness::Impossible => {
            let message = format!("{} of {} predecessors delivered", count.done, planned.predecessors.len());
            let cause = failure::cause(failure::reason::JOIN_IMPOSSIBLE, &message);
            failure::fail_for_good(plan, record, &planned.name, cause, now);
        }
        Readiness::Waits => {
            let times_out = planned.spec.join.as_ref().is_some_and(|join| join.timeout.is_some());
            if times_out && count.done > 0 && state.waiting_since.is_none() {
                state.waiting_since = Some(now);
            }
        }
    }
}

impl Count {
    fn of(plan: &Plan, record: &DocumentRecord, planned: &PlannedStage) -> Self {
        let optional = |name: &str| plan.stage(name).is_some_and(|planned| planned.spec.optional);
        let mut count = Self::default();
        for name in &planned.predecessors {
            match record.stages.get(name).map(|state| &state.status) {
                Some(StageStatus::Done(_)) => count.done += 1,
                Some(StageStatus::Skipped) => count.skipped += 1,
                Some(StageStatus::Failed(_)) if optional(name) => count.left_out += 1,
                Some(StageStatus::Failed(_)) => count.lost += 1,
                _ => count.open += 1,
            }
        }
        count
    }

    fn readiness(&self, planned: &PlannedStage) -> Readiness {
        let join = planned.spec.join.as_ref();
        let needed = match join.map(|join| join.mode).unwrap_or_default() {
            JoinMode::All => return self.all(),
            JoinMode::Any => 1,
            JoinMode::Quorum => {
                let quorum = join.and_then(|join| join.quorum).unwrap_or(1);
                usize::try_from(quorum).unwrap_or(usize::MAX)
            }
        };
        if self.done >= needed {
            Readiness::Ready
        } else if self.all_skipped() {
            Readiness::Skipped
        } else if self.done + self.open < needed {
            Readiness::Impossible
        } else {
            Readiness::Waits
        }
    }

    fn all(&self) -> Readiness {
        match (self.lost, self.open) {
            (0, 0) if self.all_skipped() => Readiness::Skipped,
            (0, 0) => Readiness::Ready,
            (0, _) => Readiness::Waits,
            _ => Readiness::Impossible,
        }
    }

    fn all_skipped(&self) -> bool {
        self.skipped > 0 && self.done + self.left_out + self.lost + self.open == 0
    }
}

/// Hands out what is held: everything, or with `parallel: false` the first stage while none is in work.
fn release(plan: &Plan, record: &mut DocumentRecord) {
    let mut busy = !plan.spec.parallel && record.stages.values().any(StageState::is_in_work);
    for planned in plan.stages() {
        match record.stages.get_mut(&planned.name) {
            Some(state) if state.status == StageStatus::Held && !busy => {
                state.dispatch();
                busy = !plan.spec.parallel;
            }
            _ => {}
        }
    }
}

/// A document is over when its last stages are; what then still runs, such as the losers of a join of mode Any, is stale.
/// It ends when its results are written too, where they are.
fn end_if_over(plan: &Plan, record: &mut DocumentRecord, now: Millis) {
    let mut last = plan.stages().iter().filter(|planned| planned.is_last());
    if record.end.is_none() && last.all(|planned| record.stages.get(&planned.name).is_some_and(StageState::has_ended)) {
        if plan.stage(RESULTS_STAGE).is_some() {
            let writing = record.stages.entry(RESULTS_STAGE.to_owned()).or_insert_with(|| StageState::waiting(0));
            // Neither suspension nor a branch that is still in work holds it back.
            if writing.status == StageStatus::Waiting {
                writing.dispatch();
            }
            if !writing.has_ended() {
                return;
            }
        }
        let outcome = if record.degraded.is_empty() { Outcome::Succeeded } else { Outcome::Partial };
        record.end = Some(End { outcome, at: now, dead_letter: None });
    }
}
