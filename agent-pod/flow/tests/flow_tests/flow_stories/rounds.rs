//! Quality rounds.

use flow::{Completion, Event, Outcome};
use serde_json::json;

use crate::{
    flow_story::{Story, attempts, plain, rounds},
    flow_support::stage,
};

#[test]
fn a_low_score_starts_a_new_round_of_the_repeated_part() {
    let mut story = Story::of(rounds(2));
    story.done("research").done("draft").publishes(&["review 0/0/1", "check 0/0/1"]);
    story.scores("review", 0.5).publishes(&["draft 1/0/1"]).owes(&["draft 1/0/1"]);
    assert_eq!(story.record.round, 1);
    assert_eq!(story.record.previous["review"], "score 0.5");
    assert_eq!(story.record.previous["draft"], "output of draft");
    assert!(!story.record.previous.contains_key("check") && !story.record.previous.contains_key("research"));
    // What the first round made is not needed any more, but for the prompts of the second; it is written down all the same.
    let traces = story.record.traces();
    assert!(["score 0.5", "output of draft", "output of research"].iter().all(|made| traces.payloads.contains(*made)));
    let needed: Vec<&String> = story.record.needed().collect();
    assert!(needed.iter().any(|needed| *needed == "output of draft"));
    let late = Completion { output: "too late".to_owned(), ..Completion::default() };
    assert!(story.record.clone().note_late(&late));
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
    assert_eq!(story.record.degraded, ["review: score 0.7 is below 0.8 in the last round"]);
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
fn what_earlier_rounds_and_failed_attempts_consumed_still_counts() {
    let mut story = Story::of(rounds(2));
    story.done("research").fails("draft", true).retry_rings("draft").done("draft").scores("review", 0.5);
    assert_eq!((story.record.round, story.record.consumed()), (1, attempts(4)));
    story.done("draft").done("check").scores("review", 0.9).done("last").ended(Outcome::Succeeded);
    assert_eq!(story.record.consumed(), attempts(8));
    assert_eq!(story.record.stages["draft"].consumed(), attempts(3));
    assert_eq!(story.record.stages["draft"].spent, attempts(2));
}

#[test]
fn an_output_that_is_refused_for_want_of_a_score_has_its_cost() {
    let mut story = Story::of(rounds(1));
    story.done("research").done("draft").done("review").publishes(&["DeadLettered"]);
    assert_eq!(story.record.stages["review"].consumed(), attempts(1));
}

#[test]
fn a_stage_that_is_judged_is_needed_even_where_its_join_went_on_without_it() {
    let mut written = rounds(1);
    written["stages"][4] = stage("last", &["review", "check"], json!({"join": {"mode": "Any"}}));
    let mut story = Story::of(written);
    story.done("research").done("draft").done("check").publishes(&["last 0/0/1"]);
    story.fails("review", false).publishes(&["DeadLettered"]);
}

#[test]
fn a_round_that_needs_a_branch_which_was_lost_before_it_cannot_have_it() {
    let join = json!({"join": {"timeout": "60s", "onTimeout": "Partial"}});
    let mut story = Story::of(json!({
        "stages": [plain("draft", &[]), plain("slow", &[]), stage("both", &["draft", "slow"], join),
                   stage("review", &["both"], json!({"score": {"path": "score"}}))],
        "quality": {"stage": "review", "threshold": 0.8, "maxRounds": 1, "restartAt": "draft"},
    }));
    story.done("draft").join_rings("both").publishes(&["both 0/0/1"]).fails("slow", false).publishes(&[]);
    story.done("both").scores("review", 0.1).publishes(&["DeadLettered"]);
    assert_eq!(story.dead_letter(), (Some("both"), 0, "JoinImpossible"));
    story.event(Event::Replay).publishes(&["draft 1/1/1", "slow 0/1/1"]);
}
