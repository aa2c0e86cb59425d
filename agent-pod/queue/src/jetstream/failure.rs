//! What goes wrong between us and the broker, before it becomes a port's error.

use std::time::Duration;

use async_nats::{
    ConnectError, ConnectErrorKind, RequestError, RequestErrorKind,
    jetstream::stream::{LastRawMessageError, LastRawMessageErrorKind},
};
use serde::Deserialize;

use crate::Error;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What the broker did not do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The settings cannot be used; whoever wrote them can fix it.
    #[error("setting {setting}: {problem}")]
    Setting { setting: &'static str, problem: String },
    /// No server accepted us.
    #[error("failed to connect to \"{servers}\"")]
    Connect { servers: String, source: Box<ConnectError> },
    /// The credentials file cannot be read.
    #[error("failed to read the credentials file \"{path}\"")]
    Credentials { path: String, source: std::io::Error },
    /// No answer in time. Whether the broker did what was asked is open.
    #[error("the broker did not answer within {}", seconds(.0))]
    Silent(Duration),
    /// Nothing listens: the stream is gone, or JetStream is off or not ready.
    #[error("nothing at the broker answers to \"{subject}\"")]
    Nobody { subject: String },
    /// The broker's own word.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The connection failed.
    #[error("failed to ask the broker")]
    Request(#[source] Source),
    /// An answer that this version cannot read.
    #[error("failed to read the broker's answer")]
    Answer(#[source] serde_json::Error),
    /// What was put aside on this machine cannot be read.
    #[error("failed to read a temporary file")]
    File(#[source] std::io::Error),
    /// What exists promises less than the settings ask for; the broker's operator can fix it.
    #[error("stream \"{stream}\" exists with weaker settings than asked for: {differences}")]
    Weaker { stream: String, differences: String },
    /// Somebody else makes the streams, and has not made this one; who runs that can fix it.
    #[error("stream \"{stream}\" is not there, and these settings leave it to others to make it")]
    NotMade { stream: String },
    /// The server lacks what we need.
    #[error("the server's version {version} is too old: Docket needs {needed} or later")]
    Version { version: String, needed: &'static str },
}

/// An error in an answer of the broker's API.
#[derive(Clone, Debug, Deserialize, thiserror::Error)]
#[error("the broker refused: {description} ({err_code})")]
pub(super) struct Refusal {
    /// Names the reason; texts may change, this does not.
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    pub(super) description: String,
}

/// Codes of the broker that we decide by.
pub(super) mod code {
    pub(in crate::jetstream) const STREAM_NOT_FOUND: u64 = 10059;
    pub(in crate::jetstream) const STREAM_NAME_IN_USE: u64 = 10058;
    pub(in crate::jetstream) const CONSUMER_NOT_FOUND: u64 = 10014;
    /// The subject has another last message than the writer expected.
    pub(in crate::jetstream) const WRONG_LAST_SEQUENCE: u64 = 10071;
    /// The same, where the other message is not yet agreed on by the servers.
    pub(in crate::jetstream) const WRONG_LAST_SEQUENCE_IN_FLIGHT: u64 = 10164;
    /// The servers have no leader among them, as while they start.
    pub(in crate::jetstream) const NO_META_LEADER: u64 = 10008;
    /// A message with this id is not yet agreed on by the servers.
    pub(in crate::jetstream) const DUPLICATE_IN_FLIGHT: u64 = 10158;
}

impl Failure {
    /// The port's error; `action` completes "failed to …".
    pub(super) fn during(self, action: &'static str) -> Error {
        Error::Store { action, source: Box::new(self) }
    }

    pub(super) fn is(&self, code: u64) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.err_code == code)
    }

    /// The write was refused because somebody else has written.
    pub(super) fn is_conflict(&self) -> bool {
        self.is(code::WRONG_LAST_SEQUENCE) || self.is(code::WRONG_LAST_SEQUENCE_IN_FLIGHT)
    }

    /// It is open whether the broker did what was asked.
    pub(super) fn is_unclear(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Request(_) | Self::Answer(_))
    }

    /// Logs it, with its causes.
    pub(super) fn tell(&self, message: &'static str) {
        let error: &(dyn std::error::Error + 'static) = self;
        tracing::warn!(error, "{message}");
    }

    /// The same call may well succeed a moment later: the network, a server or who makes streams is not ready yet.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Connect { source, .. } => {
                matches!(source.kind(), ConnectErrorKind::Io | ConnectErrorKind::Dns | ConnectErrorKind::TimedOut)
            }
            Self::Silent(_) | Self::Nobody { .. } | Self::Request(_) | Self::NotMade { .. } => true,
            _ => self.is(code::NO_META_LEADER),
        }
    }

    pub(super) fn request(error: RequestError, subject: &str, waited: Duration) -> Self {
        match error.kind() {
            RequestErrorKind::TimedOut => Self::Silent(waited),
            RequestErrorKind::NoResponders => Self::Nobody { subject: subject.to_owned() },
            _ => Self::Request(Box::new(error)),
        }
    }

    /// What a read of a stream's first or last message said; `None` where there is none.
    pub(super) fn last_message(error: LastRawMessageError) -> Option<Self> {
        match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => None,
            LastRawMessageErrorKind::JetStream(refusal) => {
                Some(Self::Refused(Refusal { err_code: refusal.error_code().0, description: refusal.to_string() }))
            }
            _ => Some(Self::Request(Box::new(error))),
        }
    }
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_without_a_leader_and_streams_that_are_not_made_yet_are_waited_for() {
        let refused = |err_code| Failure::Refused(Refusal { err_code, description: String::new() });
        assert!(refused(code::NO_META_LEADER).is_passing());
        assert!(!refused(code::STREAM_NOT_FOUND).is_passing());
        assert!(Failure::NotMade { stream: "tasks".to_owned() }.is_passing());
    }
}
