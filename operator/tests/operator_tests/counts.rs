//! The numbers in a pool's status.

use crds::AgentPoolStatus;
use operator::agent_pool::{
    counts::{price, shown, with_counts},
    spending::Amount,
};
use queue::Depth;

#[test]
fn what_was_spent_is_told_where_it_is_known() {
    let status = |spent| with_counts(&AgentPoolStatus::default(), &Depth::default(), &[], spent);
    let told = status(Some(Amount { tokens: 12_345, cost: 0.126 }));
    assert_eq!((told.tokens_per_minute, told.cost_per_minute.as_deref()), (Some(12_000), Some("0.13")));
    let unknown = status(None);
    assert_eq!((unknown.tokens_per_minute, unknown.cost_per_minute), (None, None));
}

#[test]
fn prices_have_two_digits_and_no_zeros_behind_them() {
    for (amount, expected) in [(0.0, "0"), (0.001_26, "0.0013"), (1.0, "1"), (12.34, "12"), (0.000_000_2, "0")] {
        assert_eq!(price(amount), expected, "{amount}");
    }
}

#[test]
fn times_have_two_digits() {
    for (seconds, expected) in [(0.0004, "0ms"), (0.0123, "12ms"), (0.123, "120ms"), (1.26, "1.3s"), (75.9, "76s")] {
        assert_eq!(shown(seconds), expected, "{seconds}");
    }
}
