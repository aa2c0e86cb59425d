//! What is turned to when a stage has failed for good.

use flow::{Completion, Effect, Event, Outcome, StageStatus, reason};
use serde_json::{Value, json};

use crate::{
    flow_story::{Story, attempts, plain, rounds},
    flow_support::stage,
};

fn falls_back(to: Value) -> Story {
    Story::stages(&[stage("a", &[], json!({"fallback": to, "retry": {"maxAttempts": 2}})), plain("b", &["a"])])
}

/// The pools that tasks wait for.
fn pools(story: &Story) -> Vec<String> {
    let pool = |effect| match effect {
        Effect::Publish(task) => Some(task.pool),
        _ => None,
    };
    story.record.outbox(&story.plan).into_iter().filter_map(pool).collect()
}

fn made_by(fallback: &str) -> Completion {
    Completion { output: "made".to_owned(), fallback: Some(fallback.to_owned()), ..Completion::default() }
}

#[test]
fn a_stage_that_failed_for_good_is_handed_to_the_other_pool() {
    let mut story = falls_back(json!([{"pool": "writers"}]));
    assert_eq!(pools(&story), ["readers"]);
    story.fails("a", false).publishes(&["a 0/0/2"]);
    assert_eq!(pools(&story), ["writers"]);
    story.completes("a", made_by("pool:writers")).publishes(&["b 0/0/1"]);
    assert_eq!(pools(&story), ["readers"], "what follows is worked where it always is");
    story.done("b").ended(Outcome::Succeeded);
    assert_eq!(story.record.consumed(), attempts(3));
}

#[test]
fn each_fallback_has_all_its_attempts_and_the_last_failure_counts() {
    let mut story = falls_back(json!([{"pool": "writers"}, {"pool": "readers"}]));
    for attempt in [1, 3, 5] {
        story.fails("a", true).retry_rings("a").publishes(&[&format!("a 0/0/{}", attempt + 1)]);
        story.fails("a", true);
        if attempt < 5 {
            story.publishes(&[&format!("a 0/0/{}", attempt + 2)]);
        }
    }
    assert_eq!(story.dead_letter(), (Some("a"), 6, "Broken"));
}

#[test]
fn the_waits_of_a_fallback_begin_anew() {
    let mut story = falls_back(json!([{"pool": "writers"}]));
    story.fails("a", true).publishes(&["retry a at 2000"]).retry_rings("a").fails("a", true).publishes(&["a 0/0/3"]);
    story.fails("a", true).publishes(&["retry a at 2000"]);
}

#[test]
fn an_open_circuit_leads_to_the_fallback_at_once_and_without_one_to_a_wait() {
    let mut story = falls_back(json!([{"pool": "writers"}]));
    story.fails_with("a", reason::CIRCUIT_OPEN, true, Some(60_000)).publishes(&["a 0/0/2"]);
    assert_eq!(pools(&story), ["writers"]);
    story.fails_with("a", reason::CIRCUIT_OPEN, true, Some(60_000)).publishes(&["retry a at 61000"]);
}

#[test]
fn a_wait_that_was_asked_for_lengthens_the_usual_one_and_never_shortens_it() {
    let mut story = Story::stages(&[plain("a", &[])]);
    story.fails_with("a", "Throttled", true, Some(7_000)).publishes(&["retry a at 8000"]);
    story.retry_rings("a").fails_with("a", "Throttled", true, Some(10)).publishes(&["retry a at 2500"]);
}

#[test]
fn a_document_with_a_constant_ends_as_partial() {
    let mut story = falls_back(json!([{"constant": {"text": "none"}}]));
    story.fails("a", false).publishes(&["a 0/0/2"]).completes("a", made_by("constant")).done("b");
    story.ended(Outcome::Partial);
    assert_eq!(story.record.degraded, ["a: a constant stands in for its result"]);
}

#[test]
fn falling_back_is_told_once_and_a_late_result_of_the_first_model_still_counts() {
    let mut story = falls_back(json!([{"pool": "writers"}]));
    let late = Event::StageCompleted {
        stage: "a".to_owned(),
        round: 0,
        epoch: 0,
        attempt: 1,
        completion: Completion::default(),
    };
    let (stage, cause) = ("a".to_owned(), flow::Cause::default());
    let failure = Event::StageFailed {
        stage,
        round: 0,
        epoch: 0,
        attempt: 1,
        cause,
        transient: false,
        spent: attempts(1),
        after: None,
    };
    story.event(failure.clone()).publishes(&["a 0/0/2"]).event(failure).changes_nothing().owes(&["a 0/0/2"]);
    story.event(late).publishes(&["b 0/0/1"]);
    assert!(matches!(story.status("a"), StageStatus::Done(done) if done.fallback.is_none()));
}

#[test]
fn a_new_round_and_a_replay_begin_with_the_stages_own_model() {
    let mut written = rounds(1);
    written["stages"][1]["fallback"] = json!([{"pool": "writers"}]);
    let mut story = Story::of(written);
    story.done("research").fails("draft", false).publishes(&["draft 0/0/2"]);
    story.done("draft").scores("review", 0.1).publishes(&["draft 1/0/1"]);
    assert_eq!(pools(&story), ["readers"]);
    story.fails("draft", false).fails("draft", false).publishes(&["DeadLettered"]);
    story.event(Event::Replay).publishes(&["draft 1/1/1"]);
    assert_eq!(pools(&story), ["readers"]);
}

#[test]
fn the_loser_of_a_join_turns_to_nothing() {
    let fallback = json!({"fallback": [{"pool": "writers"}]});
    let stages = [
        stage("slow", &[], fallback),
        plain("quick", &[]),
        stage("last", &["slow", "quick"], json!({"join": {"mode": "Any"}})),
    ];
    let mut story = Story::stages(&stages);
    story.done("quick").publishes(&["last 0/0/1"]).fails("slow", false).publishes(&[]);
    assert!(matches!(story.status("slow"), StageStatus::Failed(_)));
}

#[test]
fn a_suspended_document_falls_back_when_it_is_resumed() {
    let mut story = falls_back(json!([{"pool": "writers"}]));
    story.event(Event::Suspend).fails("a", false).publishes(&[]).event(Event::Resume).publishes(&["a 0/0/2"]);
    assert_eq!(pools(&story), ["writers"]);
}
