//! Why a request is refused, in the words of HTTP and of gRPC.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tonic::{Code, Status};

use super::tokens::Refused;
use crate::{error::chain, runtime::driver};

/// Why a request is refused. The message is for people: what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No token, or one that counts nothing.
    Unauthenticated,
    /// The token does not allow it.
    Forbidden(String),
    /// There is no such pipeline or document.
    NotFound(String),
    /// The request makes no sense.
    Invalid(String),
    /// The document is too large.
    TooLarge(String),
    /// The document did not come in time.
    TooSlow(String),
    /// What is asked does not fit the document's state.
    Conflict(String),
    /// There is no room now.
    Busy {
        /// What is full.
        message: String,
        /// When it may be worth trying again.
        retry_after: Duration,
    },
    /// The store does not answer, or the process is stopping. Sending the same again is safe with an id or a key.
    Unavailable(String),
}

impl Refusal {
    /// CamelCase word from a closed set, the same in HTTP bodies and metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "Unauthenticated",
            Self::Forbidden(_) => "Forbidden",
            Self::NotFound(_) => "NotFound",
            Self::Invalid(_) => "Invalid",
            Self::TooLarge(_) => "DocumentTooLarge",
            Self::TooSlow(_) => "TooSlow",
            Self::Conflict(_) => "Conflict",
            Self::Busy { .. } => "Busy",
            Self::Unavailable(_) => "Unavailable",
        }
    }

    /// The bytes of a document ended before their end.
    pub(super) fn broken_off(why: impl std::fmt::Display) -> Self {
        Self::Invalid(format!("the document broke off: {why}"))
    }

    pub(super) fn message(&self) -> &str {
        match self {
            Self::Unauthenticated => "a bearer token is needed: Authorization: Bearer …",
            Self::Forbidden(message)
            | Self::NotFound(message)
            | Self::Invalid(message)
            | Self::TooLarge(message)
            | Self::TooSlow(message)
            | Self::Conflict(message)
            | Self::Busy { message, .. }
            | Self::Unavailable(message) => message,
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown => Self::Unauthenticated,
            Refused::Unsaid(unsaid) => Self::Unavailable(unsaid.to_string()),
        }
    }
}

impl From<driver::Error> for Refusal {
    fn from(error: driver::Error) -> Self {
        match error {
            driver::Error::Unknown { .. } => Self::NotFound(error.to_string()),
            other => {
                tracing::error!(error = %chain(&other), "a request failed");
                Self::Unavailable(chain(&other))
            }
        }
    }
}

impl From<queue::Error> for Refusal {
    fn from(error: queue::Error) -> Self {
        tracing::error!(error = %chain(&error), "a request failed");
        Self::Unavailable(chain(&error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = Json(json!({"error": {"reason": self.reason(), "message": self.message()}}));
        let mut response = (status, body).into_response();
        match &self {
            Self::Unauthenticated => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Busy { retry_after, .. } => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
            }
            Self::Unavailable(_) => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1));
            }
            _ => {}
        }
        response
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Unauthenticated => Code::Unauthenticated,
            Refusal::Forbidden(_) => Code::PermissionDenied,
            Refusal::NotFound(_) => Code::NotFound,
            Refusal::Invalid(_) => Code::InvalidArgument,
            Refusal::TooLarge(_) | Refusal::Busy { .. } => Code::ResourceExhausted,
            Refusal::TooSlow(_) => Code::DeadlineExceeded,
            Refusal::Conflict(_) => Code::FailedPrecondition,
            Refusal::Unavailable(_) => Code::Unavailable,
        };
        let mut status = Self::new(code, refusal.message());
        status
            .metadata_mut()
            .insert("docket-reason", tonic::metadata::AsciiMetadataValue::from_static(refusal.reason()));
        if let Refusal::Busy { retry_after, .. } = &refusal {
            status.metadata_mut().insert("retry-after", retry_after.as_secs().max(1).into());
        }
        status
    }
}
