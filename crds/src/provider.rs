//! Models of others: where a provider with OpenAI's interface is, and what tokens cost.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// A model at a provider that speaks OpenAI's interface (`/chat/completions`, `/embeddings`).
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.apiKeyEnv) || !has(self.apiKeyFile)").message("set at most one of apiKeyEnv, apiKeyFile"))]
pub struct OpenAiSource {
    /// Address of the interface, for example `https://api.example.com/v1`; `/chat/completions` is added to it.
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"))]
    pub base_url: String,
    /// The provider's name of the model.
    #[schemars(length(min = 1, max = 253))]
    pub model: String,
    /// Environment variable of the agent that holds the key. Default: no key is sent.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// File on the agent's own disk that holds the key; it is read for each request, so a key can change.
    #[schemars(length(min = 1, max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<String>,
    /// Longest silence of the provider: until its answer begins, and between two parts of it.
    #[serde(default = "provider_timeout")]
    pub timeout: Span,
    /// Requests at once from one agent; further ones wait.
    #[serde(default = "provider_requests")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_concurrent: u32,
    /// Numbers in a vector; of embedding models, whose vectors are refused where they have another length.
    #[schemars(range(min = 1, max = 65_536))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
}

fn provider_timeout() -> Span {
    Span(std::time::Duration::from_secs(60))
}

fn provider_requests() -> u32 {
    8
}

/// What a thousand tokens cost, in the currency in which budgets are written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    /// Tokens that are read.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub input: f64,
    /// Tokens that are written.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub output: f64,
}
