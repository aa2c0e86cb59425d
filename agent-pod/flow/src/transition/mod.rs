//! The next record of a document from an event.
//!
//! # Flow
//! [`submit`] makes the first record, [`refuse`] that of a document that cannot be taken. Whoever learns of something (a
//! worker that finished, a timer that rang, a person who cancels) reads the record, calls [`transition`], writes the new
//! record by compare-and-set, publishes the effects and only then acknowledges what told him. If the write conflicts he
//! reads again and calls again. If nothing changed he publishes the whole outbox before he acknowledges: the one who
//! changed it may have died before he published.
//!
//! # The outbox is derived, not stored
//! What a document has outstanding follows from its state: a `Dispatched` stage owes its task, a `Backoff` stage its
//! timer, a waiting join its time-out, an ended document its report. [`DocumentRecord::outbox`] computes all of it;
//! [`Transition::effects`] is the part that is new, so the usual case publishes each effect once. A worker that dies
//! between its write and its publish leaves obligations which nobody can overwrite, least of all a later write for another
//! branch: a redelivery that finds its stage ended, a resumed run and the sweeper all publish the outbox again, and the
//! ids of tasks and timers make repeats harmless.
//!
//! # Guarantees
//! - Pure and total: no event and no record makes it panic, stages unknown to the plan included.
//! - Idempotent: an event that was applied, or that belongs to an older round, epoch or attempt, changes nothing. The two
//!   exceptions are [`Event::AttemptStarted`], which counts (each start is another one), and [`Event::AttemptInterrupted`],
//!   which takes one start back.
//! - A result that comes late is a result: a completion of an older attempt counts while the stage has not ended.
//! - A failure ends the document only while something still waits for the stage: what loses a join that has started
//!   without it may fail.
//! - A stage that fails for good turns to its fallbacks first, to each at most once a round and epoch. A budget that is
//!   exceeded ends the document whatever else could be tried.
//! - A join starts at most once a round and epoch; rounds stay within `maxRounds`; a document ends exactly once, and after
//!   its end only [`Event::Replay`] of a dead letter changes it.
//!
//! # Approvals
//! A stage that waits for a person is `Awaiting`: its worker has said what is asked and acknowledged its task, so no slot is
//! held; an answer or a timer moves it on.
//!
//! # Results
//! Where the plan writes results, a document whose last stages have ended is *closing*: only the implicit stage that writes
//! them is outstanding. What still runs, the deadline and a cancellation change nothing any more, as after the end.
//!
//! # Assumptions
//! The plan is the one that the record names. Events that carry stage, round, epoch and attempt copy them from their task.

mod approval;
mod failure;
mod ids;
mod outbox;
mod quality;
mod readiness;
mod replay;

pub use approval::Answer;
pub use failure::reason;

use crds::OnTimeout;
use failure::FailedAttempt;

use crate::{
    Alarm, Cause, Completion, DocumentRecord, Effect, End, Millis, Outcome, Plan, RESULTS_STAGE, Spent, StageState,
    StageStatus, Submission,
};

/// Something that happened to a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A worker is about to work a task that was delivered before; written before the work starts.
    AttemptStarted {
        /// The stage.
        stage: String,
        /// Its round.
        round: u32,
        /// The record's epoch.
        epoch: u32,
        /// The attempt.
        attempt: u32,
        /// Who starts.
        worker: String,
    },
    /// A worker hands an attempt back unfinished, through no fault of the document (it stops, or its store failed): the
    /// start that was entered for it does not count.
    AttemptInterrupted {
        /// The stage.
        stage: String,
        /// Its round.
        round: u32,
        /// The record's epoch.
        epoch: u32,
        /// The attempt.
        attempt: u32,
    },
    /// An attempt delivered.
    StageCompleted {
        /// The stage.
        stage: String,
        /// Its round.
        round: u32,
        /// The record's epoch.
        epoch: u32,
        /// The attempt.
        attempt: u32,
        /// What it delivered.
        completion: Completion,
    },
    /// The stage's `when` was false.
    StageSkipped {
        /// The stage.
        stage: String,
        /// Its round.
        round: u32,
        /// The record's epoch.
        epoch: u32,
    },
    /// An attempt has worked out what a person is to be asked; from now on the stage waits for the answer.
    ApprovalRequested {
        /// The stage.
        stage: String,
        /// Its round.
        round: u32,
        /// The record's epoch.
        epoch: u32,
        /// The attempt.
        attempt: u32,
        /// Payload with what is asked.
        request: crate::Digest,
        /// Payload that becomes the output if nobody answers in time and that counts as approved.
        unanswered: crate::Digest,
    },
    /// A person has answered.
    Answered {
        /// The stage.
        stage: String,
        /// Its round.
        round: u32,
        /// The record's epoch.
        epoch: u32,
        /// What.
        answer: Answer,
    },
    /// An attempt failed.
    StageFailed {
        /// The stage.
        stage: String,
        /// Its round.
        round: u32,
        /// The record's epoch.
        epoch: u32,
        /// The attempt.
        attempt: u32,
        /// Why.
        cause: Cause,
        /// Whether another attempt may succeed.
        transient: bool,
        /// What the attempt consumed, as far as that is known.
        spent: Spent,
        /// Milliseconds that the next attempt waits at least: whoever failed said when it may work again.
        after: Option<Millis>,
    },
    /// A timer rang.
    Alarm(Alarm),
    /// The owner gives the document up.
    Cancel,
    /// Nothing new is handed out until [`Event::Resume`].
    Suspend,
    /// Ends [`Event::Suspend`].
    Resume,
    /// Starts a dead-lettered document again where it failed; what is done stays done, the deadline starts anew.
    Replay,
}

