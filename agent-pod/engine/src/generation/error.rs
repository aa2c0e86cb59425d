//! What can go wrong in generation, and who can mend it.

use candle_core::quantized::GgmlDType;

use crate::gguf;

/// A failed action of this module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Whoever chose the model: another file.
    #[error("failed to accept the model file's header")]
    Header(#[source] gguf::Error),
    /// Whoever chose the model.
    #[error("models of the architecture \"{0}\" are not supported, only llama and gemma3")]
    Architecture(String),
    /// Whoever chose the model: the file's configuration is damaged or beyond what this code computes.
    #[error("failed to accept the model's configuration: {0}")]
    Configuration(String),
    /// Whoever chose the model.
    #[error("tensor \"{name}\" has shape {found:?}, the configuration asks for {expected:?}")]
    TensorShape { name: String, found: Vec<usize>, expected: Vec<usize> },
    /// Whoever chose the model.
    #[error("failed to compute with tensor \"{name}\" in format {format:?}")]
    Tensor { name: String, format: GgmlDType, source: candle_core::Error },
    /// The machine: retry, or look at the disk.
    #[error("failed to read tensor \"{name}\"")]
    ReadTensor { name: String, source: std::io::Error },
    /// Whoever chose the device: generation runs on the CPU.
    #[error("generation on this device is not supported, only on the CPU")]
    Device,
    /// Whoever chose the model.
    #[error("failed to build the tokenizer: {0}")]
    Tokenizer(String),
    /// Whoever chose the model.
    #[error("failed to compile the chat template")]
    CompileTemplate(#[source] minijinja::Error),
    /// The caller, where the template refuses the conversation; else whoever chose the model.
    #[error("failed to apply the chat template")]
    ApplyTemplate(#[source] minijinja::Error),
    /// Us.
    #[error("failed to tokenise the prompt: {0}")]
    Tokenise(String),
    /// The caller: fewer or shorter messages, or a model with a longer context.
    #[error("the prompt has at least {least} tokens, more than the context of {context}")]
    PromptTooLong { least: usize, context: usize },
    /// The caller: fewer or shorter messages, fewer tokens, or a model with a longer context.
    #[error(
        "the prompt has {prompt} tokens and maxTokens is {max_tokens}, together more than the context of {context}"
    )]
    ContextExceeded { prompt: usize, max_tokens: usize, context: usize },
    /// The caller, or whoever shares out the memory.
    #[error(
        "the prompt has {prompt} tokens and maxTokens is {max_tokens}, but the memory that device.memoryFraction leaves holds the \
         keys and values of {fits}: ask for fewer tokens, set contextTokens to at most {fits}, or raise device.memoryFraction"
    )]
    MemoryExceeded { prompt: usize, max_tokens: usize, fits: usize },
    /// Whoever shares out the memory.
    #[error(
        "the memory that device.memoryFraction leaves beside the weights, {bytes} bytes, holds the keys and values of no answer: \
         raise device.memoryFraction or the agent's memory, or hold fewer or smaller models"
    )]
    FitCache { bytes: usize },
    /// The caller.
    #[error("failed to accept the request: {0}")]
    Request(&'static str),
    /// The caller: another schema.
    #[error("failed to compile the JSON schema: {0}")]
    Schema(String),
    /// The caller: the schema's shortest answer is longer than allowed.
    #[error("the schema's shortest answer takes {needed} tokens, maxTokens is {max_tokens}")]
    SchemaTooLong { needed: usize, max_tokens: usize },
    /// The caller: more tokens.
    #[error("output was cut by maxTokens ({max_tokens}) before it matched the schema")]
    Cut { max_tokens: usize },
    /// Us, or the caller whose schema costs too much to follow.
    #[error("failed to follow the JSON schema: {0}")]
    FollowSchema(String),
    /// Us, or a damaged model whose numbers overflow.
    #[error("failed to choose a token: the model gave no finite score")]
    NoFiniteScore,
    /// Us.
    #[error("failed to compute a step: {0}")]
    Step(String),
}
