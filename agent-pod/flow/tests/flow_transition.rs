//! Stories of documents: what happens, what is published, where it ends.

mod flow_support;

use crds::Priority;
use flow::{
    Alarm, Cause, Completion, DocumentRecord, Effect, Event, Outcome, Plan, StageStatus, Task, Timer, submit,
    transition,
};
use flow_support::{plan, stage, submission};
use serde_json::{Value, json};

/// A document on its way, and a clock that stands unless the story moves it.
struct Story {
    plan: Plan,
    record: DocumentRecord,
    now: u64,
    effects: Vec<String>,
    changed: bool,
}

impl Story {
    fn of(written: Value) -> Self {
        let plan = plan(written);
        let start = submit(&plan, submission(), 1_000);
        let effects = start.effects.iter().map(show).collect();
        Self { plan, record: start.record, now: 1_000, effects, changed: true }
    }

    fn stages(stages: &[Value]) -> Self {
        Self::of(json!({"stages": stages}))
    }

    fn event(&mut self, event: Event) -> &mut Self {
        let next = transition(&self.plan, &self.record, event, self.now);
        if !next.changed {
            assert_eq!(next.record, self.record, "an unchanged record is the same record");
        }
        self.effects = next.effects.iter().map(show).collect();
        self.changed = next.changed;
        self.record = next.record;
        self
    }

    fn at(&mut self, now: u64) -> &mut Self {
        self.now = now;
        self
    }

    /// Round, epoch and attempt that the record is at.
    fn place(&self, stage: &str) -> (u32, u32, u32) {
        let state = &self.record.stages[stage];
        (state.round, self.record.epoch, state.attempt)
    }

    fn completes(&mut self, stage: &str, completion: Completion) -> &mut Self {
        let (round, epoch, attempt) = self.place(stage);
        self.event(Event::StageCompleted { stage: stage.to_owned(), round, epoch, attempt, completion })
    }

    fn done(&mut self, stage: &str) -> &mut Self {
        self.completes(stage, Completion { output: format!("output of {stage}"), ..Completion::default() })
    }

    fn scores(&mut self, stage: &str, score: f64) -> &mut Self {
        let output = format!("score {score}");
        self.completes(stage, Completion { output, score: Some(score), ..Completion::default() })
    }

    fn skips(&mut self, stage: &str) -> &mut Self {
        let (round, epoch, _) = self.place(stage);
        self.event(Event::StageSkipped { stage: stage.to_owned(), round, epoch })
    }

    fn fails(&mut self, stage: &str, transient: bool) -> &mut Self {
        let (round, epoch, attempt) = self.place(stage);
        let cause = Cause { reason: "Broken".to_owned(), message: "it broke".to_owned(), ..Cause::default() };
        self.event(Event::StageFailed { stage: stage.to_owned(), round, epoch, attempt, cause, transient })
    }

    fn starts(&mut self, stage: &str) -> &mut Self {
        let (round, epoch, attempt) = self.place(stage);
        let worker = "worker-1".to_owned();
        self.event(Event::AttemptStarted { stage: stage.to_owned(), round, epoch, attempt, worker })
    }

    fn retry_rings(&mut self, stage: &str) -> &mut Self {
        let (round, epoch, attempt) = self.place(stage);
        self.event(Event::Alarm(Alarm::Retry { stage: stage.to_owned(), round, epoch, attempt }))
    }

    fn join_rings(&mut self, stage: &str) -> &mut Self {
        let (round, epoch, _) = self.place(stage);
        self.event(Event::Alarm(Alarm::JoinTimeout { stage: stage.to_owned(), round, epoch }))
    }

    fn deadline_rings(&mut self) -> &mut Self {
        let epoch = self.record.epoch;
        self.event(Event::Alarm(Alarm::Deadline { epoch }))
    }

    #[track_caller]
    fn publishes(&mut self, expected: &[&str]) -> &mut Self {
        assert_eq!(self.effects, expected);
        assert!(self.changed);
        self
    }

