//! Documents as JSON lines: `{"id": …, "text": … | "path": …, "metadata": {…}, "priority": …}`, one a line.
//!
//! A line that is wrong is reported with its number and does not stop the others; a line is never longer in memory
//! than its bound.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest line that is read.
pub const MAX_LINE_BYTES: u64 = 64 << 20;

/// One document. Fields that we do not know are kept as metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonDocument {
    pub id: String,
    pub content: Content,
    pub metadata: Map<String, Value>,
    pub priority: Option<String>,
}

/// Where the text of a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Text(String),
    /// A file beside the lines.
    Path(PathBuf),
}

/// A line that gives no document. The user fixes the line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("line {line} is longer than {limit} bytes")]
    TooLong { line: u64, limit: u64 },
    #[error("line {line} is not a JSON object of a document")]
    Parse { line: u64, source: serde_json::Error },
    #[error("line {line} has no 'id'")]
    NoId { line: u64 },
    #[error("line {line} needs either 'text' or 'path'")]
    NoContent { line: u64 },
    /// Reading ends here.
    #[error("failed to read line {line}")]
    Read { line: u64, source: io::Error },
}

/// The documents of a reader, each with the number of its line, counted from one. Blank lines are passed over.
pub fn documents<R: BufRead>(reader: R) -> Documents<R> {
    Documents { reader, line: 0, limit: MAX_LINE_BYTES, ended: false }
}

/// The iterator of [`documents`].
pub struct Documents<R> {
    reader: R,
    line: u64,
    limit: u64,
    ended: bool,
}

impl<R> Documents<R> {
    /// With another bound on the length of a line.
    #[must_use]
    pub fn with_max_line_bytes(self, limit: u64) -> Self {
        Self { limit, ..self }
    }
}

impl<R: BufRead> Iterator for Documents<R> {
    type Item = (u64, Result<JsonDocument, LineError>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.line += 1;
            let line = self.line;
            let mut bytes = Vec::new();
            match self.read_line(&mut bytes) {
                Ok(Length::End) => return None,
                Ok(Length::TooLong) => return Some((line, Err(LineError::TooLong { line, limit: self.limit }))),
                Ok(Length::Within) => {}
                Err(source) => {
                    self.ended = true;
                    return Some((line, Err(LineError::Read { line, source })));
                }
            }
            let content = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            if !content.trim_ascii().is_empty() {
                return Some((line, parse(content, line)));
            }
        }
        None
    }
}

enum Length {
    End,
    Within,
    TooLong,
}

impl<R: BufRead> Documents<R> {
    fn read_line(&mut self, bytes: &mut Vec<u8>) -> io::Result<Length> {
        let count = (&mut self.reader).take(self.limit.saturating_add(1)).read_until(b'\n', bytes)?;
        if count == 0 {
            return Ok(Length::End);
        }
        if bytes.ends_with(b"\n") || count as u64 <= self.limit {
            return Ok(Length::Within);
        }
        self.reader.skip_until(b'\n')?;
        Ok(Length::TooLong)
    }
}

#[derive(Deserialize)]
struct RawDocument {
    id: Option<Value>,
    text: Option<String>,
    path: Option<PathBuf>,
    #[serde(default)]
    metadata: Map<String, Value>,
    priority: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

fn parse(bytes: &[u8], line: u64) -> Result<JsonDocument, LineError> {
    let raw: RawDocument = serde_json::from_slice(bytes).map_err(|source| LineError::Parse { line, source })?;
    let id = match raw.id {
        Some(Value::String(id)) if !id.is_empty() => id,
        Some(Value::Number(id)) => id.to_string(),
        _ => return Err(LineError::NoId { line }),
    };
    let content = match (raw.text, raw.path) {
        (Some(text), None) => Content::Text(text),
        (None, Some(path)) => Content::Path(path),
        _ => return Err(LineError::NoContent { line }),
    };
    let mut metadata = raw.metadata;
    for (name, value) in raw.others {
        metadata.entry(name).or_insert(value);
    }
    Ok(JsonDocument { id, content, metadata, priority: raw.priority })
}
