//! A document on its way, told step by step.

use flow::{
    Alarm, Answer, Cause, Completion, DocumentRecord, Effect, Event, Outcome, Plan, Spent, StageStatus, Timer, submit,
    transition,
};
use serde_json::{Value, json};

use crate::flow_support::{plan, stage, submission};

/// A document on its way, and a clock that stands unless the story moves it.
pub(crate) struct Story {
    pub(crate) plan: Plan,
    pub(crate) record: DocumentRecord,
    pub(crate) now: u64,
    pub(crate) effects: Vec<String>,
    pub(crate) changed: bool,
}

impl Story {
    pub(crate) fn of(written: Value) -> Self {
        let plan = plan(written);
        let start = submit(&plan, submission(), 1_000);
        let effects = start.effects.iter().map(show).collect();
        Self { plan, record: start.record, now: 1_000, effects, changed: true }
    }

    pub(crate) fn stages(stages: &[Value]) -> Self {
        Self::of(json!({"stages": stages}))
    }

    pub(crate) fn event(&mut self, event: Event) -> &mut Self {
        let next = transition(&self.plan, &self.record, event, self.now);
        if !next.changed {
            assert_eq!(next.record, self.record, "an unchanged record is the same record");
        }
        self.effects = next.effects.iter().map(show).collect();
        self.changed = next.changed;
        self.record = next.record;
        self
    }

    pub(crate) fn at(&mut self, now: u64) -> &mut Self {
        self.now = now;
        self
    }

    /// Round, epoch and attempt that the record is at.
    pub(crate) fn place(&self, stage: &str) -> (u32, u32, u32) {
        let state = &self.record.stages[stage];
        (state.round, self.record.epoch, state.attempt)
    }

    /// The stage delivers at the cost of one attempt; see [`attempts`].
    pub(crate) fn completes(&mut self, stage: &str, completion: Completion) -> &mut Self {
        let (round, epoch, attempt) = self.place(stage);
        let Spent { seconds, prompt_tokens, completion_tokens, cost } = attempts(1);
        let completion = Completion { seconds, prompt_tokens, completion_tokens, cost, ..completion };
        self.event(Event::StageCompleted { stage: stage.to_owned(), round, epoch, attempt, completion })
    }

    pub(crate) fn done(&mut self, stage: &str) -> &mut Self {
        self.completes(stage, Completion { output: format!("output of {stage}"), ..Completion::default() })
    }

    pub(crate) fn scores(&mut self, stage: &str, score: f64) -> &mut Self {
        let output = format!("score {score}");
        self.completes(stage, Completion { output, score: Some(score), ..Completion::default() })
    }

    pub(crate) fn skips(&mut self, stage: &str) -> &mut Self {
        let (round, epoch, _) = self.place(stage);
        self.event(Event::StageSkipped { stage: stage.to_owned(), round, epoch })
    }

    /// The attempt fails at the cost of one; see [`attempts`].
    pub(crate) fn fails(&mut self, stage: &str, transient: bool) -> &mut Self {
        self.fails_with(stage, "Broken", transient, None)
    }

    pub(crate) fn fails_with(&mut self, stage: &str, reason: &str, transient: bool, after: Option<u64>) -> &mut Self {
        let (round, epoch, attempt) = self.place(stage);
        let cause = Cause { reason: reason.to_owned(), message: "it broke".to_owned(), ..Cause::default() };
        let (stage, spent) = (stage.to_owned(), attempts(1));
        self.event(Event::StageFailed { stage, round, epoch, attempt, cause, transient, spent, after })
    }

    /// The stage's attempt says what a person is to be asked.
    pub(crate) fn asks(&mut self, stage: &str) -> &mut Self {
        let (round, epoch, attempt) = self.place(stage);
        let (request, unanswered) = (format!("question of {stage}"), format!("silence on {stage}"));
        self.event(Event::ApprovalRequested { stage: stage.to_owned(), round, epoch, attempt, request, unanswered })
    }

    pub(crate) fn answers(&mut self, stage: &str, approved: bool) -> &mut Self {
        let (round, epoch, _) = self.place(stage);
        let (by, comment, output) = ("ann".to_owned(), Some("seen".to_owned()), format!("answer on {stage}"));
        let answer = Answer { approved, by, comment, output };
        self.event(Event::Answered { stage: stage.to_owned(), round, epoch, answer })
    }

    pub(crate) fn approval_rings(&mut self, stage: &str) -> &mut Self {
        let (round, epoch, _) = self.place(stage);
        self.event(Event::Alarm(Alarm::ApprovalTimeout { stage: stage.to_owned(), round, epoch }))
    }

