//! What applies in a pool: its profile's defaults, overridden by the fields that are written.

use std::time::Duration;

use crate::{AgentPoolSpec, Profile};

/// The settings that an agent of a pool works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectivePool {
    /// Documents in work at once in one agent.
    pub concurrency: u32,
    /// Requests in one step of the engine.
    pub max_batch: u32,
    /// Longest that a request to an embedding model waits for those that shared the step before.
    pub max_wait: Duration,
    /// Most tokens in one step; `None` where it is learned from measured step times.
    pub token_budget: Option<u32>,
}

impl Profile {
    /// The settings of a pool that writes none itself.
    pub fn defaults(self) -> EffectivePool {
        let (concurrency, max_batch) = match self {
            Self::Balanced => (8, 32),
            Self::HighThroughput => (16, 64),
            Self::LowMemory => (2, 8),
        };
        EffectivePool { concurrency, max_batch, max_wait: Duration::ZERO, token_budget: None }
    }
}

impl AgentPoolSpec {
    /// What applies: each field that is written, and the profile's default for each that is not.
    pub fn effective(&self) -> EffectivePool {
        let defaults = self.profile.defaults();
        EffectivePool {
            concurrency: self.concurrency.unwrap_or(defaults.concurrency),
            max_batch: self.batching.max_batch.unwrap_or(defaults.max_batch),
            max_wait: self.batching.max_wait.map_or(defaults.max_wait, |span| span.0),
            token_budget: self.batching.token_budget.or(defaults.token_budget),
        }
    }
}
