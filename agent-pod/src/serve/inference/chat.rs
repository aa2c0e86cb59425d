//! `/v1/chat/completions`: an answer to a conversation, whole or piece by piece.

use std::{io, pin::pin, time::Duration};

use axum::{
    Json,
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use engine::generation::{ChatMessage, ChatRole, Finish, GenerateRequest, Generated, Sampling};
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    fields::Fields,
    job::{CLASS, Job},
    limits::InferenceLimits,
    refusal::Refusal,
};
use crate::runtime::now;

/// Pieces that wait for a slow client; it cannot fall behind by more than an answer, which is bounded.
const WAITING: usize = 64;
/// After the time of a request: for the word that it is over.
const LAST_PIECE: Duration = Duration::from_secs(1);
/// OpenAI's own bounds.
const MOST_TEMPERATURE: f64 = 2.0;
const MOST_STOPS: usize = 4;
/// What would change the answer and is not done.
const NOT_DONE: [&str; 9] = [
    "tools",
    "functions",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "audio",
    "prediction",
];
/// What clients get that name no temperature.
const OPENAI_TEMPERATURE: f64 = 1.0;

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub struct Asked {
    pub messages: Vec<ChatMessage>,
    /// `None`: as many as the context leaves room for.
    pub max_tokens: Option<usize>,
    pub sampling: Sampling,
    pub stop: Vec<String>,
    pub schema: Option<Value>,
    /// Whether it wants pieces, and at their end the number of tokens.
    pub stream: Option<bool>,
}

/// What is passed on to a client that wants pieces.
enum Piece {
    Chunk(Value),
    Failed(Refusal),
    Done,
}

/// What all parts of an answer have in common.
struct Head {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
}

pub(super) async fn answer(job: Job, fields: &Fields) -> Result<Response, Refusal> {
    let asked = read(fields, &job.limits)?;
    let stream = asked.stream;
    let request = request(&job, asked).await?;
    let head = Head {
        id: format!("chatcmpl-{}", uuid::Uuid::now_v7().simple()),
        created: now() / 1_000,
        model: job.name.clone(),
        fingerprint: job.engine.digest(&job.engine_name).unwrap_or_default().chars().take(12).collect(),
    };
    match stream {
        None => {
            let generated = job.engine.generate(&job.engine_name, request, CLASS, Some(job.deadline), None).await?;
            job.admitted.ended(super::ANSWERED);
            Ok(Json(head.whole(&generated)).into_response())
        }
        Some(with_usage) => in_pieces(job, request, head, with_usage).await,
    }
}

async fn request(job: &Job, asked: Asked) -> Result<GenerateRequest, Refusal> {
    let max_tokens = match asked.max_tokens {
        Some(tokens) => tokens,
        None => {
            let (room, context) = job.engine.answer_room(&job.engine_name, asked.messages.clone()).await?;
            if room == 0 {
                let message = format!("the messages fill the model's context of {context} tokens: send fewer");
                return Err(Refusal::too_long("messages", message));
            }
            room.min(job.limits.max_tokens as usize)
        }
    };
    let Asked { messages, sampling, stop, schema, .. } = asked;
    Ok(GenerateRequest { messages, max_tokens, sampling, stop, schema })
}