impl Event {
    /// The stage that it is about.
    pub fn stage(&self) -> Option<&str> {
        match self {
            Self::AttemptStarted { stage, .. }
            | Self::AttemptInterrupted { stage, .. }
            | Self::StageCompleted { stage, .. }
            | Self::StageSkipped { stage, .. }
            | Self::ApprovalRequested { stage, .. }
            | Self::Answered { stage, .. }
            | Self::StageFailed { stage, .. }
            | Self::Alarm(
                Alarm::Retry { stage, .. } | Alarm::JoinTimeout { stage, .. } | Alarm::ApprovalTimeout { stage, .. },
            ) => Some(stage),
            Self::Alarm(Alarm::Deadline { .. }) | Self::Cancel | Self::Suspend | Self::Resume | Self::Replay => None,
        }
    }

    /// Whether it can change a document whose result is being written.
    fn counts_while_closing(&self) -> bool {
        matches!(self, Self::Suspend | Self::Resume) || self.stage() == Some(RESULTS_STAGE)
    }
}

/// What an event leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The record to write.
    pub record: DocumentRecord,
    /// What the writer publishes after the write: the part of the outbox that is new.
    pub effects: Vec<Effect>,
    /// Whether there is anything to write.
    pub changed: bool,
}

/// The first record of a document, with the first tasks. A submission without a deadline gets the pipeline's.
pub fn submit(plan: &Plan, submission: Submission, now: Millis) -> Transition {
    let mut record = first(plan, submission, now);
    readiness::settle(plan, &mut record, now);
    let effects = record.outbox(plan);
    Transition { record, effects, changed: true }
}

/// The only record of a document that cannot be taken: given up at its first stage, whatever that may tolerate, since there
/// is nothing to work on.
pub fn refuse(plan: &Plan, submission: Submission, cause: Cause, now: Millis) -> Transition {
    let mut record = first(plan, submission, now);
    let stage = plan.stages().first().map(|stage| stage.name.as_str());
    failure::dead_letter(&mut record, stage, cause, now);
    let effects = record.outbox(plan);
    Transition { record, effects, changed: true }
}

/// A record before its first stages are ready.
fn first(plan: &Plan, submission: Submission, now: Millis) -> DocumentRecord {
    let planned = plan.spec.deadline.map(|deadline| now.saturating_add(millis(deadline.0)));
    DocumentRecord {
        submission: Submission { deadline: submission.deadline.or(planned), ..submission },
        pipeline: plan.name.clone(),
        plan: plan.digest.clone(),
        generation: plan.generation,
        epoch: 0,
        round: 0,
        submitted_at: now,
        started_at: now,
        changed_at: now,
        suspended: plan.spec.suspend,
        stages: plan.stages().iter().map(|stage| (stage.name.clone(), StageState::waiting(0))).collect(),
        degraded: Vec::new(),
        quality: None,
        previous: Default::default(),
        outdated: Default::default(),
        end: None,
        written_off: Spent::default(),
    }
}

/// The next record from an event; see the guarantees of this module.
pub fn transition(plan: &Plan, record: &DocumentRecord, event: Event, now: Millis) -> Transition {
    let mut next = record.clone();
    if !apply(plan, &mut next, event, now) {
        return Transition { record: next, effects: Vec::new(), changed: false };
    }
    if let Some(cause) = next.overspent(plan).filter(|_| next.end.is_none()) {
        failure::dead_letter(&mut next, None, cause, now);
    }
    readiness::settle(plan, &mut next, now);
    next.changed_at = now;
    let before = record.outbox(plan);
    let effects = next.outbox(plan).into_iter().filter(|effect| !before.contains(effect)).collect();
    Transition { record: next, effects, changed: true }
}

