//! Bounds of what clients can make the inference interface do.

use std::time::Duration;

use crds::{
    Span,
    schemars::{self, JsonSchema},
};
use serde::Deserialize;

/// Bounds of what clients can make the inference interface do.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InferenceLimits {
    /// Bytes of one request.
    #[schemars(range(min = 1_024, max = 67_108_864))]
    pub body_bytes: u64,
    /// Texts in one request.
    #[schemars(range(min = 1, max = 10_000))]
    pub inputs: u32,
    /// Tokens of one answer; the model's context may allow less.
    #[schemars(range(min = 1, max = 131_072))]
    pub max_tokens: u32,
    /// Requests at once; further ones are refused.
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrent: u32,
    /// Longest time from a request to the end of its answer.
    pub time: Span,
}

impl Default for InferenceLimits {
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            // As many as OpenAI takes.
            inputs: 2_048,
            max_tokens: 4_096,
            concurrent: 64,
            time: Span(Duration::from_secs(300)),
        }
    }
}
