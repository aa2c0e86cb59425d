//! The few bytes that the parent and its parser process exchange: a JSON header and a body, each with its length.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{MediaType, ParseError};

/// Headers are small; a longer one is not ours.
pub(super) const MAX_HEADER_BYTES: u32 = 64 << 10;

/// What the parent asks for; the file's bytes follow as the body.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) media_type: MediaType,
    pub(super) max_text_bytes: u64,
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
}

/// What the child answers; the text follows as the body, which is empty on an error.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Parsed { warnings: Vec<String> },
    Failed(ParseError),
}

/// The bytes that precede a body.
pub(super) fn preamble(header: &impl Serialize, body_length: u64) -> io::Result<Vec<u8>> {
    let header = serde_json::to_vec(header)?;
    let length = u32::try_from(header.len())
        .ok()
        .filter(|length| *length <= MAX_HEADER_BYTES)
        .ok_or(io::ErrorKind::InvalidData)?;
    let mut bytes = Vec::with_capacity(header.len() + 12);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&body_length.to_le_bytes());
    Ok(bytes)
}

/// Reads a header and the length of the body that follows it.
pub(super) fn read_preamble<H: DeserializeOwned>(reader: &mut impl Read) -> io::Result<(H, u64)> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut header = vec![0; length as usize];
    reader.read_exact(&mut header)?;
    let mut body_length = [0; 8];
    reader.read_exact(&mut body_length)?;
    Ok((serde_json::from_slice(&header)?, u64::from_le_bytes(body_length)))
}

/// Writes a whole frame.
pub(super) fn write_frame(writer: &mut impl Write, header: &impl Serialize, body: &[u8]) -> io::Result<()> {
    writer.write_all(&preamble(header, body.len() as u64)?)?;
    writer.write_all(body)?;
    writer.flush()
}