    #[track_caller]
    fn changes_nothing(&mut self) -> &mut Self {
        assert!(!self.changed, "{:#?}", self.record);
        assert!(self.effects.is_empty());
        self
    }

    #[track_caller]
    fn owes(&mut self, expected: &[&str]) -> &mut Self {
        let outbox: Vec<String> = self.record.outbox(&self.plan).iter().map(show).collect();
        assert_eq!(outbox, expected);
        self
    }

    #[track_caller]
    fn ended(&self, outcome: Outcome) -> &Self {
        assert_eq!(self.record.end.as_ref().map(|end| end.outcome), Some(outcome), "{:#?}", self.record);
        self
    }

    /// Stage, attempts and reason of the dead letter.
    fn dead_letter(&self) -> (Option<&str>, u32, &str) {
        let end = self.record.end.as_ref().expect("the document has ended");
        let letter = end.dead_letter.as_ref().expect("the document is dead-lettered");
        (letter.stage.as_deref(), letter.attempts, &letter.cause.reason)
    }

    fn status(&self, stage: &str) -> &StageStatus {
        &self.record.stages[stage].status
    }
}

/// A task as `stage round/epoch/attempt`, a timer with its time, a report with its outcome.
fn show(effect: &Effect) -> String {
    match effect {
        Effect::Publish(task) => format!("{} {}/{}/{}", task.stage, task.round, task.epoch, task.attempt),
        Effect::SetTimer(Timer { at, alarm, .. }) => match alarm {
            Alarm::Retry { stage, .. } => format!("retry {stage} at {at}"),
            Alarm::JoinTimeout { stage, .. } => format!("join {stage} at {at}"),
            Alarm::Deadline { epoch } => format!("deadline of {epoch} at {at}"),
        },
        Effect::Report(end) => format!("{:?}", end.outcome),
    }
}

fn plain(name: &str, after: &[&str]) -> Value {
    stage(name, after, json!({}))
}

/// a, b and c run side by side; `last` joins them.
fn three_and_a_join(join: Value) -> Vec<Value> {
    let optional = json!({"optional": true});
    let branch = |name| stage(name, &[], optional.clone());
    vec![branch("a"), branch("b"), branch("c"), stage("last", &["a", "b", "c"], json!({"join": join}))]
}

#[test]
fn stages_in_a_line_run_one_after_the_other_and_the_document_succeeds() {
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &["a"]), plain("c", &["b"])]);
    story.publishes(&["a 0/0/1"]);
    story.done("a").publishes(&["b 0/0/1"]).done("b").publishes(&["c 0/0/1"]);
    story.at(5_000).done("c").publishes(&["Succeeded"]).ended(Outcome::Succeeded);
    assert_eq!(story.record.end.as_ref().map(|end| end.at), Some(5_000));
    assert_eq!(story.record.changed_at, 5_000);
}

#[test]
fn an_event_that_is_seen_twice_changes_nothing_the_second_time() {
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &["a"])]);
    story.done("a").publishes(&["b 0/0/1"]).done("a").changes_nothing().owes(&["b 0/0/1"]);
    story.fails("a", false).changes_nothing().skips("a").changes_nothing();
}

#[test]
fn branches_run_side_by_side_and_their_join_fires_exactly_once() {
    let join = [plain("s", &[]), plain("a", &["s"]), plain("b", &["s"]), plain("last", &["a", "b"])];
    let mut story = Story::stages(&join);
    story.done("s").publishes(&["a 0/0/1", "b 0/0/1"]);
    story.done("b").publishes(&[]).done("a").publishes(&["last 0/0/1"]);
    story.done("a").changes_nothing().done("b").changes_nothing();
    story.done("last").ended(Outcome::Succeeded);
}

#[test]
fn a_join_of_any_starts_with_the_first_and_does_not_wait_for_the_others() {
    let mut story = Story::stages(&three_and_a_join(json!({"mode": "Any"})));
    story.done("b").publishes(&["last 0/0/1"]).done("a").publishes(&[]);
    story.done("last").publishes(&["Succeeded"]).done("c").changes_nothing();
}

