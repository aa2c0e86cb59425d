//! What the work on a document consumed, with the rounds and attempts whose results were not kept.

use crds::Price;
use serde::{Deserialize, Serialize};

use crate::{Completion, DocumentRecord, StageState, StageStatus};

/// Cost in billionths of the currency that prices are in: whole numbers add up to the same in every order.
pub type NanoCost = u64;

/// What work consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Seconds of work; waiting for the queue is left out, for the engine not.
    pub seconds: f64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// What the tokens cost.
    #[serde(default)]
    pub cost: NanoCost,
}

/// Cost as it is counted; numbers that are too large stay at the largest.
pub fn nano_cost(units: f64) -> NanoCost {
    (units * 1e9).round() as NanoCost
}

/// Cost as people write it.
pub fn units(cost: NanoCost) -> f64 {
    cost as f64 / 1e9
}

impl Spent {
    /// Tokens at a price; without one they cost nothing.
    pub fn on_tokens(prompt_tokens: u64, completion_tokens: u64, price: Option<&Price>) -> Self {
        let units =
            |price: &Price| (prompt_tokens as f64 * price.input + completion_tokens as f64 * price.output) / 1_000.0;
        let cost = price.map_or(0, |price| nano_cost(units(price)));
        Self { seconds: 0.0, prompt_tokens, completion_tokens, cost }
    }

    /// Both together; counts that are too large stay at the largest.
    pub fn plus(self, other: Self) -> Self {
        Self {
            seconds: self.seconds + other.seconds,
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            completion_tokens: self.completion_tokens.saturating_add(other.completion_tokens),
            cost: self.cost.saturating_add(other.cost),
        }
    }

    /// Tokens read and written.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    /// What comes on top of an earlier sum.
    pub(crate) fn minus(self, earlier: Self) -> Self {
        Self {
            seconds: (self.seconds - earlier.seconds).max(0.0),
            prompt_tokens: self.prompt_tokens.saturating_sub(earlier.prompt_tokens),
            completion_tokens: self.completion_tokens.saturating_sub(earlier.completion_tokens),
            cost: self.cost.saturating_sub(earlier.cost),
        }
    }
}

impl Completion {
    /// What this output took.
    pub fn spent(&self) -> Spent {
        let Self { seconds, prompt_tokens, completion_tokens, cost, .. } = *self;
        Spent { seconds, prompt_tokens, completion_tokens, cost }
    }
}

impl StageState {
    /// All that the stage consumed: in every round, epoch and attempt that was reported while the stage waited for it.
    pub fn consumed(&self) -> Spent {
        match &self.status {
            StageStatus::Done(completion) => self.spent.plus(completion.spent()),
            _ => self.spent,
        }
    }
}

impl DocumentRecord {
    /// All that the document consumed.
    pub fn consumed(&self) -> Spent {
        self.stages.values().map(StageState::consumed).fold(Spent::default(), Spent::plus)
    }
}
