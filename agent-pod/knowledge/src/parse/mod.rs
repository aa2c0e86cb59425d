//! Turns the bytes of one file into text, whatever the file holds.
//!
//! Plain text, Markdown and JSON lines are decoded here, because that is a bounded copy. HTML, PDF and DOCX are read in
//! a child process with limits on memory, processor time and output: their libraries recurse on hostile input, and a
//! stack overflow cannot be caught.

mod child;
mod decode;
mod detect;
mod docx;
mod docx_text;
mod error;
mod html;
mod pdf;
mod process;
mod protocol;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use futures::{FutureExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

pub use child::child_main;
pub use error::ParseError;
pub use process::ChildCommand;

/// What a file holds, found from its first bytes and, where those say nothing, from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MediaType {
    Text,
    Markdown,
    Html,
    Pdf,
    Docx,
    JsonLines,
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text => "text/plain",
            Self::Markdown => "text/markdown",
            Self::Html => "text/html",
            Self::Pdf => "application/pdf",
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::JsonLines => "application/jsonl",
        })
    }
}

/// Bounds on the parsing of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest file that is looked at.
    pub max_bytes: u64,
    /// Largest text that may come out.
    pub max_text_bytes: u64,
    /// Memory of the child process on top of what its program occupies when it starts.
    pub memory_bytes: u64,
    /// Processor time of the child process, in whole seconds, rounded up.
    pub cpu: Duration,
    /// Time on the clock, after which the child process is killed.
    pub wall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_text_bytes: 32 << 20,
            memory_bytes: 1 << 30,
            cpu: Duration::from_secs(60),
            wall: Duration::from_secs(90),
        }
    }
}

/// The text of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    pub text: String,
    pub media_type: MediaType,
    /// What a reader of the text should know, for example how many bytes could not be decoded.
    pub warnings: Vec<String>,
    /// Whether a byte offset in `text` is the same byte offset in the file.
    pub exact_offsets: bool,
}

/// Parses the bytes of the file `name`. The name decides only where the bytes do not.
pub fn parse<'a>(
    bytes: &'a [u8],
    name: &'a str,
    limits: &'a Limits,
    child: &'a ChildCommand,
) -> BoxFuture<'a, Result<Parsed, ParseError>> {
    async move {
        let size = bytes.len() as u64;
        if size > limits.max_bytes {
            return Err(ParseError::TooLarge { bytes: size, limit: limits.max_bytes });
        }
        let media_type = detect::media_type(bytes, name)?;
        let parsed = match media_type {
            MediaType::Text | MediaType::Markdown | MediaType::JsonLines => {
                let decoded = decode::decode(bytes)?;
                Parsed {
                    text: decoded.text,
                    media_type,
                    warnings: decoded.warnings,
                    exact_offsets: decoded.exact_offsets,
                }
            }
            MediaType::Html | MediaType::Pdf | MediaType::Docx => {
                let extracted = process::run(bytes, media_type, limits, child).await?;
                Parsed { text: extracted.text, media_type, warnings: extracted.warnings, exact_offsets: false }
            }
        };
        if parsed.text.len() as u64 > limits.max_text_bytes {
            return Err(ParseError::TextTooLarge { limit: limits.max_text_bytes });
        }
        if parsed.text.chars().all(crate::chunk::is_blank) {
            return Err(match media_type {
                MediaType::Pdf => ParseError::NoText,
                _ => ParseError::Empty,
            });
        }
        Ok(parsed)
    }
    .boxed()
}

/// Reads a file and parses it. A file above the limit is refused by its size, without being read.
pub fn parse_file<'a>(
    path: &'a Path,
    limits: &'a Limits,
    child: &'a ChildCommand,
) -> BoxFuture<'a, Result<Parsed, ParseError>> {
    async move {
        let bytes = read_file(path, limits.max_bytes).await?;
        parse(&bytes, &path.to_string_lossy(), limits, child).await
    }
    .boxed()
}

/// Reads a regular file of at most `max_bytes`.
pub fn read_file<'a>(path: &'a Path, max_bytes: u64) -> BoxFuture<'a, Result<Vec<u8>, ParseError>> {
    async move {
        let unreadable = |error: std::io::Error| ParseError::Unreadable { detail: error.to_string() };
        let metadata = tokio::fs::metadata(path).await.map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(ParseError::Unreadable { detail: "it is not a regular file".to_owned() });
        }
        if metadata.len() > max_bytes {
            return Err(ParseError::TooLarge { bytes: metadata.len(), limit: max_bytes });
        }
        let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let mut bytes = Vec::new();
        // One byte more than allowed tells a file that grew after its size was looked up.
        file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).await.map_err(unreadable)?;
        if bytes.len() as u64 > max_bytes {
            return Err(ParseError::TooLarge { bytes: bytes.len() as u64, limit: max_bytes });
        }
        Ok(bytes)
    }
    .boxed()
}

/// Text taken out of a structured format.
#[derive(Debug, Default)]
struct Extracted {
    text: String,
    warnings: Vec<String>,
}