#[test]
fn a_quorum_starts_when_enough_have_delivered() {
    let mut story = Story::stages(&three_and_a_join(json!({"mode": "Quorum", "quorum": 2})));
    story.fails("a", false).publishes(&[]).done("b").publishes(&[]).done("c").publishes(&["last 0/0/1"]);
    story.done("last").publishes(&["Partial"]);
    assert_eq!(story.record.degraded, ["a: left out, Broken: it broke"]);
}

#[test]
fn a_quorum_that_can_no_longer_be_reached_is_a_failure_at_once() {
    let join = json!({"mode": "Quorum", "quorum": 2});
    let mut story = Story::stages(&three_and_a_join(join.clone()));
    story.fails("a", false).skips("b").publishes(&["DeadLettered"]);
    assert_eq!(story.dead_letter(), (Some("last"), 0, "JoinImpossible"));

    let mut stages = three_and_a_join(join);
    stages[3]["optional"] = json!(true);
    let mut story = Story::stages(&stages);
    story.fails("a", false).skips("b").publishes(&[]).done("c").changes_nothing();
    story.ended(Outcome::Partial);
}

#[test]
fn skips_travel_on_while_nothing_was_delivered() {
    let stages = [plain("a", &[]), plain("b", &["a"]), plain("c", &[]), plain("d", &["b", "c"]), plain("e", &["b"])];
    let mut story = Story::stages(&stages);
    story.skips("a").publishes(&[]);
    assert_eq!(story.status("b"), &StageStatus::Skipped);
    assert_eq!(story.status("e"), &StageStatus::Skipped);
    assert_eq!(story.status("d"), &StageStatus::Waiting);
    story.done("c").publishes(&["d 0/0/1"]).done("d").publishes(&["Succeeded"]);
}

#[test]
fn a_join_of_any_whose_predecessors_are_all_skipped_is_skipped() {
    let mut story = Story::stages(&three_and_a_join(json!({"mode": "Any"})));
    story.skips("a").skips("b").skips("c").publishes(&["Succeeded"]);
    assert_eq!(story.status("last"), &StageStatus::Skipped);
}

#[test]
fn an_optional_stage_that_fails_is_left_out_and_the_document_ends_as_partial() {
    let mut story = Story::stages(&[stage("a", &[], json!({"optional": true})), plain("b", &["a"])]);
    story.fails("a", false).publishes(&["b 0/0/1"]).done("b").publishes(&["Partial"]);
}

#[test]
fn transient_failures_are_repeated_with_growing_waits_until_the_attempts_are_used_up() {
    let mut story = Story::stages(&[plain("a", &[])]);
    story.fails("a", true).publishes(&["retry a at 2000"]);
    story.at(2_000).retry_rings("a").publishes(&["a 0/0/2"]).owes(&["a 0/0/2"]);
    story.fails("a", true).publishes(&["retry a at 3500"]);
    story.at(3_500).retry_rings("a").publishes(&["a 0/0/3"]).fails("a", true).publishes(&["DeadLettered"]);
    assert_eq!(story.dead_letter(), (Some("a"), 3, "Broken"));
}

#[test]
fn a_retry_rings_once() {
    let mut story = Story::stages(&[plain("a", &[])]);
    story.fails("a", true);
    let alarm = Event::Alarm(Alarm::Retry { stage: "a".to_owned(), round: 0, epoch: 0, attempt: 1 });
    story.event(alarm.clone()).publishes(&["a 0/0/2"]).event(alarm).changes_nothing();
}

#[test]
fn a_permanent_failure_is_not_repeated() {
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &["a"])]);
    story.fails("a", false).publishes(&["DeadLettered"]);
    assert_eq!(story.dead_letter(), (Some("a"), 1, "Broken"));
    story.done("a").changes_nothing().deadline_rings().changes_nothing().event(Event::Cancel).changes_nothing();
}

