//! Results are written before a document ends.

use flow::{Event, Outcome, RESULTS_POOL, RESULTS_STAGE};
use serde_json::{Value, json};

use crate::flow_story::{Story, plain};
use crate::flow_support::stage;

fn written(stages: &[Value], further: Value) -> Story {
    let mut spec = json!({"stages": stages, "results": {"table": {}}});
    for (field, value) in further.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    Story::of(spec)
}

#[test]
fn a_document_ends_after_its_results_are_written() {
    let mut story = written(&[plain("a", &[]), plain("b", &["a"]), plain("c", &["a"])], json!({}));
    story.done("a").done("b").publishes(&[]).done("c").publishes(&["results 0/0/1"]).owes(&["results 0/0/1"]);
    assert_eq!(story.plan.stage(RESULTS_STAGE).expect("it is planned").spec.pool, RESULTS_POOL);
    story.done(RESULTS_STAGE).publishes(&["Succeeded"]).done(RESULTS_STAGE).changes_nothing();
}

#[test]
fn stages_that_were_skipped_or_left_out_have_results_too() {
    let mut story = written(&[plain("a", &[])], json!({}));
    story.skips("a").publishes(&["results 0/0/1"]).done(RESULTS_STAGE).ended(Outcome::Succeeded);
    let mut story = written(&[stage("a", &[], json!({"optional": true}))], json!({}));
    story.fails("a", false).publishes(&["results 0/0/1"]).done(RESULTS_STAGE).ended(Outcome::Partial);
}

#[test]
fn a_sink_that_is_away_is_waited_for_however_long_it_takes() {
    let mut story = written(&[plain("a", &[])], json!({"deadline": "10m", "retry": {"maxAttempts": 1}}));
    story.done("a").publishes(&["results 0/0/1"]);
    for (attempt, wait) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30), (8, 30)] {
        let due = story.now + wait * 1_000;
        story.fails(RESULTS_STAGE, true).publishes(&[&format!("retry results at {due}")]);
        story.at(due).retry_rings(RESULTS_STAGE).publishes(&[&format!("results 0/0/{}", attempt + 1)]);
    }
    story.at(9_000_000).deadline_rings().changes_nothing().event(Event::Cancel).changes_nothing();
    story.done(RESULTS_STAGE).ended(Outcome::Succeeded);
}

#[test]
fn results_that_are_refused_are_a_dead_letter_and_a_replay_writes_them_again() {
    let mut story = written(&[plain("a", &[])], json!({}));
    story.done("a").fails(RESULTS_STAGE, false);
    assert_eq!(story.dead_letter(), (Some(RESULTS_STAGE), 1, "Broken"));
    story.event(Event::Replay).publishes(&["results 0/1/1"]).done(RESULTS_STAGE).ended(Outcome::Succeeded);
}

#[test]
fn a_branch_that_lost_changes_nothing_while_results_are_written() {
    let join = stage("last", &["fast", "slow"], json!({"join": {"mode": "Any"}}));
    let mut story = written(&[plain("fast", &[]), plain("slow", &[]), join], json!({}));
    story.done("fast").done("last").publishes(&["results 0/0/1"]).owes(&["results 0/0/1"]);
    story.fails("slow", false).changes_nothing().done("slow").changes_nothing();
    story.done(RESULTS_STAGE).ended(Outcome::Succeeded);
}

#[test]
fn nobody_is_asked_about_a_document_that_is_over() {
    let mut asking = stage("slow", &[], json!({"approve": {"timeout": "1h"}}));
    asking.as_object_mut().expect("a stage is a map").remove("transform");
    let join = stage("last", &["fast", "slow"], json!({"join": {"mode": "Any"}}));
    let mut story = written(&[plain("fast", &[]), asking, join], json!({}));
    story.asks("slow");
    assert_eq!(story.record.asking(), ["slow"]);
    story.done("fast").done("last").owes(&["results 0/0/1"]);
    assert!(story.record.asking().is_empty());
    story.answers("slow", true).changes_nothing().approval_rings("slow").changes_nothing();
    story.done(RESULTS_STAGE).ended(Outcome::Succeeded);
    assert!(story.record.asking().is_empty());
}

#[test]
fn suspension_does_not_hold_back_what_is_as_good_as_ended() {
    let mut story = written(&[plain("a", &[])], json!({}));
    story.event(Event::Suspend).done("a").publishes(&["results 0/0/1"]).fails(RESULTS_STAGE, true);
    story.retry_rings(RESULTS_STAGE).publishes(&["results 0/0/2"]).done(RESULTS_STAGE).ended(Outcome::Succeeded);
}
