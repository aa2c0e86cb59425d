//! Joins: when they fire, when they cannot, what a time-out does.

use flow::{Outcome, StageStatus};
use serde_json::{Value, json};

use crate::{
    flow_story::{Story, plain, three_and_a_join},
    flow_support::stage,
};

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
    story.fails("a", false).skips("b").publishes(&["Partial"]).done("c").changes_nothing();
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

/// Two branches; `last` takes the first, `tail` follows it.
fn race() -> Vec<Value> {
    let first = json!({"join": {"mode": "Any"}});
    vec![plain("a", &[]), plain("b", &[]), stage("last", &["a", "b"], first), plain("tail", &["last"])]
}

#[test]
fn a_branch_that_lost_its_join_may_fail_and_is_noted() {
    let mut story = Story::stages(&race());
    story.done("a").publishes(&["last 0/0/1"]).fails("b", false).publishes(&[]);
    story.done("last").publishes(&["tail 0/0/1"]).done("tail").publishes(&["Partial"]);
    assert_eq!(story.record.degraded, ["b: left out, Broken: it broke"]);

    let partial = json!({"join": {"timeout": "60s", "onTimeout": "Partial"}});
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &[]), stage("last", &["a", "b"], partial)]);
    story.done("a").join_rings("last").publishes(&["last 0/0/1"]).fails("b", false).publishes(&[]);
    story.done("last").ended(Outcome::Partial);
}

#[test]
fn a_branch_that_fails_while_its_join_waits_ends_the_document() {
    let mut story = Story::stages(&race());
    story.fails("b", false).publishes(&["DeadLettered"]);
    assert_eq!(story.dead_letter(), (Some("b"), 1, "Broken"));
}

#[test]
fn a_branch_that_lost_one_join_and_leads_to_another_end_is_still_needed() {
    let mut stages = race();
    stages.extend([plain("beside", &["b"]), plain("report", &["beside"])]);
    let mut story = Story::stages(&stages);
    story.done("a").done("last").done("tail").fails("b", false).publishes(&["DeadLettered"]);
}

#[test]
fn what_follows_a_lost_branch_does_not_run_without_it() {
    let first = json!({"join": {"mode": "Any"}});
    let stages = [
        plain("a", &[]),
        plain("b", &[]),
        plain("c", &[]),
        plain("middle", &["b", "c"]),
        stage("last", &["a", "middle"], first),
    ];
    let mut story = Story::stages(&stages);
    story.done("a").publishes(&["last 0/0/1"]).fails("b", false).publishes(&[]).done("c").publishes(&[]);
    assert!(matches!(story.status("middle"), StageStatus::Failed(cause) if cause.reason == "JoinImpossible"));
    story.done("last").ended(Outcome::Partial);
}

#[test]
fn a_join_that_nothing_waits_for_may_wait_too_long() {
    let first = json!({"join": {"mode": "Any"}});
    let both = json!({"join": {"timeout": "60s", "onTimeout": "DeadLetter"}});
    let stages = [
        plain("a", &[]),
        plain("b", &[]),
        plain("c", &[]),
        stage("both", &["b", "c"], both),
        stage("last", &["a", "both"], first),
    ];
    let mut story = Story::stages(&stages);
    story.done("b").publishes(&["join both at 61000"]).done("a").publishes(&["last 0/0/1"]);
    story.join_rings("both").publishes(&[]).done("last").ended(Outcome::Partial);
}
