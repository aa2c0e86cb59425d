//! Completions, and the rounds that a quality stage demands.

use crds::Fallback;

use crate::{Completion, DocumentRecord, Millis, Plan, StageStatus};

use super::failure;

/// A stage delivered; where it is the quality stage its score decides whether the document goes round again.
pub(super) fn complete(
    plan: &Plan,
    record: &mut DocumentRecord,
    stage: &str,
    completion: Completion,
    now: Millis,
) -> bool {
    let judged = plan.spec.quality.as_ref().filter(|quality| quality.stage == stage);
    let score = completion.score.filter(|score| score.is_finite());
    if judged.is_some() && score.is_none() {
        let spent = completion.spent();
        record.outdated.add(&completion);
        let cause = crate::Cause {
            worker: completion.worker,
            model: completion.model,
            ..failure::cause(failure::reason::NO_SCORE, "the stage delivered no score, so its quality cannot be judged")
        };
        if let Some(state) = record.stages.get_mut(stage) {
            state.spent = state.spent.plus(spent);
        }
        failure::fail_for_good(plan, record, stage, cause, now);
        return true;
    }
    if completion.fallback.as_deref() == Some(Fallback::CONSTANT) {
        record.note(stage, "a constant stands in for its result");
    }
    if let Some(state) = record.stages.get_mut(stage) {
        state.enter(StageStatus::Done(completion));
    }
    if let (Some(quality), Some(score)) = (judged, score) {
        record.quality = Some(score);
        if score < quality.threshold && record.round < quality.max_rounds {
            start_round(plan, record, &quality.restart_at);
        } else if score < quality.threshold {
            let threshold = quality.threshold;
            record.note(stage, &format!("score {score} is below {threshold} in the last round"));
        }
    }
    true
}

/// Sends the repeated part round again. Its first stage is ready at once: it was before, and what precedes it is not
/// repeated. Tasks of the old round that are still out become stale.
fn start_round(plan: &Plan, record: &mut DocumentRecord, restart_at: &str) {
    record.round += 1;
    record.previous.clear();
    for planned in plan.stages().iter().filter(|planned| planned.repeats) {
        if let Some(StageStatus::Done(completion)) = record.stages.get(&planned.name).map(|state| &state.status) {
            record.previous.insert(planned.name.clone(), completion.output.clone());
        }
        record.reset(&planned.name, record.round);
    }
    if let Some(state) = record.stages.get_mut(restart_at) {
        state.enter(StageStatus::Held);
    }
}
