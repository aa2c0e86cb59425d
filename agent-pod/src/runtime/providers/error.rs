//! What can go wrong with a provider, and what that means for the attempt.

use std::{io, time::Duration};

use crds::Span;
use engine::reach::Refused;
use flow::reason;

use super::circuit::Open;

/// Why there is no answer. The key is in none of them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It failed too often just before.
    #[error("\"{target}\" failed again and again and is not asked; the next try is in {wait}")]
    CircuitOpen {
        /// What is left alone.
        target: String,
        /// How long one does well to wait.
        wait: Span,
    },
    /// For whoever mounted the file.
    #[error("failed to read the key of \"{provider}\"")]
    ReadKey {
        /// Which.
        provider: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No connection, or one that was broken off before the answer began.
    #[error("failed to reach \"{provider}\"")]
    Reach {
        /// Which.
        provider: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// For the user: `baseUrl` leads to what is not called.
    #[error("\"{provider}\" is not asked")]
    Refuse {
        /// Which.
        provider: String,
        /// Why.
        #[source]
        source: Refused,
    },
    /// Nothing came for too long.
    #[error("\"{provider}\" was silent for {timeout}")]
    AwaitAnswer {
        /// Which.
        provider: String,
        /// How long.
        timeout: Span,
    },
    /// It says that it cannot, or not now.
    #[error("\"{provider}\" answered {status}: {message}")]
    Answer {
        /// Which.
        provider: String,
        /// The HTTP status.
        status: u16,
        /// What it says, shortened.
        message: String,
        /// When to come again, where it says so.
        after: Option<Duration>,
    },
    /// For the user: `baseUrl` names the wrong place. The key is not sent elsewhere.
    #[error("\"{provider}\" redirects to {to}; redirects are not followed, write the right baseUrl")]
    Redirect {
        /// Which.
        provider: String,
        /// Where to.
        to: String,
    },
    /// It refuses to write what it was asked for.
    #[error("\"{provider}\" declines: {message}")]
    Decline {
        /// Which.
        provider: String,
        /// What it says, shortened.
        message: String,
    },
    /// The answer was cut off.
    #[error("\"{provider}\" broke its answer off")]
    FinishAnswer {
        /// Which.
        provider: String,
        /// Why, where the connection knows.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// It is no answer of this interface.
    #[error("failed to read the answer of \"{provider}\": {message}")]
    ReadAnswer {
        /// Which.
        provider: String,
        /// What is wrong.
        message: String,
    },
}

impl From<Open> for Error {
    fn from(open: Open) -> Self {
        // A person has no use for nanoseconds.
        let millis = u64::try_from(open.wait.as_millis()).unwrap_or(u64::MAX).max(1);
        Self::CircuitOpen { target: open.target, wait: Span(Duration::from_millis(millis)) }
    }
}

impl Error {
    /// CamelCase word from a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CircuitOpen { .. } => reason::CIRCUIT_OPEN,
            Self::Reach { .. } | Self::FinishAnswer { .. } | Self::ReadKey { .. } => "ProviderUnavailable",
            Self::AwaitAnswer { .. } => "ProviderTimeout",
            Self::Answer { status: 429, .. } => "ProviderThrottled",
            Self::Answer { .. } if self.is_transient() => "ProviderUnavailable",
            Self::Answer { .. } | Self::Redirect { .. } | Self::Decline { .. } | Self::Refuse { .. } => {
                "ProviderRefused"
            }
            Self::ReadAnswer { .. } => "ProviderAnswerInvalid",
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Answer { status, .. } => matches!(*status, 408 | 425 | 429 | 500..),
            Self::Redirect { .. } | Self::Decline { .. } | Self::Refuse { .. } => false,
            _ => true,
        }
    }

    /// How long the next attempt waits at least.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { wait, .. } => Some(wait.0),
            Self::Answer { after, .. } => *after,
            _ => None,
        }
    }

    /// Whether this says that the provider works: it understood the request, and answered it in its own way. Nor is it the
    /// provider's fault where it is not asked.
    pub(super) fn works(&self) -> bool {
        match self {
            Self::Redirect { .. } | Self::Decline { .. } | Self::ReadKey { .. } | Self::Refuse { .. } => true,
            Self::Answer { .. } => !self.is_transient(),
            _ => false,
        }
    }
}
