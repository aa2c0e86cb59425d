//! Stages that wait for a person.

use flow::{Event, Outcome, StageStatus};
use serde_json::{Value, json};

use crate::flow_story::{Story, plain};
use crate::flow_support::stage;

fn asking(approve: Value, further: &Value) -> Value {
    let mut asking = stage("sign", &["a"], further.clone());
    let fields = asking.as_object_mut().expect("a stage is a map");
    fields.remove("transform");
    fields.insert("approve".to_owned(), approve);
    asking
}

/// a → sign → b, with the question asked at 1 s.
fn asked(approve: Value, further: &Value) -> Story {
    let mut story = Story::stages(&[plain("a", &[]), asking(approve, further), plain("b", &["sign"])]);
    story.done("a").publishes(&["sign 0/0/1"]);
    story
}

#[test]
fn a_stage_waits_for_an_answer_without_a_task_and_goes_on_with_it_once() {
    let mut story = asked(json!({}), &json!({}));
    story.asks("sign").publishes(&[]).owes(&[]);
    assert!(story.record.waits_for_people(&story.plan, u64::MAX - 1));
    story.asks("sign").changes_nothing().skips("sign").changes_nothing().done("sign").changes_nothing();
    story.at(9_000).answers("sign", true).publishes(&["b 0/0/1"]);
    assert!(!story.record.waits_for_people(&story.plan, u64::MAX - 1));
    let StageStatus::Done(completion) = story.status("sign") else { panic!("{:?}", story.status("sign")) };
    assert_eq!((completion.output.as_str(), completion.worker.as_str()), ("answer on sign", "ann"));
    story.answers("sign", false).changes_nothing().done("b").ended(Outcome::Succeeded);
}

#[test]
fn who_has_not_been_asked_cannot_answer() {
    let mut story = asked(json!({}), &json!({}));
    story.answers("sign", true).changes_nothing().answers("a", true).changes_nothing();
    story.answers("b", true).changes_nothing();
}

#[test]
fn a_rejection_is_a_dead_letter_that_says_who_and_why_and_a_replay_asks_again() {
    let mut story = asked(json!({}), &json!({}));
    story.asks("sign").answers("sign", false).publishes(&["DeadLettered"]);
    assert_eq!(story.dead_letter(), (Some("sign"), 1, "Rejected"));
    let letter = story.record.end.as_ref().and_then(|end| end.dead_letter.clone()).expect("a dead letter");
    assert_eq!((letter.cause.message.as_str(), letter.cause.worker.as_str()), ("rejected by ann: seen", "ann"));
    story.event(Event::Replay).publishes(&["sign 0/1/1"]).answers("sign", true).changes_nothing();
    story.asks("sign").answers("sign", true).publishes(&["b 0/1/1"]);
}

#[test]
fn an_optional_stage_that_is_rejected_is_left_out() {
    let mut story = asked(json!({}), &json!({"optional": true}));
    story.asks("sign").answers("sign", false).publishes(&["b 0/0/1"]).done("b").publishes(&["Partial"]);
    assert_eq!(story.record.degraded, ["sign: left out, Rejected: rejected by ann: seen"]);
}

#[test]
fn without_an_answer_the_policy_decides_once() {
    let timed_out = |policy: &str, further: Value| {
        let mut story = asked(json!({"timeout": "1h", "onTimeout": policy}), &further);
        story.at(5_000).asks("sign").publishes(&["approval sign at 3605000"]).owes(&["approval sign at 3605000"]);
        assert!(story.record.waits_for_people(&story.plan, 3_604_999));
        assert!(!story.record.waits_for_people(&story.plan, 3_605_000), "the timer moves it");
        story.at(3_605_000).approval_rings("sign");
        assert!(story.changed);
        story
    };
    let mut approved = timed_out("Approve", json!({}));
    approved.publishes(&["b 0/0/1"]).approval_rings("sign").changes_nothing().answers("sign", false).changes_nothing();
    let StageStatus::Done(completion) = approved.status("sign") else { panic!("{:?}", approved.status("sign")) };
    assert_eq!((completion.output.as_str(), completion.worker.as_str()), ("silence on sign", ""));
    let rejected = timed_out("Reject", json!({}));
    assert_eq!(rejected.dead_letter(), (Some("sign"), 1, "Rejected"));
    timed_out("Reject", json!({"optional": true})).publishes(&["b 0/0/1"]);
    for optional in [false, true] {
        let given_up = timed_out("DeadLetter", json!({"optional": optional}));
        assert_eq!(given_up.dead_letter(), (Some("sign"), 1, "ApprovalTimeout"));
    }
}

#[test]
fn a_timer_without_a_time_out_or_a_question_rings_in_vain() {
    let mut story = asked(json!({}), &json!({}));
    story.approval_rings("sign").changes_nothing().asks("sign").approval_rings("sign").changes_nothing();
    let mut story = asked(json!({"timeout": "1h"}), &json!({}));
    story.approval_rings("sign").changes_nothing().approval_rings("b").changes_nothing();
}

#[test]
fn an_attempt_that_failed_asks_later_and_one_that_comes_late_asks_too() {
    let mut story = asked(json!({}), &json!({}));
    story.fails("sign", true).publishes(&["retry sign at 2000"]).asks("sign").owes(&[]);
    story.retry_rings("sign").changes_nothing().answers("sign", true).publishes(&["b 0/0/1"]);
}

#[test]
fn other_branches_go_on_while_a_person_is_waited_for() {
    let stages = json!({
        "stages": [plain("a", &[]), asking(json!({}), &json!({})), plain("c", &["a"]), plain("d", &["c"])],
        "parallel": false,
    });
    let mut story = Story::of(stages);
    story.done("a").publishes(&["sign 0/0/1"]).asks("sign").publishes(&["c 0/0/1"]).done("c").publishes(&["d 0/0/1"]);
    assert!(!story.record.waits_for_people(&story.plan, 0));
    story.done("d");
    assert!(story.record.waits_for_people(&story.plan, 0));
    story.answers("sign", true).ended(Outcome::Succeeded);
}

#[test]
fn the_deadline_counts_while_a_person_is_waited_for() {
    let stages = json!({"stages": [plain("a", &[]), asking(json!({}), &json!({}))], "deadline": "10m"});
    let mut story = Story::of(stages);
    story.done("a").asks("sign").owes(&["deadline of 0 at 601000"]).at(601_000).deadline_rings();
    assert_eq!(story.dead_letter().2, "DeadlineExceeded");
}
