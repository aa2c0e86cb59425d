//! A result as it is kept, and its bytes outside of the process: versioned, compressed, checked, and bound to its key.
//!
//! ```text
//! "DKC1"  when it was made (8 bytes, milliseconds)  BLAKE3 of the body (32 bytes)  the body, encoded as payloads are
//! ```
//!
//! The digest finds damage and foreign bytes; it is no signature. Whoever can write into a level is trusted.

use std::borrow::Cow;

use bytes::Bytes;
use queue::payloads::encoding;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Name and version of the format; another version is a miss.
const FORMAT: [u8; 4] = *b"DKC1";
const TIME: usize = 8;
const DIGEST: usize = 32;
/// As many bytes say when a result was made.
pub const HEAD: usize = FORMAT.len() + TIME;
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

/// An output and its age.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// When it was made, milliseconds since the epoch.
    pub made_at: u64,
    /// What was made.
    pub output: Output,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    key: Cow<'a, str>,
    made_at: u64,
    output: Cow<'a, Output>,
}

impl Kept {
    /// The bytes to keep under `key`; `None` where the result is too large to be kept.
    pub fn encode(&self, key: &str) -> Option<Vec<u8>> {
        let body = Body { key: Cow::Borrowed(key), made_at: self.made_at, output: Cow::Borrowed(&self.output) };
        let body = serde_json::to_vec(&body).ok().filter(|body| body.len() as u64 <= LARGEST_BODY)?;
        let mut bytes = Vec::with_capacity(HEAD + DIGEST);
        bytes.extend_from_slice(&FORMAT);
        bytes.extend_from_slice(&self.made_at.to_le_bytes());
        bytes.extend_from_slice(blake3::hash(&body).as_bytes());
        bytes.extend_from_slice(&encoding::encode(&body));
        Some(bytes)
    }

    /// What was kept under `key`; `None` where the bytes are damaged, foreign, of another version or of another key.
    pub fn decode(key: &str, bytes: &[u8]) -> Option<Self> {
        let written_at = made_at(bytes)?;
        let (digest, encoded) = bytes.get(HEAD..)?.split_first_chunk::<DIGEST>()?;
        encoding::claimed_length(encoded).filter(|&length| length <= LARGEST_BODY)?;
        let body = encoding::decode(Bytes::copy_from_slice(encoded), &blake3::Hash::from_bytes(*digest))?;
        let body: Body<'_> = serde_json::from_slice(&body).ok()?;
        (body.key == key && body.made_at == written_at)
            .then(|| Self { made_at: body.made_at, output: body.output.into_owned() })
    }

    /// Bytes in memory, near enough: the length of the JSON would be exact, walking it is cheaper.
    pub fn weight(&self) -> usize {
        weight(&self.output.value) + 64
    }
}

/// When the result was made whose bytes begin so; `None` where they are of no known version.
pub fn made_at(bytes: &[u8]) -> Option<u64> {
    let (format, rest) = bytes.split_first_chunk::<4>()?;
    (*format == FORMAT).then_some(())?;
    rest.first_chunk::<TIME>().map(|time| u64::from_le_bytes(*time))
}

fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 16,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 16,
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + weight(value) + 16).sum::<usize>() + 16,
        Value::Null | Value::Bool(_) | Value::Number(_) => 16,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(value: Value) -> Kept {
        let output = Output {
            value,
            references: vec!["00ff".to_owned()],
            prompt_tokens: 3,
            completion_tokens: 5,
            model: Some("small".to_owned()),
        };
        Kept { made_at: 1_234_567_890_123, output }
    }

    #[test]
    fn a_result_comes_back_whole_small_or_large() {
        for value in [json!({"text": "ä"}), json!(null), json!({"text": "many words ".repeat(10_000)})] {
            let kept = kept(value);
            let bytes = kept.encode("key").expect("bytes");
            assert_eq!(Kept::decode("key", &bytes), Some(kept.clone()));
            assert_eq!(made_at(&bytes), Some(kept.made_at));
        }
    }

    #[test]
    fn a_large_result_is_compressed() {
        let kept = kept(json!("many words ".repeat(10_000)));
        assert!(kept.encode("key").expect("bytes").len() < 5_000);
    }

    #[test]
    fn a_result_of_another_key_is_none() {
        let bytes = kept(json!(1)).encode("one").expect("bytes");
        assert_eq!(Kept::decode("two", &bytes), None);
    }

    #[test]
    fn damage_never_makes_another_result() {
        for kept in [kept(json!({"text": "short"})), kept(json!("many words ".repeat(1_000)))] {
            let bytes = kept.encode("key").expect("bytes");
            let mut refused = 0;
            for place in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[place] ^= 0x10;
                for read in [Kept::decode("key", &damaged), Kept::decode("key", &bytes[..place])] {
                    // A few bits of a compressed frame (its window, its end) do not touch what it unfolds to.
                    assert!(read.is_none() || read.as_ref() == Some(&kept), "byte {place} makes {read:?}");
                    refused += usize::from(read.is_none());
                }
            }
            assert!(refused > bytes.len() * 9 / 5, "{refused} of {} are refused", bytes.len() * 2);
        }
    }

    #[test]
    fn foreign_bytes_are_none() {
        for bytes in [&b""[..], b"DKC", b"hello", b"{\"output\": 1}", &[0; 100], &[0xff; 100]] {
            assert_eq!(Kept::decode("key", bytes), None);
        }
        let mut other_version = kept(json!(1)).encode("key").expect("bytes");
        other_version[3] = b'2';
        assert_eq!(Kept::decode("key", &other_version), None);
    }

    #[test]
    fn a_few_bytes_that_claim_to_be_very_much_are_none() {
        let mut bytes = kept(json!("many words ".repeat(10_000))).encode("key").expect("bytes");
        let length = HEAD + DIGEST + 1;
        bytes[length..length + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Kept::decode("key", &bytes), None);
    }
}
