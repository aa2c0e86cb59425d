//! How many documents a tenant may have in flight.

use std::{collections::HashSet, time::Instant};

use agent_pod::serve::gateway::credits::Credits;

#[test]
fn a_credit_is_spent_until_its_document_ends_and_tenants_do_not_share() {
    let credits = Credits::new(1);
    credits.reserve("p", "a", "one").expect("a credit").keep();
    assert!(credits.reserve("p", "a", "two").is_err());
    credits.reserve("p", "a", "one").expect("the same document needs no second one").keep();
    credits.reserve("p", "b", "two").expect("another tenant's").keep();
    credits.reserve("q", "a", "two").expect("another pipeline's").keep();
    assert_eq!((credits.open("p", None), credits.open("p", Some("a")), credits.open("p", Some("c"))), (2, 1, 0));
    credits.ended("p", "a", "one");
    credits.ended("p", "a", "one");
    assert!(credits.reserve("p", "a", "two").is_ok());
}

#[test]
fn a_submission_that_fails_gives_its_credit_back() {
    let credits = Credits::new(1);
    drop(credits.reserve("p", "a", "one").expect("a credit"));
    credits.reserve("p", "a", "two").expect("it came back").keep();
    // A repeat that fails must not give back what the first submission holds.
    drop(credits.reserve("p", "a", "two").expect("the same document"));
    assert!(credits.reserve("p", "a", "three").is_err());
}

#[test]
fn the_sweep_puts_the_numbers_right() {
    let credits = Credits::new(2);
    credits.reserve("p", "a", "lost its end").expect("a credit").keep();
    let began = Instant::now();
    credits.reserve("p", "a", "new").expect("a credit").keep();
    let unfinished = HashSet::from([("a".to_owned(), "of another gateway".to_owned())]);
    assert_eq!(credits.recount("p", began, unfinished), 2);
    assert!(credits.reserve("p", "a", "more").is_err());
    assert_eq!(credits.recount("p", Instant::now(), HashSet::new()), 0);
    assert!(credits.reserve("p", "a", "more").is_ok());
}
