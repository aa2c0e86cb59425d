//! Requests and answers of the interface as JSON, and what is made of an answer that comes in pieces.

use engine::generation::{ChatRole, Finish, GenerateRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longest part of a provider's own words that goes into a message.
pub const WORDS: usize = 300;

/// A request for text. Numbers are written as they were read: `0.7`, not the nearest binary fraction.
#[derive(Serialize)]
pub struct ChatRequest<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    max_tokens: usize,
    temperature: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    // Not OpenAI's own, but of many servers with its interface; sent only where someone wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f32>,
    seed: u64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    stream: bool,
    stream_options: Value,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

impl<'a> ChatRequest<'a> {
    /// The request of a stage, for the model as its provider calls it.
    pub fn new(model: &'a str, request: &'a GenerateRequest) -> Self {
        let role = |role| match role {
            ChatRole::System => "system",
            ChatRole::User => "user",
            ChatRole::Assistant => "assistant",
        };
        let messages = request.messages.iter();
        let named =
            |schema: &Value| json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
        Self {
            model,
            messages: messages.map(|message| Message { role: role(message.role), content: &message.content }).collect(),
            max_tokens: request.max_tokens,
            temperature: request.sampling.temperature,
            top_p: request.sampling.top_p,
            top_k: request.sampling.top_k,
            repetition_penalty: request.sampling.repetition_penalty,
            seed: request.sampling.seed,
            stop: &request.stop,
            response_format: request.schema.as_ref().map(named),
            // Always: silence then means that nothing comes, not that much is written.
            stream: true,
            stream_options: json!({"include_usage": true}),
        }
    }
}

/// A request for vectors.
#[derive(Serialize)]
pub(super) struct EmbeddingRequest<'a> {
    pub(super) model: &'a str,
    pub(super) input: &'a [String],
    pub(super) encoding_format: &'static str,
}

/// Vectors.
#[derive(Deserialize)]
pub(super) struct EmbeddingAnswer {
    pub(super) data: Vec<Embedding>,
    pub(super) usage: Option<Usage>,
}

#[derive(Deserialize)]
pub(super) struct Embedding {
    pub(super) index: usize,
    pub(super) embedding: Vec<f32>,
}

/// A part of an answer, or a whole one from a server that does not stream.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(alias = "message")]
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
}

/// Tokens as the provider counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Usage {
    #[serde(default)]
    pub prompt_tokens: u64,
    #[serde(default)]
    pub completion_tokens: u64,
}

/// An answer that is being put together.
#[derive(Default)]
pub struct Answer {
    pub text: String,
    pub refusal: String,
    pub usage: Option<Usage>,
    finish: Option<String>,
}

/// What is wrong with a part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no JSON of this form.
    Form(String),
    /// The provider tells of a failure in the middle of its answer.
    Error(String),
}

impl Answer {
    /// Takes a part; the text that it adds.
    pub fn add(&mut self, part: &str) -> Result<Option<String>, Fault> {
        let chunk: Chunk = serde_json::from_str(part).map_err(|error| Fault::Form(error.to_string()))?;
        if let Some(error) = chunk.error {
            return Err(Fault::Error(words(&error.to_string())));
        }
        self.usage = chunk.usage.or(self.usage);
        // One was asked for.
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(None) };
        self.finish = choice.finish_reason.or(self.finish.take());
        let Some(delta) = choice.delta else { return Ok(None) };
        self.refusal.push_str(&delta.refusal.unwrap_or_default());
        let added = delta.content.filter(|content| !content.is_empty());
        self.text.push_str(added.as_deref().unwrap_or_default());
        Ok(added)
    }

    /// How the answer ended; `None` where it was cut off.
    pub fn finish(&self) -> Option<Finish> {
        match self.finish.as_deref()? {
            "length" => Some(Finish::Length),
            _ => Some(Finish::Stop),
        }
    }

    /// Whether the provider held back what it wrote, or refused to write; its words.
    pub fn declined(&self) -> Option<String> {
        match self.finish.as_deref() {
            Some("content_filter") => Some("its filter held the answer back".to_owned()),
            _ if self.text.is_empty() && !self.refusal.is_empty() => Some(words(&self.refusal)),
            _ => None,
        }
    }
}

/// What a provider says of a failure, in a few words on one line.
pub fn words(said: &str) -> String {
    let message = |value: &Value| {
        let error = value.get("error").unwrap_or(value);
        let found = error.get("message").or(error.get("detail")).or(value.get("message")).unwrap_or(error);
        found.as_str().map(str::to_owned)
    };
    let text = serde_json::from_str(said).ok().as_ref().and_then(message).unwrap_or_else(|| said.to_owned());
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|letter| !letter.is_control()).collect();
    match line.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.is_empty() => "it says nothing".to_owned(),
        None => line,
    }
}
