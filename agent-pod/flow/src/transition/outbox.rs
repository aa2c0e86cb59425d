//! What a record has outstanding, computed from its state alone.

use crate::{
    Alarm, DocumentRecord, Effect, Millis, Plan, PlannedStage, RESULTS_STAGE, StageState, StageStatus, Task, Timer,
};

use super::{approval, millis};

impl DocumentRecord {
    /// All outstanding obligations: tasks of dispatched stages, timers of attempts to come, of waiting joins and approvals
    /// and of the deadline; of a document that is closing the writing of its results alone, of an ended one its report.
    pub fn outbox(&self, plan: &Plan) -> Vec<Effect> {
        if let Some(end) = &self.end {
            return vec![Effect::Report(end.clone())];
        }
        if self.is_closing() {
            let writing = plan.stage(RESULTS_STAGE).zip(self.stages.get(RESULTS_STAGE));
            return writing.and_then(|(planned, state)| self.owed_by(plan, planned, state)).into_iter().collect();
        }
        let stages = plan.stages().iter();
        let stages = stages.filter_map(|planned| self.owed_by(plan, planned, self.stages.get(&planned.name)?));
        let deadline = self.deadline().map(|at| self.timer(at, Alarm::Deadline { epoch: self.epoch }));
        stages.chain(deadline).collect()
    }

    /// Whether the record does not wait for this task: the stage has gone on or ended, or the document has. Whoever holds
    /// such a task publishes the outbox and acknowledges the task.
    pub fn is_stale(&self, task: &Task) -> bool {
        let expected = self.stages.get(&task.stage).is_some_and(|state| {
            state.status == StageStatus::Dispatched && (state.round, state.attempt) == (task.round, task.attempt)
        });
        let here = self.submission.document == task.document && self.pipeline == task.pipeline;
        let same = here && self.plan == task.plan && self.epoch == task.epoch;
        let over = self.end.is_some() || (self.is_closing() && task.stage != RESULTS_STAGE);
        over || !same || !expected
    }

    fn owed_by(&self, plan: &Plan, planned: &PlannedStage, state: &StageState) -> Option<Effect> {
        let (stage, round, epoch) = (planned.name.clone(), state.round, self.epoch);
        match &state.status {
            StageStatus::Dispatched => Some(Effect::Publish(Task {
                document: self.submission.document.clone(),
                pipeline: self.pipeline.clone(),
                plan: self.plan.clone(),
                stage,
                pool: planned.pool(state.level()).to_owned(),
                round,
                epoch,
                attempt: state.attempt,
                priority: self.submission.priority,
                deadline: self.deadline(),
                bytes: self.submission.bytes,
            })),
            StageStatus::Backoff { until, .. } => {
                Some(self.timer(*until, Alarm::Retry { stage, round, epoch, attempt: state.attempt }))
            }
            StageStatus::Waiting => {
                let timeout = planned.spec.join.as_ref()?.timeout?;
                let at = state.waiting_since?.saturating_add(millis(timeout.0));
                Some(self.timer(at, Alarm::JoinTimeout { stage, round, epoch }))
            }
            StageStatus::Awaiting { since, .. } => {
                let timeout = approval::asked(plan, &stage)?.timeout?;
                let at = since.saturating_add(millis(timeout.0));
                Some(self.timer(at, Alarm::ApprovalTimeout { stage, round, epoch }))
            }
            StageStatus::Held | StageStatus::Done(_) | StageStatus::Skipped | StageStatus::Failed(_) => None,
        }
    }

    fn timer(&self, at: Millis, alarm: Alarm) -> Effect {
        let (document, pipeline) = (self.submission.document.clone(), self.pipeline.clone());
        Effect::SetTimer(Timer { document, pipeline, at, alarm })
    }
}
