//! Why a document could not be parsed. The errors cross the border of the child process, hence serde.

use serde::{Deserialize, Serialize};

/// All but [`ParseError::Start`] are permanent: the same bytes fail the same way again. The user fixes them by another
/// file or another limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ParseError {
    #[error("document has {bytes} bytes, more than the limit of {limit}")]
    TooLarge { bytes: u64, limit: u64 },
    #[error("document is empty")]
    Empty,
    #[error("document is neither text nor of a known format")]
    Binary,
    #[error("documents of the kind '{format}' are not supported")]
    Unsupported { format: String },
    #[error("document is encrypted")]
    Encrypted,
    #[error("document ends before it is complete: {detail}")]
    Truncated { detail: String },
    #[error("document is not a valid {format} file: {detail}")]
    Malformed { format: String, detail: String },
    #[error("document holds no text; it may consist of scanned images")]
    NoText,
    #[error("text of the document has more than {limit} bytes")]
    TextTooLarge { limit: u64 },
    #[error("compressed parts of the document grow beyond {limit} bytes")]
    InflatesTooMuch { limit: u64 },
    #[error("parsing the document needs more than {limit} bytes of memory")]
    OutOfMemory { limit: u64 },
    #[error("parsing the document takes longer than its limit of {seconds} s")]
    OutOfTime { seconds: u64 },
    #[error("parser crashed on the document ({})", signal.map_or("it panicked".to_owned(), |signal| format!("signal {signal}")))]
    Crashed { signal: Option<i32> },
    #[error("failed to read the document: {detail}")]
    Unreadable { detail: String },
    /// The machine refused a process; another attempt may succeed.
    #[error("failed to start the parser process: {detail}")]
    Start { detail: String },
}

impl ParseError {
    /// A word for metrics and dead letters.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "DocumentTooLarge",
            Self::Empty => "DocumentEmpty",
            Self::Binary => "DocumentBinary",
            Self::Unsupported { .. } => "FormatUnsupported",
            Self::Encrypted => "DocumentEncrypted",
            Self::Truncated { .. } => "DocumentTruncated",
            Self::Malformed { .. } => "DocumentMalformed",
            Self::NoText => "DocumentWithoutText",
            Self::TextTooLarge { .. } => "TextTooLarge",
            Self::InflatesTooMuch { .. } => "DocumentInflatesTooMuch",
            Self::OutOfMemory { .. } => "ParserOutOfMemory",
            Self::OutOfTime { .. } => "ParserOutOfTime",
            Self::Crashed { .. } => "ParserCrashed",
            Self::Unreadable { .. } => "DocumentUnreadable",
            Self::Start { .. } => "ParserNotStarted",
        }
    }

    /// Whether another attempt on the same bytes would fail the same way.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Start { .. })
    }

    pub(super) fn malformed(format: &str, detail: impl ToString) -> Self {
        Self::Malformed { format: format.to_owned(), detail: detail.to_string() }
    }
}
