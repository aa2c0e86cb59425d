//! Stories of documents: what happens, what is published, where it ends.

use crate::flow_story::{Story, plain};
use crate::flow_support::{plan, stage, submission};
use flow::{Alarm, Cause, Completion, DeadLetter, Effect, Event, Outcome, Spent, StageStatus};
use serde_json::json;

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
    let (stage, cause, spent) = ("a".to_owned(), Cause::default(), Spent::default());
    let (round, epoch, attempt, transient, after) = (0, 0, 1, false, None);
    let old = Event::StageFailed { stage, round, epoch, attempt, cause, transient, spent, after };
    story.event(old).changes_nothing();
}

#[test]
fn a_result_of_an_attempt_that_never_was_changes_nothing() {
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &["a"])]);
    story.done("b").changes_nothing().skips("b").changes_nothing();
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

#[test]
fn attempts_that_are_handed_back_do_not_count_as_starts_without_a_report() {
    let interrupted = || Event::AttemptInterrupted { stage: "a".to_owned(), round: 0, epoch: 0, attempt: 1 };
    let mut story = Story::stages(&[plain("a", &[])]);
    story.event(interrupted()).changes_nothing();
    for _ in 0..10 {
        story.starts("a").event(interrupted());
    }
    assert!(story.record.end.is_none());
    story.starts("a").starts("a").event(interrupted()).starts("a").starts("a");
    assert!(story.record.end.is_none());
    story.starts("a");
    assert_eq!(story.dead_letter(), (Some("a"), 1, "Quarantined"));
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
fn a_cancelled_document_stays_cancelled() {
    let mut story = Story::stages(&[plain("a", &[])]);
    story.event(Event::Cancel).publishes(&["Cancelled"]).owes(&["Cancelled"]);
    story.done("a").changes_nothing().event(Event::Replay).changes_nothing().event(Event::Resume).changes_nothing();
}

#[test]
fn a_branch_that_wrote_and_died_before_it_published_is_repaired_by_the_outbox() {
    let stages = [plain("a", &[]), plain("b", &[]), plain("c", &["a"]), plain("d", &["b"])];
    let mut story = Story::stages(&stages);
    story.done("a").publishes(&["c 0/0/1"]);
    story.done("b").publishes(&["d 0/0/1"]).owes(&["c 0/0/1", "d 0/0/1"]);
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

#[test]
fn a_document_that_cannot_be_taken_is_given_up_at_its_first_stage_before_any_attempt() {
    let stages = [stage("a", &[], json!({"optional": true})), plain("b", &["a"]), plain("c", &[])];
    let plan = plan(json!({"deadline": "1h", "stages": stages}));
    let cause = Cause { reason: "DocumentUnreadable".to_owned(), ..Cause::default() };
    let refused = flow::refuse(&plan, submission(), cause.clone(), 1_000);
    let states = refused.record.stages.iter().map(|(name, state)| (name.as_str(), &state.status, state.attempt));
    let (failed, waiting) = (StageStatus::Failed(cause.clone()), StageStatus::Waiting);
    let expected = [("a", &failed, 0), ("b", &waiting, 0), ("c", &waiting, 0)];
    assert_eq!(states.collect::<Vec<_>>(), expected);
    let end = refused.record.end.clone().expect("an end");
    let letter = DeadLetter { stage: Some("a".to_owned()), attempts: 0, cause };
    assert_eq!((end.outcome, &end.dead_letter), (Outcome::DeadLettered, &Some(letter)));
    assert_eq!(refused.effects, [Effect::Report(end)]);
}