/// The answer as server-sent events. What goes wrong before the first piece is answered as an error of the request.
async fn in_pieces(job: Job, request: GenerateRequest, head: Head, with_usage: bool) -> Result<Response, Refusal> {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        // A client that takes nothing must not hold its place for ever.
        let too_late = tokio::time::sleep_until((job.deadline + LAST_PIECE).into());
        tokio::select! {
            // Dropping the request takes it out of the engine.
            () = sender.closed() => {}
            () = write(&job, request, &head, with_usage, &sender) => {}
            () = too_late => job.admitted.ended(Refusal::TooSlow.reason()),
        }
    });
    let first = match receiver.recv().await {
        Some(Piece::Failed(refusal)) => return Err(refusal),
        first => first,
    };
    let events = stream::unfold(Some((first, receiver)), |left| async move {
        let (first, mut receiver) = left?;
        let piece = match first {
            Some(piece) => Some(piece),
            None => receiver.recv().await,
        };
        Some(match piece {
            Some(Piece::Chunk(chunk)) => (Ok(Event::default().data(chunk.to_string())), Some((None, receiver))),
            Some(Piece::Failed(refusal)) => (Ok(Event::default().data(refusal.body().to_string())), None),
            Some(Piece::Done) => (Ok(Event::default().data("[DONE]")), None),
            // A client must not take it for the end.
            None => (Err(io::Error::other("the answer broke off")), None),
        })
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

async fn write(job: &Job, request: GenerateRequest, head: &Head, with_usage: bool, client: &mpsc::Sender<Piece>) {
    let (tokens, mut pieces) = mpsc::unbounded_channel();
    let generating = job.engine.generate(&job.engine_name, request, CLASS, Some(job.deadline), Some(tokens));
    let mut generating = pin!(generating);
    let (mut is_first, beginning) = (true, json!({"role": "assistant", "content": ""}));
    let send = async |piece: Piece| client.send(piece).await.is_ok();
    let ended = loop {
        tokio::select! {
            // Pieces first: the end must not overtake them.
            biased;
            Some(text) = pieces.recv() => {
                if is_first && !send(Piece::Chunk(head.chunk(&beginning, None, with_usage))).await {
                    return;
                }
                is_first = false;
                if !send(Piece::Chunk(head.chunk(&json!({"content": text}), None, with_usage))).await {
                    return;
                }
            }
            ended = &mut generating => break ended.map_err(Refusal::from),
            () = job.stop.handing_back() => break Err(Refusal::stopping()),
        }
    };
    let generated = match ended {
        Ok(generated) => generated,
        Err(refusal) => {
            job.admitted.ended(refusal.reason());
            send(Piece::Failed(refusal)).await;
            return;
        }
    };
    let mut last = Vec::new();
    if is_first {
        last.push(head.chunk(&beginning, None, with_usage));
    }
    // What came after the last look.
    while let Ok(text) = pieces.try_recv() {
        last.push(head.chunk(&json!({"content": text}), None, with_usage));
    }
    last.push(head.chunk(&json!({}), Some(finish(generated.finish)), with_usage));
    if with_usage {
        last.push(head.usage_chunk(&generated));
    }
    for chunk in last {
        if !send(Piece::Chunk(chunk)).await {
            return;
        }
    }
    if send(Piece::Done).await {
        job.admitted.ended(super::ANSWERED);
    }
}

impl Head {
    fn whole(&self, generated: &Generated) -> Value {
        let message = json!({"role": "assistant", "content": generated.text, "refusal": null});
        let choice =
            json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish(generated.finish)});
        self.object("chat.completion", &json!([choice]), Some(usage(generated)))
    }

    /// A part of an answer. Where the usage is wanted, all parts before it have the field, too.
    fn chunk(&self, delta: &Value, finish: Option<&str>, with_usage: bool) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        self.object("chat.completion.chunk", &json!([choice]), with_usage.then_some(Value::Null))
    }

    fn usage_chunk(&self, generated: &Generated) -> Value {
        self.object("chat.completion.chunk", &json!([]), Some(usage(generated)))
    }

    fn object(&self, kind: &str, choices: &Value, usage: Option<Value>) -> Value {
        let mut object = json!({
            "id": self.id, "object": kind, "created": self.created, "model": self.model,
            "system_fingerprint": self.fingerprint, "choices": choices,
        });
        if let Some(usage) = usage {
            object["usage"] = usage;
        }
        object
    }
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

fn usage(generated: &Generated) -> Value {
    json!({
        "prompt_tokens": generated.prompt_tokens,
        "completion_tokens": generated.completion_tokens,
        "total_tokens": generated.prompt_tokens + generated.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": generated.cached_prompt_tokens},
    })
}

/// What a body asks for. Fails with the field that makes no sense or is not done.
pub fn read(fields: &Fields, limits: &InferenceLimits) -> Result<Asked, Refusal> {
    refuse_unsupported(fields)?;
    let messages = fields.list("messages")?.unwrap_or_default();
    if messages.is_empty() {
        return Err(Refusal::of_field("messages", "messages is missing or an empty list"));
    }
    let stream = fields.flag("stream")?;
    let usage = fields.get("stream_options").map_or(&Value::Null, |options| &options["include_usage"]);
    let schema = schema(fields)?;
    let stop = stops(fields)?;
    if schema.is_some() && !stop.is_empty() {
        return Err(Refusal::of_field("stop", "stop and a JSON response_format exclude each other"));
    }
    Ok(Asked {
        messages: messages.iter().enumerate().map(message).collect::<Result<_, _>>()?,
        max_tokens: max_tokens(fields, limits)?,
        sampling: sampling(fields)?,
        stop,
        schema,
        stream: stream.then_some(usage == &Value::Bool(true)),
    })
}

