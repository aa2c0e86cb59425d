//! Text generation: Llama-family and Gemma 3 models from GGUF files, many sequences in one packed forward pass.
//!
//! A request is prepared on its caller's thread ([`Preparer`]: chat template, tokens, grammar), then admitted to the
//! [`Generator`] on the engine's thread, whose `step` advances every sequence by one token and feeds one chunk of
//! waiting prompts. Knows nothing of documents, queues or batching of embeddings.

mod blocks;
mod closing;
mod detokenizer;
mod error;
mod footprint;
mod generator;
mod local;
mod model;
mod prefixes;
mod prepare;
#[cfg(test)]
mod samples;
mod sampling;
mod schema;
mod sequence;
mod template;
mod vocabulary;

use std::time::Duration;

pub use crate::gguf;
pub use error::Error;
pub(crate) use footprint::{Footprint, footprint};
pub(crate) use generator::{Generator, Reply};
pub use local::LocalGenerator;
pub(crate) use prepare::{Prepared, Preparer};

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatRole {
    System,
    User,
    Assistant,
}

/// One message of a conversation. Its content is text alone: control tokens written in it stay text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    pub role: ChatRole,
    pub content: String,
}

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 always takes the likeliest token.
    pub temperature: f32,
    pub top_p: Option<f32>,
    pub top_k: Option<usize>,
    /// 1 changes nothing; above 1, tokens already seen become less likely.
    pub repetition_penalty: Option<f32>,
    /// The same request with the same seed gives the same text, whatever runs beside it.
    pub seed: u64,
}

impl Sampling {
    /// The likeliest token, always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_p: None, top_k: None, repetition_penalty: None, seed: 0 }
    }
}

/// What to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    pub messages: Vec<ChatMessage>,
    /// Most tokens of the answer.
    pub max_tokens: usize,
    pub sampling: Sampling,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// A JSON schema that the answer is forced into while it is decoded.
    pub schema: Option<serde_json::Value>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, a stop text was met, or the schema was complete.
    Stop,
    /// `max_tokens` was reached. An answer under a schema is closed before that and never ends this way.
    Length,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    pub text: String,
    pub finish: Finish,
    pub prompt_tokens: usize,
    /// Prompt tokens whose keys and values were taken from an earlier request.
    pub cached_prompt_tokens: usize,
    pub completion_tokens: usize,
    /// From admission to the first token.
    pub first_token: Duration,
    /// From admission to the end.
    pub total: Duration,
}

/// The number format that weights are held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// Formats without a fast kernel become 8-bit blocks of 32; formats with one stay as they are.
    Q8_0,
    /// The formats of the file, unchanged, fast or slow.
    AsStored,
    /// 32-bit floating point: for comparing results.
    F32,
}

/// How a generating model is held and fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneratorSettings {
    pub dtype: WeightFormat,
    /// Most tokens of prompt and answer together; cut to what the model was trained for.
    pub context_tokens: usize,
    /// Most sequences in work at once; further ones wait.
    pub max_sequences: usize,
    /// Most prompt tokens in one step: larger is faster overall, smaller is smoother for those decoding.
    pub prefill_chunk: usize,
    /// Most bytes of keys and values, of answers in work and of earlier ones together; `None` does not count them.
    pub cache_bytes: Option<usize>,
}