/// Applies an event to the stage that it is about and says whether it was news; what follows for other stages is left to
/// [`readiness::settle`].
fn apply(plan: &Plan, record: &mut DocumentRecord, event: Event, now: Millis) -> bool {
    if record.end.is_some() {
        return matches!(event, Event::Replay) && replay::replay(plan, record, now);
    }
    if record.is_closing() && !event.counts_while_closing() {
        return false;
    }
    match event {
        Event::AttemptStarted { stage, round, epoch, attempt, worker } => {
            failure::start(record, (&stage, round, epoch), attempt, worker, now)
        }
        Event::AttemptInterrupted { stage, round, epoch, attempt } => {
            failure::interrupt(record, (&stage, round, epoch), attempt)
        }
        Event::StageCompleted { stage, round, epoch, attempt, completion } => {
            let reported = open_stage(record, (&stage, round, epoch));
            let known = reported.is_some_and(|state| !state.is_awaiting() && (1..=state.attempt).contains(&attempt));
            known && quality::complete(plan, record, &stage, completion, now)
        }
        Event::StageSkipped { stage, round, epoch } => {
            let skips = |state: &&mut StageState| state.attempt > 0 && !state.is_awaiting() && stage != RESULTS_STAGE;
            let Some(state) = open_stage(record, (&stage, round, epoch)).filter(skips) else { return false };
            state.enter(StageStatus::Skipped);
            true
        }
        Event::ApprovalRequested { stage, round, epoch, attempt, request, unanswered } => {
            approval::request(record, (&stage, round, epoch), attempt, (request, unanswered), now)
        }
        Event::Answered { stage, round, epoch, answer } => {
            approval::answer(plan, record, (&stage, round, epoch), answer, now)
        }
        Event::StageFailed { stage, round, epoch, attempt, cause, transient, spent, after } => {
            let failed = FailedAttempt { attempt, cause, transient, spent, after };
            failure::fail_attempt(plan, record, (&stage, round, epoch), failed, now)
        }
        Event::Alarm(alarm) => ring(plan, record, alarm, now),
        Event::Cancel => {
            record.end = Some(End { outcome: Outcome::Cancelled, at: now, dead_letter: None });
            true
        }
        Event::Suspend => !std::mem::replace(&mut record.suspended, true),
        Event::Resume => std::mem::replace(&mut record.suspended, false),
        Event::Replay => false,
    }
}

fn ring(plan: &Plan, record: &mut DocumentRecord, alarm: Alarm, now: Millis) -> bool {
    match alarm {
        Alarm::Retry { stage, round, epoch, attempt } => {
            // A document that is as good as ended is not held back.
            let held = record.suspended && stage != RESULTS_STAGE;
            match open_stage(record, (&stage, round, epoch)) {
                Some(state) if state.attempt == attempt && matches!(state.status, StageStatus::Backoff { .. }) => {
                    if held {
                        state.enter(StageStatus::Held)
                    } else {
                        state.dispatch()
                    }
                    true
                }
                _ => false,
            }
        }
        Alarm::JoinTimeout { stage, round, epoch } => {
            let join = plan.stage(&stage).and_then(|planned| planned.spec.join.as_ref());
            let Some((join, timeout)) = join.and_then(|join| Some((join, join.timeout?))) else { return false };
            match open_stage(record, (&stage, round, epoch)) {
                Some(state) if state.status == StageStatus::Waiting && state.waiting_since.is_some() => {
                    give_up_waiting(plan, record, &stage, (join.on_timeout, timeout), now);
                    true
                }
                _ => false,
            }
        }
        Alarm::ApprovalTimeout { stage, round, epoch } => {
            approval::give_up_waiting(plan, record, (&stage, round, epoch), now)
        }
        Alarm::Deadline { epoch } if epoch == record.epoch && record.deadline().is_some() => {
            let cause = failure::cause(reason::DEADLINE_EXCEEDED, "the document did not end before its deadline");
            failure::dead_letter(record, None, cause, now);
            true
        }
        Alarm::Deadline { .. } => false,
    }
}