#[test]
fn a_late_result_of_an_older_attempt_is_a_result() {
    let late = || Event::StageCompleted {
        stage: "a".to_owned(),
        round: 0,
        epoch: 0,
        attempt: 1,
        completion: Completion::default(),
    };
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &["a"])]);
    story.fails("a", true).event(late()).publishes(&["b 0/0/1"]).retry_rings("a").changes_nothing();

    let mut story = Story::stages(&[plain("a", &[]), plain("b", &["a"])]);
    story.fails("a", true).retry_rings("a").publishes(&["a 0/0/2"]).event(late()).publishes(&["b 0/0/1"]);
    story.fails("a", false).changes_nothing();
}

#[test]
fn a_failure_of_an_older_attempt_changes_nothing() {
    let mut story = Story::stages(&[plain("a", &[])]);
    story.fails("a", true).fails("a", true).changes_nothing().retry_rings("a");
    let cause = Cause::default();
    let old = Event::StageFailed { stage: "a".to_owned(), round: 0, epoch: 0, attempt: 1, cause, transient: false };
    story.event(old).changes_nothing();
}

#[test]
fn a_result_of_an_attempt_that_never_was_changes_nothing() {
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &["a"])]);
    story.done("b").changes_nothing().skips("b").changes_nothing();
}

#[test]
fn a_join_that_waits_too_long_does_what_its_policy_says() {
    let join = |policy: &str| three_and_a_join(json!({"timeout": "60s", "onTimeout": policy}));
    let begin = |stages: &[Value]| {
        let mut story = Story::stages(stages);
        story.fails("c", false).publishes(&[]).at(4_000).done("a").publishes(&["join last at 64000"]).at(64_000);
        story
    };
    begin(&join("Partial")).join_rings("last").publishes(&["last 0/0/1"]).done("last").ended(Outcome::Partial);
    let mut story = begin(&join("Fail"));
    story.join_rings("last").publishes(&["DeadLettered"]);
    assert_eq!(story.dead_letter(), (Some("last"), 0, "JoinTimeout"));

    let optional = |policy: &str| {
        let mut stages = join(policy);
        stages[3]["optional"] = json!(true);
        stages
    };
    let mut story = begin(&optional("Fail"));
    story.join_rings("last").publishes(&["Partial"]);
    assert_eq!(story.record.degraded[1], "last: left out, JoinTimeout: waited 1m in vain for b");
    begin(&optional("DeadLetter")).join_rings("last").publishes(&["DeadLettered"]);

    begin(&join("Fail")).done("b").publishes(&["last 0/0/1"]).join_rings("last").changes_nothing();
}

#[test]
fn a_partial_join_fires_once_and_later_deliveries_do_not_fire_it_again() {
    let mut story = Story::stages(&three_and_a_join(json!({"timeout": "60s", "onTimeout": "Partial"})));
    story.done("a").join_rings("last").publishes(&["last 0/0/1"]).join_rings("last").changes_nothing();
    story.done("b").publishes(&[]).done("c").publishes(&[]).done("last").ended(Outcome::Partial);
    assert_eq!(story.record.degraded, ["last: started without b, c after 1m"]);
}

#[test]
fn without_parallel_one_stage_is_in_work_at_a_time() {
    let stages = [plain("s", &[]), plain("a", &["s"]), plain("b", &["s"]), plain("last", &["a", "b"])];
    let mut story = Story::of(json!({"stages": stages, "parallel": false}));
    story.done("s").publishes(&["a 0/0/1"]);
    story.fails("a", true).publishes(&["retry a at 2000"]).retry_rings("a").publishes(&["a 0/0/2"]);
    story.done("a").publishes(&["b 0/0/1"]).done("b").publishes(&["last 0/0/1"]);
    story.done("last").ended(Outcome::Succeeded);
}

#[test]
fn a_suspended_document_hands_nothing_out_until_it_is_resumed() {
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &[]), plain("c", &["a"]), plain("d", &["b", "c"])]);
    story.fails("b", true);
    story.event(Event::Suspend).publishes(&[]).event(Event::Suspend).changes_nothing();
    story.done("a").publishes(&[]).retry_rings("b").publishes(&[]).owes(&[]);
    assert_eq!(story.status("c"), &StageStatus::Held);
    story.event(Event::Resume).publishes(&["b 0/0/2", "c 0/0/1"]).event(Event::Resume).changes_nothing();
}

