//! What the work on a document consumed, with the rounds and attempts whose results were not kept.

use serde::{Deserialize, Serialize};

use crate::{Completion, DocumentRecord, StageState, StageStatus};

/// What work consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Seconds of work; waiting for the queue is left out, for the engine not.
    pub seconds: f64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

impl Spent {
    /// Both together; counts that are too large stay at the largest.
    pub fn plus(self, other: Self) -> Self {
        Self {
            seconds: self.seconds + other.seconds,
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            completion_tokens: self.completion_tokens.saturating_add(other.completion_tokens),
        }
    }
}

impl Completion {
    /// What this output took.
    pub fn spent(&self) -> Spent {
        let Self { seconds, prompt_tokens, completion_tokens, .. } = *self;
        Spent { seconds, prompt_tokens, completion_tokens }
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
