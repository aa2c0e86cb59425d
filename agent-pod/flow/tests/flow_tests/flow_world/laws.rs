//! What must hold of every record that follows another.

use std::collections::{BTreeMap, BTreeSet};

use crds::JoinMode;
use flow::{
    Alarm, Completion, DocumentRecord, Effect, Event, Outcome, Plan, RESULTS_STAGE, Spent, StageState, StageStatus,
    Task, Timer, Transition, reason,
};

/// A stage in one round of one epoch.
type Run = (String, u32, u32);

/// What has been seen of one document.
#[derive(Default)]
pub(crate) struct Laws {
    published: BTreeSet<String>,
    completed: BTreeMap<Run, u32>,
    fired: BTreeMap<Run, u32>,
    reported: BTreeMap<u32, u32>,
}

impl Laws {
    /// Judges the step from one record to the next.
    pub(crate) fn check(
        &mut self,
        plan: &Plan,
        old: Option<&DocumentRecord>,
        event: Option<&Event>,
        next: &Transition,
    ) {
        let new = &next.record;
        self.check_effects(plan, old, next);
        check_bounds(plan, new);
        check_wire(new, &next.effects);
        check_spent(old, event, next);
        check_failures(plan, old, new);
        check_results(plan, old, new);
        if let Some(end) = old.and_then(|old| old.end.as_ref()) {
            let replayed = event == Some(&Event::Replay) && end.outcome == Outcome::DeadLettered;
            assert!(replayed || !next.changed, "{event:?} changed a document that has ended");
        }
        if let (Some(old), Some(event)) = (old, event) {
            assert!(!next.changed || is_current(old, event), "{event:?} is over but changed {old:#?}");
        }
        for planned in plan.stages() {
            let state = &new.stages[&planned.name];
            let kept = old.filter(|old| old.round == new.round).and_then(|old| old.stages.get(&planned.name));
            if let Some(StageState { status: StageStatus::Done(completion), .. }) = kept {
                assert_eq!(state.status, StageStatus::Done(completion.clone()), "{} was done", planned.name);
            }
            let run = (planned.name.clone(), state.round, new.epoch);
            let before = old.filter(|old| old.epoch == new.epoch).and_then(|old| old.stages.get(&planned.name));
            let before = before.filter(|before| before.round == state.round);
            self.check_run(run, before, state);
            let first = state.attempt == 1 && before.is_none_or(|before| before.attempt == 0);
            let started = first && state.status == StageStatus::Dispatched;
            if started && !is_forced(plan, event, old, new, &planned.name) {
                check_join(plan, planned, new);
            }
        }
    }

    fn check_effects(&mut self, plan: &Plan, old: Option<&DocumentRecord>, next: &Transition) {
        let before = old.map(|old| old.outbox(plan)).unwrap_or_default();
        let after = next.record.outbox(plan);
        for effect in &next.effects {
            assert!(after.contains(effect), "{effect:?} is published but not outstanding");
            assert!(!before.contains(effect), "{effect:?} was outstanding already");
            match effect {
                Effect::Publish(task) => {
                    let (planned, state) = (plan.stage(&task.stage), &next.record.stages[&task.stage]);
                    assert_eq!(planned.map(|planned| planned.pool(state.level())), Some(task.pool.as_str()));
                    assert!(self.published.insert(task.id()), "{task:?} is published as new twice");
                    let held_back = next.record.suspended && task.stage != RESULTS_STAGE;
                    assert!(!next.record.is_stale(task) && !held_back, "{task:?}");
                }
                Effect::Report(_) => *self.reported.entry(next.record.epoch).or_default() += 1,
                Effect::SetTimer(_) => {}
            }
        }
        for effect in &after {
            assert!(before.contains(effect) || next.effects.contains(effect), "{effect:?} is owed but never published");
        }
    }

    fn check_run(&mut self, run: Run, before: Option<&StageState>, state: &StageState) {
        let was = before.map_or(&StageStatus::Waiting, |before| &before.status);
        if *was == StageStatus::Waiting && matches!(state.status, StageStatus::Held | StageStatus::Dispatched) {
            *self.fired.entry(run.clone()).or_default() += 1;
        }
        match (was, &state.status) {
            (StageStatus::Done(_) | StageStatus::Skipped | StageStatus::Failed(_), now) => {
                assert_eq!(was, now, "{run:?} had ended");
            }
            (_, StageStatus::Done(_)) => *self.completed.entry(run.clone()).or_default() += 1,
            (was, StageStatus::Waiting) => assert_eq!(*was, StageStatus::Waiting, "{run:?} waits again"),
            _ => {}
        }
        for counts in [&self.fired, &self.completed] {
            assert!(counts.get(&run).is_none_or(|&count| count <= 1), "{run:?} happened twice");
        }
    }

