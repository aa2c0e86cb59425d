//! What the work on a document may take.

use crds::Price;
use flow::{Allowance, Event, Outcome, Spent, reason};
use serde_json::{Value, json};

use crate::{
    flow_story::{Story, plain},
    flow_support::stage,
};

fn budget(budget: Value) -> Story {
    Story::of(json!({"stages": [plain("a", &[]), plain("b", &["a"]), plain("c", &["b"])], "budget": budget}))
}

/// Eleven tokens and a thousand billionths an attempt.
#[test]
fn a_document_that_takes_more_than_its_budget_is_dead_lettered_with_the_figures() {
    let mut story = budget(json!({"tokens": 22}));
    story.done("a").done("b").publishes(&["c 0/0/1"]).done("c").publishes(&["DeadLettered"]);
    assert_eq!(story.dead_letter(), (None, 0, reason::BUDGET_EXCEEDED));
    let letter = story.record.end.as_ref().and_then(|end| end.dead_letter.clone()).expect("a dead letter");
    assert_eq!(letter.cause.message, "the work on the document took 33 of 22 tokens");
    let mut story = budget(json!({"cost": 0.000_001}));
    story.done("a").publishes(&["b 0/0/1"]).fails("b", true).publishes(&["DeadLettered"]);
    let letter = story.record.end.as_ref().and_then(|end| end.dead_letter.clone()).expect("a dead letter");
    assert_eq!(letter.cause.message, "the work on the document took 0.000002 of 0.000001 in cost");
    let mut story = budget(json!({"tokens": 33, "cost": 1}));
    story.done("a").done("b").done("c").ended(Outcome::Succeeded);
}

#[test]
fn a_budget_that_is_exceeded_is_neither_retried_nor_turned_to_a_fallback() {
    let a = stage("a", &[], json!({"fallback": [{"pool": "writers"}]}));
    let mut story = Story::of(json!({"stages": [a.clone()], "budget": {"tokens": 5}}));
    story.fails("a", true).publishes(&["DeadLettered"]);
    let mut story = Story::of(json!({"stages": [a], "budget": {"tokens": 500}}));
    story.fails_with("a", reason::BUDGET_EXCEEDED, false, None).publishes(&["DeadLettered"]);
    assert_eq!(story.dead_letter(), (Some("a"), 1, reason::BUDGET_EXCEEDED));
}

#[test]
fn a_replay_has_the_whole_budget_again_and_the_account_goes_on() {
    let mut story = budget(json!({"tokens": 22}));
    story.done("a").fails("b", true).retry_rings("b").fails("b", true).publishes(&["DeadLettered"]);
    story.event(Event::Replay).publishes(&["b 0/1/1"]);
    assert_eq!(story.record.allowance(&story.plan), Allowance { tokens: Some(22), cost: None });
    story.done("b").done("c").ended(Outcome::Succeeded);
    assert_eq!(story.record.consumed().tokens(), 55);
}

#[test]
fn an_answer_may_have_as_many_tokens_as_are_left_and_can_be_paid() {
    let price = |input, output| Some(Price { input, output });
    let left = |tokens, cost| Allowance { tokens, cost };
    let most = |left: Allowance, price: Option<Price>| left.answer_tokens(price.as_ref());
    assert_eq!(most(left(None, None), price(1.0, 2.0)), None);
    assert_eq!(most(left(Some(7), None), None), Some(7));
    // A tenth of a unit at two units a thousand.
    assert_eq!(most(left(None, Some(100_000_000)), price(1.0, 2.0)), Some(50));
    assert_eq!(most(left(Some(20), Some(100_000_000)), price(1.0, 2.0)), Some(20));
    assert_eq!(most(left(None, Some(0)), price(0.0, 2.0)), Some(0));
    assert_eq!(most(left(None, Some(0)), price(1.0, 0.0)), Some(0), "what is read costs too");
    assert_eq!(most(left(None, Some(0)), None), None, "what costs nothing can be paid");
    assert_eq!(most(left(None, Some(0)), price(0.0, 0.0)), None);
}

#[test]
fn costs_are_whole_numbers_and_add_up_to_the_same_in_every_order() {
    let price = Price { input: 0.000_15, output: 0.000_6 };
    let spent = Spent::on_tokens(1_234, 567, Some(&price));
    assert_eq!(spent.cost, 525_300);
    assert_eq!(flow::units(spent.cost), 0.000_525_3);
    assert_eq!(Spent::on_tokens(1_234, 567, None).cost, 0);
    let parts: Vec<Spent> = (0..100).map(|n| Spent::on_tokens(n * 7, n, Some(&price))).collect();
    let sum = |parts: &mut dyn Iterator<Item = &Spent>| parts.fold(Spent::default(), |sum, part| sum.plus(*part)).cost;
    assert_eq!(sum(&mut parts.iter()), sum(&mut parts.iter().rev()));
    let most = Spent::on_tokens(u64::MAX, u64::MAX, Some(&Price { input: 1e6, output: 1e6 }));
    assert_eq!((most.cost, most.plus(most).cost), (u64::MAX, u64::MAX));
}