#[test]
fn a_suspended_pipeline_accepts_documents_and_holds_them() {
    let mut story = Story::of(json!({"stages": [plain("a", &[])], "suspend": true}));
    story.publishes(&[]).owes(&[]).event(Event::Resume).publishes(&["a 0/0/1"]);
}

/// draft → review (scores) and draft → check; both → last.
fn rounds(max_rounds: u32) -> Value {
    json!({
        "stages": [plain("research", &[]), plain("draft", &["research"]),
                   stage("review", &["draft"], json!({"score": {"path": "score"}})),
                   stage("check", &["draft"], json!({"optional": true})), plain("last", &["review", "check"])],
        "quality": {"stage": "review", "threshold": 0.8, "maxRounds": max_rounds, "restartAt": "draft"},
    })
}

#[test]
fn a_low_score_starts_a_new_round_of_the_repeated_part() {
    let mut story = Story::of(rounds(2));
    story.done("research").done("draft").publishes(&["review 0/0/1", "check 0/0/1"]);
    story.scores("review", 0.5).publishes(&["draft 1/0/1"]).owes(&["draft 1/0/1"]);
    assert_eq!(story.record.round, 1);
    assert_eq!(story.record.previous["review"], "score 0.5");
    assert_eq!(story.record.previous["draft"], "output of draft");
    assert!(!story.record.previous.contains_key("check") && !story.record.previous.contains_key("research"));
    let stale = Event::StageCompleted {
        stage: "check".to_owned(),
        round: 0,
        epoch: 0,
        attempt: 1,
        completion: Completion::default(),
    };
    story.event(stale).changes_nothing();
    story.done("draft").publishes(&["review 1/0/1", "check 1/0/1"]).done("check").scores("review", 0.9);
    story.publishes(&["last 1/0/1"]).done("last").ended(Outcome::Succeeded);
    assert_eq!(story.record.quality, Some(0.9));
}

#[test]
fn rounds_are_bounded_and_then_the_document_goes_on_as_partial() {
    let mut story = Story::of(rounds(1));
    story.done("research").done("draft").scores("review", 0.5).done("draft").scores("review", 0.7).publishes(&[]);
    story.done("check").publishes(&["last 1/0/1"]).done("last").ended(Outcome::Partial);
    assert_eq!(story.record.degraded, ["review: score 0.7 is below 0.8 after 2 rounds"]);
}

#[test]
fn what_a_round_left_out_is_forgotten_when_the_next_one_has_it() {
    let mut story = Story::of(rounds(1));
    story.done("research").done("draft").fails("check", false).scores("review", 0.1);
    story.done("draft").done("check").scores("review", 1.0).done("last").ended(Outcome::Succeeded);
    assert!(story.record.degraded.is_empty());
}

#[test]
fn a_quality_stage_without_a_score_has_failed() {
    for score in [None, Some(f64::NAN)] {
        let mut story = Story::of(rounds(1));
        story.done("research").done("draft");
        story.completes("review", Completion { score, ..Completion::default() }).publishes(&["DeadLettered"]);
        assert_eq!(story.dead_letter(), (Some("review"), 1, "NoScore"));
    }
    let mut written = rounds(1);
    written["stages"][2]["optional"] = json!(true);
    let mut story = Story::of(written);
    story.done("research").done("draft").done("check").done("review").publishes(&["last 0/0/1"]);
    story.done("last").ended(Outcome::Partial);
}

#[test]
fn three_starts_without_a_report_quarantine_the_document() {
    let mut story = Story::stages(&[stage("a", &[], json!({"optional": true}))]);
    story.starts("a").publishes(&[]).starts("a").starts("a").owes(&["a 0/0/1"]);
    story.starts("a").publishes(&["DeadLettered"]);
    assert_eq!(story.dead_letter(), (Some("a"), 1, "Quarantined"));
}

