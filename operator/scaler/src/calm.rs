//! Turning less often than is cheapest, for a bounded share of what the pool costs anyway. Knows no pods.

use serde::{Deserialize, Serialize};

/// Seconds for which what was not spent may be spent later.
const SAVED: f64 = 3_600.0;

/// What may be spent on putting turns off, and how many need not be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calm {
    /// Pod-seconds that may be spent.
    purse: f64,
    /// Turns that need not be put off.
    turns: f64,
}

impl Calm {
    /// Time went by, in which so many pod-seconds and turns a second were earned.
    pub(crate) fn earn(&mut self, pods: f64, turns: f64, seconds: f64) {
        self.purse = (self.purse + pods * seconds).min(pods * SAVED);
        self.turns = (self.turns + turns * seconds).min(turns * SAVED);
    }

    /// Whether a turn is to be put off, at the price of so many pod-seconds; if not, it is counted.
    pub(crate) fn put_off(&mut self, price: f64) -> bool {
        if self.turns >= 1.0 {
            self.turns -= 1.0;
            return false;
        }
        if self.purse < price || self.purse <= 0.0 {
            return false;
        }
        self.purse -= price;
        true
    }
}
