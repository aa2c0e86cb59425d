//! How a payload is stored: one byte that says how, then the bytes.
//!
//! ```text
//! 0 bytes                  as they are
//! 1 length compressed      zstd, behind the payload's length
//! 2 compressed length      zstd of a payload whose length was known at its end
//! ```

mod check;
mod streamed;

pub(crate) use self::{
    check::Check,
    streamed::{Encoded, Encoder},
};

use std::io::Read;

use bytes::Bytes;

const RAW: u8 = 0;
const ZSTD: u8 = 1;
const STREAMED: u8 = 2;

/// Below this, compression saves less than the block of the disk that the payload takes anyway.
const COMPRESS_FROM: usize = 1 << 10;
/// zstd's default: text shrinks to a third at some hundred MB a second.
const LEVEL: i32 = 3;
/// Length of the payload, beside compressed bytes.
const LENGTH_BYTES: usize = 8;

/// The bytes to store.
pub fn encode(payload: &[u8]) -> Vec<u8> {
    if payload.len() >= COMPRESS_FROM {
        // A payload that cannot be compressed is stored as it is, whatever the reason.
        if let Ok(compressed) = zstd::bulk::compress(payload, LEVEL)
            && compressed.len() + LENGTH_BYTES < payload.len()
        {
            let mut stored = Vec::with_capacity(1 + LENGTH_BYTES + compressed.len());
            stored.push(ZSTD);
            stored.extend_from_slice(&(payload.len() as u64).to_le_bytes());
            stored.extend_from_slice(&compressed);
            return stored;
        }
    }
    let mut stored = Vec::with_capacity(1 + payload.len());
    stored.push(RAW);
    stored.extend_from_slice(payload);
    stored
}

/// The payload, if the stored bytes are what `encode` made of one with this digest.
pub fn decode(stored: Bytes, digest: &blake3::Hash) -> Option<Bytes> {
    let payload = match *stored.first()? {
        RAW => stored.slice(1..),
        ZSTD => {
            let (length, compressed) = stored[1..].split_first_chunk()?;
            decompress(compressed, *length)?
        }
        STREAMED => {
            let (compressed, length) = stored[1..].split_last_chunk()?;
            decompress(compressed, *length)?
        }
        _ => return None,
    };
    (blake3::hash(&payload) == *digest).then_some(payload)
}

/// The length that the stored bytes claim for their payload, `None` where they cannot be what `encode` made. `decode` never
/// makes more of them, so a caller can refuse what would be too large.
pub fn claimed_length(stored: &[u8]) -> Option<u64> {
    match stored.split_first()? {
        (&RAW, payload) => Some(payload.len() as u64),
        (&ZSTD, rest) => rest.first_chunk().map(|length| u64::from_le_bytes(*length)),
        (&STREAMED, rest) => rest.last_chunk().map(|length| u64::from_le_bytes(*length)),
        _ => None,
    }
}

fn decompress(compressed: &[u8], length: [u8; LENGTH_BYTES]) -> Option<Bytes> {
    // The length bounds what damaged bytes can unfold to, but is not trusted with an allocation.
    let length = u64::from_le_bytes(length);
    let mut payload = Vec::new();
    let decoder = zstd::stream::read::Decoder::with_buffer(compressed).ok()?;
    decoder.take(length).read_to_end(&mut payload).ok()?;
    Some(payload.into())
}