#[test]
fn a_report_resets_the_count_of_starts() {
    let mut story = Story::stages(&[plain("a", &[])]);
    story.starts("a").starts("a").starts("a").fails("a", true).starts("a").changes_nothing();
    story.retry_rings("a").starts("a").starts("a").starts("a").done("a").ended(Outcome::Succeeded);
}

#[test]
fn a_document_that_misses_its_deadline_is_dead_lettered_as_a_whole() {
    let mut story = Story::of(json!({"stages": [plain("a", &[])], "deadline": "10m"}));
    story.publishes(&["a 0/0/1", "deadline of 0 at 601000"]);
    story.at(601_000).deadline_rings().publishes(&["DeadLettered"]);
    assert_eq!(story.dead_letter(), (None, 0, "DeadlineExceeded"));
    story.at(700_000).event(Event::Replay).publishes(&["a 0/1/1", "deadline of 1 at 1300000"]);
    story.event(Event::Alarm(Alarm::Deadline { epoch: 0 })).changes_nothing();
    story.at(800_000).fails("a", false).event(Event::Replay).publishes(&["a 0/2/1", "deadline of 2 at 1400000"]);
}

#[test]
fn a_deadline_of_the_submission_goes_before_that_of_the_pipeline() {
    let plan = plan(json!({"stages": [plain("a", &[])], "deadline": "10m"}));
    let start = submit(&plan, flow::Submission { deadline: Some(9_000), ..submission() }, 1_000);
    assert_eq!(start.record.deadline(), Some(9_000));
}

#[test]
fn a_cancelled_document_stays_cancelled() {
    let mut story = Story::stages(&[plain("a", &[])]);
    story.event(Event::Cancel).publishes(&["Cancelled"]).owes(&["Cancelled"]);
    story.done("a").changes_nothing().event(Event::Replay).changes_nothing().event(Event::Resume).changes_nothing();
}

#[test]
fn a_replay_starts_what_failed_and_what_follows_and_keeps_what_is_done() {
    let stages =
        [plain("s", &[]), plain("a", &["s"]), plain("b", &["s"]), plain("c", &["s"]), plain("last", &["a", "b", "c"])];
    let mut story = Story::stages(&stages);
    story.done("s").done("a").event(Event::Replay).changes_nothing().fails("b", false).publishes(&["DeadLettered"]);
    story.at(9_000).event(Event::Replay).publishes(&["b 0/1/1", "c 0/1/1"]).event(Event::Replay).changes_nothing();
    assert_eq!(story.record.end, None);
    assert!(matches!(story.status("a"), StageStatus::Done(_)));
    let old = Event::StageCompleted {
        stage: "c".to_owned(),
        round: 0,
        epoch: 0,
        attempt: 1,
        completion: Completion::default(),
    };
    story.event(old).changes_nothing();
    story.done("c").done("b").publishes(&["last 0/1/1"]).done("last").publishes(&["Succeeded"]);
}

#[test]
fn a_replay_of_an_impossible_join_starts_the_failed_branches_too() {
    let mut story = Story::stages(&three_and_a_join(json!({"mode": "Quorum", "quorum": 2})));
    story.done("a").fails("b", false).fails("c", false).publishes(&["DeadLettered"]);
    story.event(Event::Replay).publishes(&["b 0/1/1", "c 0/1/1"]).done("b").publishes(&["last 0/1/1"]);
    story.done("last").ended(Outcome::Succeeded);
    assert!(story.record.degraded.is_empty());
}

#[test]
fn a_replay_in_a_later_round_stays_in_that_round() {
    let mut story = Story::of(rounds(2));
    story.done("research").done("draft").scores("review", 0.5).done("draft").fails("review", false);
    story.event(Event::Replay).publishes(&["review 1/1/1", "check 1/1/1"]);
    story.scores("review", 0.6).publishes(&["draft 2/1/1"]);
}