    /// In every epoch the document was reported at most once, in the last one exactly once.
    pub(crate) fn check_end(&self, record: &DocumentRecord) {
        assert!(record.end.is_some());
        assert!(self.reported.values().all(|&reports| reports == 1), "{:?}", self.reported);
        assert_eq!(
            self.reported.len(),
            record.epoch as usize + 1,
            "every epoch but the last one ended in a dead letter"
        );
    }
}

/// Whether an event is about the round and epoch that the record is in.
fn is_current(record: &DocumentRecord, event: &Event) -> bool {
    match event {
        Event::AttemptStarted { stage, round, epoch, .. }
        | Event::AttemptInterrupted { stage, round, epoch, .. }
        | Event::StageCompleted { stage, round, epoch, .. }
        | Event::StageSkipped { stage, round, epoch }
        | Event::ApprovalRequested { stage, round, epoch, .. }
        | Event::Answered { stage, round, epoch, .. }
        | Event::StageFailed { stage, round, epoch, .. }
        | Event::Alarm(
            Alarm::Retry { stage, round, epoch, .. }
            | Alarm::JoinTimeout { stage, round, epoch }
            | Alarm::ApprovalTimeout { stage, round, epoch },
        ) => record.epoch == *epoch && record.stages[stage].round == *round,
        Event::Alarm(Alarm::Deadline { epoch }) => record.epoch == *epoch,
        Event::Cancel | Event::Suspend | Event::Resume | Event::Replay => true,
    }
}

fn check_bounds(plan: &Plan, record: &DocumentRecord) {
    let bound = plan.spec.quality.as_ref().map_or(0, |quality| quality.max_rounds);
    assert!(record.round <= bound, "round {} of at most {bound}", record.round);
    let in_work = record.stages.iter().filter(|(name, state)| *name != RESULTS_STAGE && state.is_in_work()).count();
    assert!(plan.spec.parallel || in_work <= 1, "{in_work} stages are in work side by side");
    for planned in plan.stages() {
        let state = &record.stages[&planned.name];
        let ways = 1 + planned.fallbacks.len() as u32;
        assert!(state.attempt <= ways * planned.retry.max_attempts && state.unreported <= 3);
        let (level, before) = state.fallen_back.as_ref().map_or((0, 0), |fallen| (fallen.level, fallen.attempts));
        assert!(level < ways && state.attempt <= before + planned.retry.max_attempts, "{state:#?}");
        assert!(before <= level * planned.retry.max_attempts && before >= level, "{state:#?}");
        let constant = |done: &Completion| done.fallback.as_deref() == Some("constant");
        if matches!(&state.status, StageStatus::Done(done) if constant(done)) {
            assert!(record.degraded.iter().any(|note| note.starts_with(&format!("{}: a constant", planned.name))));
        }
        assert_eq!(state.round, if planned.repeats { record.round } else { 0 });
    }
    let spent = record.consumed().tokens() - record.written_off.tokens();
    let over = plan.spec.budget.and_then(|budget| budget.tokens).is_some_and(|most| spent > most);
    assert!(!over || record.end.is_some(), "{spent} tokens are more than the budget allows");
    if let Some(end) = &record.end {
        assert_eq!(end.outcome == Outcome::DeadLettered, end.dead_letter.is_some());
        assert!(end.outcome != Outcome::Succeeded || record.degraded.is_empty());
        assert!(end.outcome != Outcome::Partial || !record.degraded.is_empty());
    }
}

fn check_wire(record: &DocumentRecord, effects: &[Effect]) {
    assert_eq!(&DocumentRecord::decode(&record.encode()).expect("it was just written"), record);
    for effect in effects {
        match effect {
            Effect::Publish(task) => assert_eq!(&Task::decode(&task.encode()).expect("it was just written"), task),
            Effect::SetTimer(timer) => assert_eq!(&Timer::decode(&timer.encode()).expect("it was just written"), timer),
            Effect::Report(_) => {}
        }
    }
}

/// Whether a stage may start without its join being satisfied: after a time-out, or as the first of a new round. A stage
/// that was forced earlier and then held back has its first attempt later; it is known by its note or its round.
fn is_forced(
    plan: &Plan,
    event: Option<&Event>,
    old: Option<&DocumentRecord>,
    new: &DocumentRecord,
    stage: &str,
) -> bool {
    let timed_out = matches!(event, Some(Event::Alarm(Alarm::JoinTimeout { stage: of, .. })) if of == stage);
    let partial = new.degraded.iter().any(|note| note.starts_with(&format!("{stage}: started without")));
    let restarts = plan.spec.quality.as_ref().is_some_and(|quality| quality.restart_at == stage) && new.round > 0;
    timed_out || partial || (restarts && old.is_some_and(|old| old.epoch == new.epoch))
}

