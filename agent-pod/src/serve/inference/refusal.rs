//! Why a request is refused, in the form that OpenAI's clients read.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use engine::generation;
use serde_json::{Value, json};

use crate::{error::chain, serve::gateway::tokens::Refused};

/// Wait that is asked of clients that find the engine or all places taken.
pub(super) const BUSY_RETRY: Duration = Duration::from_secs(1);

/// Why a request is refused. The message is for people: what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No token, or one that counts nothing.
    Unauthenticated,
    /// The request makes no sense.
    Invalid {
        /// What is wrong.
        message: String,
        /// The field that it lies in.
        param: Option<&'static str>,
        /// A word for programs, where OpenAI has one.
        code: Option<&'static str>,
    },
    /// No pool that the client may use holds such a model.
    UnknownModel(String),
    /// There is nothing at this address.
    UnknownPath,
    /// The address is asked in another way.
    WrongMethod,
    /// The request is too large.
    TooLarge(String),
    /// The request did not come in time.
    TooSlow,
    /// There is no room now.
    Busy(String),
    /// Nobody can answer now: no worker lives, or the process is stopping.
    Unavailable {
        /// Why.
        message: String,
        /// When it may be worth trying again.
        retry_after: Duration,
    },
    /// The answer took longer than is allowed.
    TimedOut(String),
    /// The model failed; nothing that the client can change.
    Failed(String),
}

impl Refusal {
    /// A field is wrong.
    pub(super) fn of_field(param: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), param: Some(param), code: None }
    }

    /// A text, or a conversation and its answer, are longer than the model reads.
    pub(super) fn too_long(param: &'static str, message: String) -> Self {
        Self::Invalid { message, param: Some(param), code: Some("context_length_exceeded") }
    }

    /// The process is stopping: another one, or this one started again, can answer.
    pub(super) fn stopping() -> Self {
        Self::Unavailable { message: "this process is stopping".to_owned(), retry_after: BUSY_RETRY }
    }

    /// Nobody is let in.
    pub(super) fn stranger(refused: Refused) -> Self {
        match refused {
            Refused::Unknown => Self::Unauthenticated,
            Refused::Unsaid(unsaid) => Self::Unavailable { message: unsaid.to_string(), retry_after: BUSY_RETRY },
        }
    }

    /// CamelCase word from a closed set, for metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "Unauthenticated",
            Self::Invalid { .. } => "Invalid",
            Self::UnknownModel(_) | Self::UnknownPath => "NotFound",
            Self::WrongMethod => "MethodNotAllowed",
            Self::TooLarge(_) => "TooLarge",
            Self::TooSlow => "TooSlow",
            Self::Busy(_) => "Busy",
            Self::Unavailable { .. } => "Unavailable",
            Self::TimedOut(_) => "TimedOut",
            Self::Failed(_) => "Failed",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::UnknownModel(_) | Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Unauthenticated => "a bearer token is needed: Authorization: Bearer …",
            Self::UnknownPath => {
                "there is nothing here; there are /v1/models, /v1/embeddings, /v1/chat/completions, /v1/rerank"
            }
            Self::WrongMethod => "this is asked in another way: GET /v1/models, POST for the others",
            Self::TooSlow => "the request did not come in time",
            Self::Invalid { message, .. }
            | Self::UnknownModel(message)
            | Self::TooLarge(message)
            | Self::Busy(message)
            | Self::Unavailable { message, .. }
            | Self::TimedOut(message)
            | Self::Failed(message) => message,
        }
    }

    /// The error as OpenAI writes it.
    pub fn body(&self) -> Value {
        let (kind, param, code) = match self {
            Self::Unauthenticated => ("invalid_request_error", None, Some("invalid_api_key")),
            Self::Invalid { param, code, .. } => ("invalid_request_error", *param, *code),
            Self::UnknownModel(_) => ("invalid_request_error", Some("model"), Some("model_not_found")),
            Self::UnknownPath | Self::WrongMethod | Self::TooLarge(_) | Self::TooSlow => {
                ("invalid_request_error", None, None)
            }
            Self::Busy(_) => ("rate_limit_error", None, Some("rate_limit_exceeded")),
            Self::Unavailable { .. } | Self::TimedOut(_) | Self::Failed(_) => ("server_error", None, None),
        };
        json!({"error": {"message": self.message(), "type": kind, "param": param, "code": code}})
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy(_) => Some(BUSY_RETRY),
            Self::Unavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        if let Some(retry_after) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
        }
        if self == Self::Unauthenticated {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<engine::Error> for Refusal {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Overloaded => Self::Busy("the engine has as many requests waiting as it keeps".to_owned()),
            engine::Error::MeetDeadline => Self::TimedOut("the answer took longer than is allowed".to_owned()),
            engine::Error::EngineStopped { .. } => {
                tracing::error!(error = %chain(&error), "a request failed");
                Self::Unavailable { message: "the engine has stopped".to_owned(), retry_after: BUSY_RETRY }
            }
            engine::Error::Generate(error) => of_generation(&error),
            other => failed(&other),
        }
    }
}

fn of_generation(error: &generation::Error) -> Refusal {
    match error {
        generation::Error::PromptTooLong { least, context } => Refusal::too_long(
            "messages",
            format!("the model's context is {context} tokens; the messages have at least {least}: send fewer"),
        ),
        generation::Error::ContextExceeded { prompt, max_tokens, context } => Refusal::too_long(
            "messages",
            format!(
                "the model's context is {context} tokens; the messages have {prompt} and max_tokens is {max_tokens}: \
                 send fewer messages or ask for fewer tokens"
            ),
        ),
        generation::Error::MemoryExceeded { prompt, max_tokens, fits } => Refusal::too_long(
            "messages",
            format!(
                "the agent has memory for {fits} tokens; the messages have {prompt} and max_tokens is {max_tokens}: send fewer \
                 messages or ask for fewer tokens"
            ),
        ),
        generation::Error::Request(problem) => {
            Refusal::Invalid { message: (*problem).to_owned(), param: None, code: None }
        }
        generation::Error::ApplyTemplate(source) => Refusal::of_field(
            "messages",
            format!("the model's chat template does not take this conversation: {}", chain(source)),
        ),
        generation::Error::Schema(problem) | generation::Error::FollowSchema(problem) => {
            Refusal::of_field("response_format", format!("the JSON schema cannot be followed: {problem}"))
        }
        generation::Error::SchemaTooLong { needed, max_tokens } => Refusal::of_field(
            "max_tokens",
            format!("the schema's shortest answer takes {needed} tokens, max_tokens is {max_tokens}"),
        ),
        generation::Error::Cut { max_tokens } => Refusal::of_field(
            "max_tokens",
            format!("the answer did not match the schema within max_tokens ({max_tokens}): raise it"),
        ),
        other => failed(other),
    }
}

fn failed(error: &dyn std::error::Error) -> Refusal {
    let message = chain(error);
    tracing::error!(error = %message, "a request failed");
    Refusal::Failed(message)
}
