//! A result as it is kept, and its bytes outside of the process: versioned, compressed, checked, and bound to its key.
//!
//! ```text
//! "DKC2"  when it was made (8 bytes, milliseconds)  whose it is (32 bytes)  BLAKE3 of the body (32 bytes)
//! the body, encoded as payloads are
//! ```
//!
//! The digest finds damage and foreign bytes; it is no signature. Whoever can write into a level is trusted.

use std::borrow::Cow;

use bytes::Bytes;
use queue::payloads::encoding;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Name and version of the format; another version is a miss.
const FORMAT: [u8; 4] = *b"DKC2";
const TIME: usize = 8;
const TAG: usize = 16;
/// Bytes of the checksum.
pub const DIGEST: usize = 32;
/// As many bytes say when a result was made and whose it is.
pub const HEAD: usize = FORMAT.len() + TIME + 2 * TAG;
/// Longest body. Bounds what a few foreign bytes can unfold to; outputs of stages are far below it.
const LARGEST_BODY: u64 = 64 << 20;

/// What a stage made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The output.
    pub value: Value,
    /// Payloads that the output names; without them it is worth nothing.
    #[serde(default)]
    pub references: Vec<String>,
    /// Tokens read.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens written.
    #[serde(default)]
    pub completion_tokens: u64,
    /// The model, where one was used.
    #[serde(default)]
    pub model: Option<String>,
}

impl Output {
    /// A value that no model made.
    pub fn plain(value: Value) -> Self {
        Self { value, references: Vec::new(), prompt_tokens: 0, completion_tokens: 0, model: None }
    }
}

/// Whose a result is: enough to find what must be erased, and no names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Of the tenant.
    pub tenant: [u8; TAG],
    /// Of the document that it was made from; others with the same request may have been answered by it.
    pub payload: [u8; TAG],
}

impl Owner {
    /// The document with this payload, of this tenant.
    pub fn new(tenant: &str, payload: &str) -> Self {
        Self { tenant: tag(tenant), payload: tag(payload) }
    }
}

/// What stands for a tenant or a payload in an [`Owner`].
pub fn tag(name: &str) -> [u8; TAG] {
    let mut tag = [0; TAG];
    tag.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..TAG]);
    tag
}

/// What was asked, where an answer may also serve what is nearly the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WrittenQuestion", into = "WrittenQuestion")]
pub struct Question {
    /// Digest of what must be equal: numbers, names, words that turn a meaning.
    pub guard: [u8; TAG],
    /// Where it lies, of length 1.
    pub vector: Vec<f32>,
}

/// A question in hexadecimal digits: as JSON numbers, vectors would be four times as long.
#[derive(Serialize, Deserialize)]
struct WrittenQuestion {
    guard: String,
    vector: String,
}

impl From<Question> for WrittenQuestion {
    fn from(question: Question) -> Self {
        let bytes: Vec<u8> = question.vector.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { guard: hexadecimal(&question.guard), vector: hexadecimal(&bytes) }
    }
}

impl TryFrom<WrittenQuestion> for Question {
    type Error = &'static str;

    fn try_from(written: WrittenQuestion) -> Result<Self, Self::Error> {
        let guard = bytes(&written.guard).and_then(|bytes| bytes.try_into().ok()).ok_or("a guard of 16 bytes")?;
        let vector = bytes(&written.vector).filter(|bytes| bytes.len() % 4 == 0).ok_or("a vector of whole numbers")?;
        let vector = vector.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok(Self { guard, vector })
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 0xf)]);
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]).collect()
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hexadecimal.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// An output, its age and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// When it was made, milliseconds since the epoch.
    pub made_at: u64,
    /// Whose it is.
    pub owner: Owner,
    /// What was made.
    pub output: Output,
    /// What was asked, in an answer of the semantic part.
    pub question: Option<Question>,
}

/// What can be known of a kept result without unfolding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// When it was made, milliseconds since the epoch.
    pub made_at: u64,
    /// Whose it is.
    pub owner: Owner,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    key: Cow<'a, str>,
    made_at: u64,
    owner: Owner,
    output: Cow<'a, Output>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    question: Option<Cow<'a, Question>>,
}

impl Kept {
    /// The bytes to keep under `key`; `None` where the result is too large to be kept.
    pub fn encode(&self, key: &str) -> Option<Vec<u8>> {
        let body = Body {
            key: Cow::Borrowed(key),
            made_at: self.made_at,
            owner: self.owner,
            output: Cow::Borrowed(&self.output),
            question: self.question.as_ref().map(Cow::Borrowed),
        };
        let body = serde_json::to_vec(&body).ok().filter(|body| body.len() as u64 <= LARGEST_BODY)?;
        let mut bytes = Vec::with_capacity(HEAD + DIGEST);
        bytes.extend_from_slice(&FORMAT);
        bytes.extend_from_slice(&self.made_at.to_le_bytes());
        bytes.extend_from_slice(&self.owner.tenant);
        bytes.extend_from_slice(&self.owner.payload);
        bytes.extend_from_slice(blake3::hash(&body).as_bytes());
        bytes.extend_from_slice(&encoding::encode(&body));
        Some(bytes)
    }

    /// What was kept under `key`; `None` where the bytes are damaged, foreign, of another version or of another key.
    pub fn decode(key: &str, bytes: &[u8]) -> Option<Self> {
        let written = head(bytes)?;
        let (digest, encoded) = bytes.get(HEAD..)?.split_first_chunk::<DIGEST>()?;
        encoding::claimed_length(encoded).filter(|&length| length <= LARGEST_BODY)?;
        let body = encoding::decode(Bytes::copy_from_slice(encoded), &blake3::Hash::from_bytes(*digest))?;
        let body: Body<'_> = serde_json::from_slice(&body).ok()?;
        let Body { key: written_key, made_at, owner, output, question } = body;
        (written_key == key && Head { made_at, owner } == written).then(|| Self {
            made_at,
            owner,
            output: output.into_owned(),
            question: question.map(Cow::into_owned),
        })
    }

    /// What [`head`] tells of its bytes.
    pub fn head(&self) -> Head {
        Head { made_at: self.made_at, owner: self.owner }
    }

    /// Whether it may be used at `now`, as far as its age says.
    pub fn is_fresh(&self, ttl: std::time::Duration, now: u64) -> bool {
        u128::from(now.saturating_sub(self.made_at)) <= ttl.as_millis()
    }

    /// Bytes in memory, near enough: the length of the JSON would be exact, walking it is cheaper.
    pub fn weight(&self) -> usize {
        weight(&self.output.value) + self.question.as_ref().map_or(0, |question| question.vector.len() * 4) + 128
    }
}

/// What the bytes begin with; `None` where they are of no known version.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let (format, rest) = bytes.split_first_chunk::<4>()?;
    (*format == FORMAT).then_some(())?;
    let (time, rest) = rest.split_first_chunk::<TIME>()?;
    let (tenant, rest) = rest.split_first_chunk::<TAG>()?;
    let payload = rest.first_chunk::<TAG>()?;
    let owner = Owner { tenant: *tenant, payload: *payload };
    Some(Head { made_at: u64::from_le_bytes(*time), owner })
}

fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 16,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 16,
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + weight(value) + 16).sum::<usize>() + 16,
        Value::Null | Value::Bool(_) | Value::Number(_) => 16,
    }
}