/// What would change the answer and is not done here is refused, not passed over.
fn refuse_unsupported(fields: &Fields) -> Result<(), Refusal> {
    let is_something = |value: &Value| match value {
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    if let Some(name) = NOT_DONE.into_iter().find(|name| fields.get(name).is_some_and(is_something)) {
        return Err(Refusal::of_field(name, format!("{name} is not supported; leave it out")));
    }
    if fields.whole("n")?.is_some_and(|answers| answers != 1) {
        return Err(Refusal::of_field("n", "n is not 1: one request gives one answer"));
    }
    match fields.list("modalities")?.unwrap_or_default().iter().all(|kind| kind == "text") {
        true => Ok(()),
        false => Err(Refusal::of_field("modalities", "models here read and write text alone")),
    }
}

fn message((place, message): (usize, &Value)) -> Result<ChatMessage, Refusal> {
    let invalid = |problem: &str| Refusal::of_field("messages", format!("messages[{place}]{problem}"));
    let role = match message["role"].as_str() {
        Some("system" | "developer") => ChatRole::System,
        Some("user") => ChatRole::User,
        Some("assistant") => ChatRole::Assistant,
        _ => return Err(invalid(".role is not one of system, developer, user, assistant")),
    };
    let content = match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let text = |part: &Value| part["text"].as_str().filter(|_| part["type"] == "text").map(str::to_owned);
            let texts: Option<Vec<String>> = parts.iter().map(text).collect();
            texts.ok_or_else(|| invalid(".content holds parts other than text"))?.concat()
        }
        Value::Null if role == ChatRole::Assistant => String::new(),
        _ => return Err(invalid(".content is neither a text nor a list of parts")),
    };
    Ok(ChatMessage { role, content })
}

fn max_tokens(fields: &Fields, limits: &InferenceLimits) -> Result<Option<usize>, Refusal> {
    let newer = fields.whole("max_completion_tokens")?.map(|tokens| ("max_completion_tokens", tokens));
    let Some((name, tokens)) = newer.or(fields.whole("max_tokens")?.map(|tokens| ("max_tokens", tokens))) else {
        return Ok(None);
    };
    let most = u64::from(limits.max_tokens);
    match usize::try_from(tokens) {
        Ok(tokens) if tokens > 0 && tokens as u64 <= most => Ok(Some(tokens)),
        _ => Err(Refusal::of_field(name, format!("{name} is not from 1 to {most}"))),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "probabilities and temperatures lose nothing that matters")]
fn sampling(fields: &Fields) -> Result<Sampling, Refusal> {
    let temperature = fields.number("temperature", 0.0..=MOST_TEMPERATURE)?.unwrap_or(OPENAI_TEMPERATURE);
    let top_p = fields.number("top_p", 0.0..=1.0)?;
    let seed = match fields.get("seed") {
        // Nobody can ask for the same answer again, so any will do.
        None => uuid::Uuid::now_v7().as_u64_pair().1,
        Some(seed) => match (seed.as_u64(), seed.as_i64()) {
            (Some(seed), _) => seed,
            (None, Some(seed)) => seed.cast_unsigned(),
            (None, None) => return Err(Refusal::of_field("seed", "seed is not a whole number")),
        },
    };
    Ok(Sampling {
        temperature: temperature as f32,
        // A share of nothing still leaves the likeliest token.
        top_p: top_p.map(|share| (share as f32).max(f32::MIN_POSITIVE)),
        top_k: None,
        repetition_penalty: None,
        seed,
    })
}

fn stops(fields: &Fields) -> Result<Vec<String>, Refusal> {
    let invalid = |problem: String| Refusal::of_field("stop", problem);
    let texts = match fields.get("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.ok_or_else(|| invalid("stop holds something that is no text".to_owned()))?
        }
        Some(_) => return Err(invalid("stop is neither a text nor a list of texts".to_owned())),
    };
    if texts.len() > MOST_STOPS || texts.iter().any(String::is_empty) {
        return Err(invalid(format!("stop holds more than {MOST_STOPS} texts, or an empty one")));
    }
    Ok(texts)
}

/// The schema that the answer is forced into while it is written.
fn schema(fields: &Fields) -> Result<Option<Value>, Refusal> {
    let invalid = |problem: String| Refusal::of_field("response_format", problem);
    let Some(format) = fields.get("response_format") else { return Ok(None) };
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(json!({"type": "object"}))),
        Some("json_schema") => match &format["json_schema"]["schema"] {
            schema @ Value::Object(_) => Ok(Some(schema.clone())),
            _ => Err(invalid("response_format.json_schema.schema is not an object".to_owned())),
        },
        _ => Err(invalid("response_format.type is not one of text, json_object, json_schema".to_owned())),
    }
}
