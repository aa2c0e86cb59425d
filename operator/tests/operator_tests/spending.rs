//! What the models of a pool read, write and cost a minute.

use flow::PodStatus;
use operator::agent_pool::spending::Spending;

fn agent(name: &str, began: u64, tokens: u64) -> PodStatus {
    PodStatus { name: name.to_owned(), began, tokens, cost: tokens as f64 / 1_000.0, ..PodStatus::default() }
}

fn tokens(spending: &mut Spending, agents: &[PodStatus], second: u64) -> Option<u64> {
    let agents: Vec<&PodStatus> = agents.iter().collect();
    spending.of("law", "writers", &agents, 1_000_000 + second * 1_000).map(|amount| amount.tokens)
}

#[test]
fn the_last_minute_is_told_once_half_of_it_was_seen() {
    let mut spending = Spending::default();
    assert_eq!(tokens(&mut spending, &[agent("a", 1, 5_000)], 0), None, "what was before is not of this minute");
    assert_eq!(tokens(&mut spending, &[agent("a", 1, 5_100)], 10), None);
    assert_eq!(tokens(&mut spending, &[agent("a", 1, 5_300)], 30), Some(600));
    assert_eq!(tokens(&mut spending, &[agent("a", 1, 5_300)], 60), Some(300));
    assert_eq!(tokens(&mut spending, &[agent("a", 1, 5_300)], 90), Some(0));
}

#[test]
fn agents_that_come_go_and_start_anew_are_no_jumps() {
    let mut spending = Spending::default();
    tokens(&mut spending, &[agent("a", 1, 9_000)], 0);
    // "b" has begun since and counts whole; "a" has gone; later "b" has begun anew, and counts from nothing.
    tokens(&mut spending, &[agent("b", 1_005_000, 50)], 20);
    assert_eq!(tokens(&mut spending, &[agent("b", 1_030_000, 20)], 60), Some(70));
    // One that began long ago and was never seen says nothing of this minute.
    assert_eq!(tokens(&mut spending, &[agent("b", 1_030_000, 20), agent("c", 2, 70_000)], 80), Some(20));
}

#[test]
fn a_pool_that_is_gone_is_forgotten() {
    let mut spending = Spending::default();
    tokens(&mut spending, &[agent("a", 1, 1)], 0);
    spending.forget_others();
    assert_eq!(tokens(&mut spending, &[agent("a", 1, 11)], 30), Some(20), "it was asked about");
    spending.forget_others();
    spending.forget_others();
    assert_eq!(tokens(&mut spending, &[agent("a", 1, 21)], 60), None, "its minute begins anew");
}
