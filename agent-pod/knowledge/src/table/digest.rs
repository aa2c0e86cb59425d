//! Names made from content, so that the same content has the same name in every run.

use std::fmt;

const BYTES: usize = 16;

/// The first 128 bits of a BLAKE3 hash, written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; BYTES]);

/// Names a document of a tenant.
#[must_use]
pub fn document_key(tenant: &str, document: &str) -> Digest {
    Digest::of("document", &[tenant.as_bytes(), document.as_bytes()])
}

/// Names a text; equal texts have equal vectors.
#[must_use]
pub fn text_hash(text: &str) -> Digest {
    Digest::of("text", &[text.as_bytes()])
}

/// Names all that a table keeps of a document, but for its vectors: its source and each chunk's index, start, end, text.
pub fn content_digest<'a>(source: &str, chunks: impl IntoIterator<Item = (u32, usize, usize, &'a str)>) -> Digest {
    let mut hasher = Hasher::new("content");
    hasher.part(source.as_bytes());
    for (index, start, end, text) in chunks {
        hasher.part(&index.to_le_bytes());
        hasher.part(&(start as u64).to_le_bytes());
        hasher.part(&(end as u64).to_le_bytes());
        hasher.part(text.as_bytes());
    }
    hasher.finish()
}

/// Names one chunk.
pub(super) fn chunk_id(document: Digest, index: u32, text: Digest) -> Digest {
    Digest::of("chunk", &[&document.0, &index.to_le_bytes(), &text.0])
}

impl Digest {
    pub(super) fn of(kind: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = Hasher::new(kind);
        for part in parts {
            hasher.part(part);
        }
        hasher.finish()
    }

    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(hex: &str) -> Option<Self> {
        let mut bytes = [0; BYTES];
        if hex.len() != 2 * BYTES {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

/// Hashes parts with their lengths, so that no two lists of parts look the same.
struct Hasher(blake3::Hasher);

impl Hasher {
    fn new(kind: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.part(kind.as_bytes());
        hasher
    }

    fn part(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn finish(self) -> Digest {
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&self.0.finalize().as_bytes()[..BYTES]);
        Digest(bytes)
    }
}
