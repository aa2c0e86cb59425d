//! Requests and answers of the interface as JSON, and what is made of an answer that comes in pieces.

use engine::generation::{ChatRole, Finish, GenerateRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longest part of a provider's own words that goes into a message.
const WORDS: usize = 300;

/// A request for text. Numbers are written as they were read: `0.7`, not the nearest binary fraction.
#[derive(Serialize)]
pub(super) struct ChatRequest<'a> {
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
    pub(super) fn new(model: &'a str, request: &'a GenerateRequest) -> Self {
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
pub(super) struct Usage {
    #[serde(default)]
    pub(super) prompt_tokens: u64,
    #[serde(default)]
    pub(super) completion_tokens: u64,
}

/// An answer that is being put together.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) refusal: String,
    pub(super) usage: Option<Usage>,
    finish: Option<String>,
}

/// What is wrong with a part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no JSON of this form.
    Form(String),
    /// The provider tells of a failure in the middle of its answer.
    Error(String),
}

impl Answer {
    /// Takes a part; the text that it adds.
    pub(super) fn add(&mut self, part: &str) -> Result<Option<String>, Fault> {
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
    pub(super) fn finish(&self) -> Option<Finish> {
        match self.finish.as_deref()? {
            "length" => Some(Finish::Length),
            _ => Some(Finish::Stop),
        }
    }

    /// Whether the provider held back what it wrote, or refused to write; its words.
    pub(super) fn declined(&self) -> Option<String> {
        match self.finish.as_deref() {
            Some("content_filter") => Some("its filter held the answer back".to_owned()),
            _ if self.text.is_empty() && !self.refusal.is_empty() => Some(words(&self.refusal)),
            _ => None,
        }
    }
}

/// What a provider says of a failure, in a few words on one line.
pub(super) fn words(said: &str) -> String {
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

#[cfg(test)]
mod tests {
    use engine::generation::{ChatMessage, Sampling};

    use super::*;

    #[test]
    fn a_request_says_what_the_stage_says() {
        let request = GenerateRequest {
            messages: vec![
                ChatMessage { role: ChatRole::System, content: "s".to_owned() },
                ChatMessage { role: ChatRole::User, content: "u".to_owned() },
            ],
            max_tokens: 7,
            sampling: Sampling { temperature: 0.7, top_p: Some(0.9), seed: 3, ..Sampling::greedy() },
            stop: vec!["END".to_owned()],
            schema: Some(json!({"type": "object"})),
        };
        let written = serde_json::to_string(&ChatRequest::new("large", &request)).expect("JSON");
        assert_eq!(
            written,
            r#"{"model":"large","messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}],"max_tokens":7,"temperature":0.7,"top_p":0.9,"seed":3,"stop":["END"],"response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}},"stream":true,"stream_options":{"include_usage":true}}"#
        );
    }

    #[test]
    fn an_answer_is_put_together_from_its_parts() {
        let mut answer = Answer::default();
        let parts = [
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, None),
            (r#"{"choices":[{"delta":{"content":"Two "},"finish_reason":null}]}"#, Some("Two ")),
            (r#"{"choices":[{"delta":{"content":"cats"}}]}"#, Some("cats")),
            (r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#, None),
            (r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#, None),
        ];
        for (part, text) in parts {
            assert_eq!(answer.add(part).expect("a part").as_deref(), text);
        }
        assert_eq!((answer.text.as_str(), answer.finish()), ("Two cats", Some(Finish::Length)));
        assert_eq!(answer.usage, Some(Usage { prompt_tokens: 5, completion_tokens: 2 }));
        let whole = r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#;
        let mut answer = Answer::default();
        answer.add(whole).expect("a whole answer");
        assert_eq!((answer.text.as_str(), answer.finish()), ("Hi", Some(Finish::Stop)));
    }

    #[test]
    fn failures_and_refusals_in_an_answer_are_found() {
        let mut answer = Answer::default();
        assert!(matches!(answer.add("{oops"), Err(Fault::Form(_))));
        assert_eq!(answer.add(r#"{"error":{"message":"too hot"}}"#), Err(Fault::Error("too hot".to_owned())));
        answer.add(r#"{"choices":[{"delta":{"refusal":"I will not."},"finish_reason":"stop"}]}"#).expect("a part");
        assert_eq!(answer.declined().as_deref(), Some("I will not."));
        assert_eq!(Answer::default().finish(), None);
    }

    #[test]
    fn the_words_of_a_provider_are_few_and_on_one_line() {
        assert_eq!(words(r#"{"error": {"message": "no\nsuch  model", "type": "x"}}"#), "no such model");
        assert_eq!(words(r#"{"error": "overloaded"}"#), "overloaded");
        assert_eq!(words(r#"{"message": "busy"}"#), "busy");
        assert_eq!(words(r#"{"detail": "busy"}"#), "busy");
        assert_eq!(words("<html>502</html>\u{7}"), "<html>502</html>");
        assert_eq!(words(" "), "it says nothing");
        assert_eq!(words(&"ä".repeat(9_000)).chars().count(), WORDS + 1);
    }
}