/// What an attempt consumed counts once, and whatever happens to its result it goes on to count.
fn check_spent(old: Option<&DocumentRecord>, event: Option<&Event>, next: &Transition) {
    let reported = match event {
        Some(Event::StageCompleted { completion, .. }) if next.changed => completion.spent(),
        Some(Event::StageFailed { spent, .. }) if next.changed => *spent,
        _ => Spent::default(),
    };
    let before = old.map(DocumentRecord::consumed).unwrap_or_default();
    assert_eq!(next.record.consumed(), before.plus(reported), "{event:?}");
}

/// A stage that fails ends the document if something waits for it and it is not optional, and only then; else it is noted.
fn check_failures(plan: &Plan, old: Option<&DocumentRecord>, new: &DocumentRecord) {
    let failed = |record: &DocumentRecord, stage: &str| {
        record.stages.get(stage).is_some_and(|state| matches!(state.status, StageStatus::Failed(_)))
    };
    for planned in plan.stages().iter().filter(|planned| failed(new, &planned.name)) {
        let (stage, letter) = (&planned.name, new.end.as_ref().and_then(|end| end.dead_letter.as_ref()));
        if let Some(letter) = letter.filter(|letter| letter.stage.as_ref() == Some(stage)) {
            let quarantined = letter.cause.reason == reason::QUARANTINED;
            assert!(quarantined || is_awaited(plan, new, stage), "nothing waited for {stage}: {new:#?}");
            continue;
        }
        assert!(new.degraded.iter().any(|note| note.starts_with(&format!("{stage}: left out"))), "{stage}: {new:#?}");
        if old.is_some_and(|old| old.epoch != new.epoch || !failed(old, stage)) {
            assert!(planned.spec.optional || !is_awaited(plan, new, stage), "{stage} was awaited: {new:#?}");
        }
    }
}

/// Results are written after all last stages have ended and before the document ends well, and nothing else moves then.
fn check_results(plan: &Plan, old: Option<&DocumentRecord>, new: &DocumentRecord) {
    if plan.stage(RESULTS_STAGE).is_none() {
        return;
    }
    let last = plan.stages().iter().filter(|planned| planned.is_last());
    let worked = last.into_iter().all(|planned| new.stages[&planned.name].has_ended());
    let writing = &new.stages[RESULTS_STAGE].status;
    if *writing != StageStatus::Waiting {
        assert!(worked, "results are written too early: {new:#?}");
    }
    if new.end.as_ref().is_some_and(|end| matches!(end.outcome, Outcome::Succeeded | Outcome::Partial)) {
        assert!(matches!(writing, StageStatus::Done(_)), "it ended without its results: {new:#?}");
    }
    if let Some(old) = old.filter(|old| old.is_closing() && old.epoch == new.epoch) {
        let others = |record: &DocumentRecord| {
            let mut stages = record.stages.clone();
            stages.remove(RESULTS_STAGE);
            (stages, record.degraded.clone(), record.round)
        };
        assert_eq!(others(old), others(new), "the document has changed while its result was written");
    }
}

/// Whether the document cannot end well without the stage, or stages that wait lead from it to one like that.
fn is_awaited(plan: &Plan, record: &DocumentRecord, stage: &str) -> bool {
    let judged = plan.spec.quality.as_ref().is_some_and(|quality| quality.stage == stage);
    let planned = plan.stage(stage).expect("the stage is planned");
    let waits = |next: &String| record.stages[next].status == StageStatus::Waiting && is_awaited(plan, record, next);
    judged || planned.successors.is_empty() || planned.successors.iter().any(waits)
}

fn check_join(plan: &Plan, planned: &flow::PlannedStage, record: &DocumentRecord) {
    let states: Vec<&StageState> = planned.predecessors.iter().map(|name| &record.stages[name]).collect();
    let done = states.iter().filter(|state| matches!(state.status, StageStatus::Done(_))).count();
    let join = planned.spec.join.as_ref();
    let satisfied = match join.map(|join| join.mode).unwrap_or_default() {
        JoinMode::All => planned.predecessors.iter().all(|name| match &record.stages[name].status {
            StageStatus::Failed(_) => plan.stage(name).is_some_and(|before| before.spec.optional),
            _ => record.stages[name].has_ended(),
        }),
        JoinMode::Any => done >= 1,
        JoinMode::Quorum => done >= join.and_then(|join| join.quorum).unwrap_or(1) as usize,
    };
    assert!(satisfied, "{} started too early: {states:#?}", planned.name);
}