fn give_up_waiting(
    plan: &Plan,
    record: &mut DocumentRecord,
    stage: &str,
    (policy, timeout): (OnTimeout, crds::Span),
    now: Millis,
) {
    let missing = readiness::missing(plan, record, stage).join(", ");
    let cause = failure::cause(reason::JOIN_TIMEOUT, &format!("waited {timeout} in vain for {missing}"));
    match policy {
        OnTimeout::DeadLetter if readiness::matters(plan, record, stage) => {
            failure::dead_letter(record, Some(stage), cause, now);
        }
        OnTimeout::DeadLetter | OnTimeout::Fail => failure::fail_for_good(plan, record, stage, cause, now),
        OnTimeout::Partial => {
            record.note(stage, &format!("started without {missing} after {timeout}"));
            if let Some(state) = record.stages.get_mut(stage) {
                state.enter(StageStatus::Held);
            }
        }
    }
}

/// The state of a stage if it has not ended and round and epoch are the current ones.
fn open_stage<'a>(
    record: &'a mut DocumentRecord,
    (stage, round, epoch): (&str, u32, u32),
) -> Option<&'a mut StageState> {
    let current = record.epoch == epoch;
    record.stages.get_mut(stage).filter(|state| current && state.round == round && !state.has_ended())
}

/// Whole milliseconds, as many as fit.
fn millis(duration: std::time::Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

impl DocumentRecord {
    /// When the document must have ended: as long after the start of the epoch as the submission allowed.
    pub fn deadline(&self) -> Option<Millis> {
        let allowed = self.submission.deadline?.saturating_sub(self.submitted_at);
        Some(self.started_at.saturating_add(allowed))
    }

    /// Whether all is done but for the writing of the results.
    pub fn is_closing(&self) -> bool {
        let written = self.stages.get(RESULTS_STAGE);
        self.end.is_none() && written.is_some_and(|state| state.status != StageStatus::Waiting)
    }

    /// The stages at which a person's answer counts. One that still waits when the document is over does not.
    pub fn asking(&self) -> Vec<&str> {
        let over = self.end.is_some() || self.is_closing();
        let asking = self.stages.iter().filter(|(_, state)| !over && state.is_awaiting());
        asking.map(|(name, _)| name.as_str()).collect()
    }

    /// Whether nothing moves the document before this time but a person's answer.
    pub fn waits_for_people(&self, plan: &Plan, until: Millis) -> bool {
        let later = |effect: &Effect| matches!(effect, Effect::SetTimer(timer) if timer.at > until);
        !self.asking().is_empty() && self.outbox(plan).iter().all(later)
    }

    fn note(&mut self, stage: &str, message: &str) {
        let note = format!("{stage}: {message}");
        if !self.degraded.contains(&note) {
            self.degraded.push(note);
        }
    }

    /// Forgets what a stage did, as before its first attempt, but not what that took.
    fn reset(&mut self, stage: &str, round: u32) {
        let begins = format!("{stage}: ");
        self.degraded.retain(|note| !note.starts_with(&begins));
        if let Some(StageStatus::Done(completion)) = self.stages.get(stage).map(|state| &state.status) {
            self.outdated.add(completion);
        }
        let spent = self.stages.get(stage).map(StageState::consumed).unwrap_or_default();
        self.stages.insert(stage.to_owned(), StageState { spent, ..StageState::waiting(round) });
    }
}

impl StageState {
    /// Whether nothing more happens to it in this round and epoch.
    pub fn has_ended(&self) -> bool {
        matches!(self.status, StageStatus::Done(_) | StageStatus::Skipped | StageStatus::Failed(_))
    }

    /// Whether a person is waited for.
    pub fn is_awaiting(&self) -> bool {
        matches!(self.status, StageStatus::Awaiting { .. })
    }

    /// How many fallbacks the stage has turned to; 0 while it does its own work.
    pub fn level(&self) -> u32 {
        self.fallen_back.as_ref().map_or(0, |fallen| fallen.level)
    }

    /// Whether an attempt is out or between two attempts.
    pub fn is_in_work(&self) -> bool {
        matches!(self.status, StageStatus::Dispatched | StageStatus::Backoff { .. })
    }

    fn waiting(round: u32) -> Self {
        let (attempt, unreported, spent) = Default::default();
        let (waiting_since, fallen_back) = (None, None);
        Self { round, attempt, unreported, waiting_since, spent, status: StageStatus::Waiting, fallen_back }
    }

    fn enter(&mut self, status: StageStatus) {
        self.status = status;
        self.unreported = 0;
        self.waiting_since = None;
    }

    fn dispatch(&mut self) {
        self.enter(StageStatus::Dispatched);
        self.attempt = self.attempt.saturating_add(1);
    }
}