#[test]
fn a_branch_that_wrote_and_died_before_it_published_is_repaired_by_the_outbox() {
    let stages = [plain("a", &[]), plain("b", &[]), plain("c", &["a"]), plain("d", &["b"])];
    let mut story = Story::stages(&stages);
    story.done("a").publishes(&["c 0/0/1"]);
    story.done("b").publishes(&["d 0/0/1"]).owes(&["c 0/0/1", "d 0/0/1"]);
}

#[test]
fn a_task_is_stale_once_its_stage_waits_for_another_or_none() {
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &["a"])]);
    let first = task(&story, 0);
    assert!(!story.record.is_stale(&first));
    for other in [
        Task { epoch: 1, ..first.clone() },
        Task { round: 1, ..first.clone() },
        Task { attempt: 2, ..first.clone() },
        Task { stage: "b".to_owned(), ..first.clone() },
        Task { stage: "nowhere".to_owned(), ..first.clone() },
        Task { plan: "another".to_owned(), ..first.clone() },
        Task { document: "another".to_owned(), ..first.clone() },
    ] {
        assert!(story.record.is_stale(&other), "{other:?}");
    }
    story.fails("a", true);
    assert!(story.record.is_stale(&first));
    story.retry_rings("a");
    let second = task(&story, 0);
    assert!(story.record.is_stale(&first) && !story.record.is_stale(&second));
    story.event(Event::Cancel);
    assert!(story.record.is_stale(&second));
}

fn task(story: &Story, position: usize) -> Task {
    match &story.record.outbox(&story.plan)[position] {
        Effect::Publish(task) => task.clone(),
        other => panic!("{other:?} is no task"),
    }
}

#[test]
fn ids_stay_apart_whatever_a_document_is_called() {
    let task = |document: &str, plan: &str, stage: &str| Task {
        document: document.to_owned(),
        pipeline: "p".to_owned(),
        plan: plan.to_owned(),
        stage: stage.to_owned(),
        pool: "readers".to_owned(),
        round: 0,
        epoch: 0,
        attempt: 1,
        priority: Priority::Normal,
    };
    let ids = [
        task("a", "b", "c").id(),
        task("a/b", "", "c").id(),
        task("a", "b/c", "").id(),
        task("a%2Fb", "", "c").id(),
        task("ä b\n", "b", "c").id(),
        Task { attempt: 11, ..task("a", "b", "c") }.id(),
        Task { epoch: 1, ..task("a", "b", "c") }.id(),
        Task { round: 1, ..task("a", "b", "c") }.id(),
    ];
    for (position, id) in ids.iter().enumerate() {
        assert!(!ids[..position].contains(id), "{id}");
        assert!(id.is_ascii() && !id.contains([' ', '\n']));
    }
    let timer = |alarm| Timer { document: "a/b".to_owned(), pipeline: "p".to_owned(), at: 1, alarm }.id();
    let (stage, join) = ("a".to_owned(), |stage| Alarm::JoinTimeout { stage, round: 0, epoch: 1 });
    let ids = [
        timer(Alarm::Deadline { epoch: 0 }),
        timer(Alarm::Deadline { epoch: 1 }),
        timer(join(stage.clone())),
        timer(join("b".to_owned())),
        timer(Alarm::Retry { stage, round: 0, epoch: 1, attempt: 1 }),
    ];
    assert!(ids.iter().enumerate().all(|(position, id)| !ids[..position].contains(id)), "{ids:?}");
}

#[test]
fn unknown_stages_and_records_without_their_stages_do_no_harm() {
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &["a"])]);
    let state = story.record.stages["a"].clone();
    story.record.stages.insert("ghost".to_owned(), state);
    story.record.stages.remove("b");
    story
        .done("a")
        .publishes(&["b 0/0/1"])
        .retry_rings("ghost")
        .changes_nothing()
        .join_rings("ghost")
        .changes_nothing();
    story.event(Event::StageSkipped { stage: "nowhere".to_owned(), round: 0, epoch: 0 }).changes_nothing();
}
