//! Deadlines and replays of dead letters.

use flow::{Alarm, Completion, Event, Outcome, StageStatus, submit};
use serde_json::json;

use crate::flow_story::{Story, attempts, plain, rounds, three_and_a_join};
use crate::flow_support::{plan, stage, submission};

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
fn a_replay_does_not_repeat_a_join_that_went_on_without_the_failed_branch() {
    let any = stage("last", &["a", "b"], json!({"join": {"mode": "Any"}}));
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &[]), any, plain("tail", &["last"])]);
    story.done("a").done("last").publishes(&["tail 0/0/1"]).fails("b", false).fails("tail", false);
    story.publishes(&["DeadLettered"]).event(Event::Replay).publishes(&["tail 0/1/1"]);
    story.done("tail").publishes(&["Partial"]);
}

#[test]
fn a_replay_of_a_join_in_work_starts_the_branches_that_it_went_on_without() {
    let join = stage("last", &["middle", "a"], json!({"join": {"timeout": "60s", "onTimeout": "Partial"}}));
    let stages = [plain("a", &[]), plain("b", &[]), plain("middle", &["b"]), join];
    let mut story = Story::of(json!({"stages": stages, "deadline": "10m"}));
    story.done("a").join_rings("last").fails("b", false).publishes(&[]).deadline_rings().publishes(&["DeadLettered"]);
    story.event(Event::Replay).publishes(&["b 0/1/1", "join last at 61000", "deadline of 1 at 601000"]);
    story.done("b").done("middle").publishes(&["last 0/1/1"]).done("last").ended(Outcome::Succeeded);
}

#[test]
fn a_replay_goes_on_with_the_account_of_what_was_consumed() {
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &["a"])]);
    story.done("a").fails("b", false).event(Event::Replay).done("b").ended(Outcome::Succeeded);
    assert_eq!(story.record.consumed(), attempts(3));
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