    pub(crate) fn starts(&mut self, stage: &str) -> &mut Self {
        let (round, epoch, attempt) = self.place(stage);
        let worker = "worker-1".to_owned();
        self.event(Event::AttemptStarted { stage: stage.to_owned(), round, epoch, attempt, worker })
    }

    pub(crate) fn retry_rings(&mut self, stage: &str) -> &mut Self {
        let (round, epoch, attempt) = self.place(stage);
        self.event(Event::Alarm(Alarm::Retry { stage: stage.to_owned(), round, epoch, attempt }))
    }

    pub(crate) fn join_rings(&mut self, stage: &str) -> &mut Self {
        let (round, epoch, _) = self.place(stage);
        self.event(Event::Alarm(Alarm::JoinTimeout { stage: stage.to_owned(), round, epoch }))
    }

    pub(crate) fn deadline_rings(&mut self) -> &mut Self {
        let epoch = self.record.epoch;
        self.event(Event::Alarm(Alarm::Deadline { epoch }))
    }

    #[track_caller]
    pub(crate) fn publishes(&mut self, expected: &[&str]) -> &mut Self {
        assert_eq!(self.effects, expected);
        assert!(self.changed);
        self
    }

    #[track_caller]
    pub(crate) fn changes_nothing(&mut self) -> &mut Self {
        assert!(!self.changed, "{:#?}", self.record);
        assert!(self.effects.is_empty());
        self
    }

    #[track_caller]
    pub(crate) fn owes(&mut self, expected: &[&str]) -> &mut Self {
        let outbox: Vec<String> = self.record.outbox(&self.plan).iter().map(show).collect();
        assert_eq!(outbox, expected);
        self
    }

    #[track_caller]
    pub(crate) fn ended(&self, outcome: Outcome) -> &Self {
        assert_eq!(self.record.end.as_ref().map(|end| end.outcome), Some(outcome), "{:#?}", self.record);
        self
    }

    /// Stage, attempts and reason of the dead letter.
    pub(crate) fn dead_letter(&self) -> (Option<&str>, u32, &str) {
        let end = self.record.end.as_ref().expect("the document has ended");
        let letter = end.dead_letter.as_ref().expect("the document is dead-lettered");
        (letter.stage.as_deref(), letter.attempts, &letter.cause.reason)
    }

    pub(crate) fn status(&self, stage: &str) -> &StageStatus {
        &self.record.stages[stage].status
    }
}

/// What so many attempts consume. Halves add up exactly.
pub(crate) fn attempts(number: u32) -> Spent {
    let seconds = 0.5 * f64::from(number);
    let (prompt_tokens, completion_tokens) = (10 * u64::from(number), u64::from(number));
    Spent { seconds, prompt_tokens, completion_tokens, cost: 1_000 * u64::from(number) }
}

/// A task as `stage round/epoch/attempt`, a timer with its time, a report with its outcome.
pub(crate) fn show(effect: &Effect) -> String {
    match effect {
        Effect::Publish(task) => format!("{} {}/{}/{}", task.stage, task.round, task.epoch, task.attempt),
        Effect::SetTimer(Timer { at, alarm, .. }) => match alarm {
            Alarm::Retry { stage, .. } => format!("retry {stage} at {at}"),
            Alarm::JoinTimeout { stage, .. } => format!("join {stage} at {at}"),
            Alarm::ApprovalTimeout { stage, .. } => format!("approval {stage} at {at}"),
            Alarm::Deadline { epoch } => format!("deadline of {epoch} at {at}"),
        },
        Effect::Report(end) => format!("{:?}", end.outcome),
    }
}

pub(crate) fn plain(name: &str, after: &[&str]) -> Value {
    stage(name, after, json!({}))
}

/// a, b and c run side by side; `last` joins them.
pub(crate) fn three_and_a_join(join: Value) -> Vec<Value> {
    let optional = json!({"optional": true});
    let branch = |name| stage(name, &[], optional.clone());
    vec![branch("a"), branch("b"), branch("c"), stage("last", &["a", "b", "c"], json!({"join": join}))]
}

/// draft → review (scores) and draft → check; both → last.
pub(crate) fn rounds(max_rounds: u32) -> Value {
    json!({
        "stages": [plain("research", &[]), plain("draft", &["research"]),
                   stage("review", &["draft"], json!({"score": {"path": "score"}})),
                   stage("check", &["draft"], json!({"optional": true})), plain("last", &["review", "check"])],
        "quality": {"stage": "review", "threshold": 0.8, "maxRounds": max_rounds, "restartAt": "draft"},
    })
}
