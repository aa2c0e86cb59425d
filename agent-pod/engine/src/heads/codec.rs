//! Heads as bytes: a magic number, a version, the kind, the content and a checksum over all of it. Bytes that were not
//! written by this code, or were damaged, are refused before anything is made of them.

const MAGIC: &[u8; 4] = b"DKHD";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 32;
/// Embeddings have a few thousand dimensions at most.
pub(super) const MOST_DIMENSIONS: usize = 16_384;

/// Why bytes are not a head. Train it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("these bytes are not a trained head")]
    Recognise,
    #[error("the head was written by version {found}, this is version {VERSION}")]
    MatchVersion { found: u8 },
    #[error("the head is of another kind")]
    MatchKind,
    #[error("the head is damaged: its checksum does not match")]
    MatchChecksum,
    #[error("the head is damaged: {what}")]
    ReadContent { what: &'static str },
}

/// What kind of head the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Classifier = 1,
    Anomaly = 2,
    Quality = 3,
}

pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(kind: Kind) -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([VERSION, kind as u8]);
        Self(bytes)
    }

    pub(super) fn count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("counts are bounded by the limits of training");
        self.0.extend(count.to_le_bytes());
    }

    pub(super) fn floats(&mut self, values: &[f32]) {
        values.iter().for_each(|value| self.0.extend(value.to_le_bytes()));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend(text.as_bytes());
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let checksum = blake3::hash(&self.0);
        self.0.extend(checksum.as_bytes());
        self.0
    }
}

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], kind: Kind) -> Result<Self, DecodeError> {
        let content = bytes.strip_prefix(MAGIC).ok_or(DecodeError::Recognise)?;
        let [version, found, content @ ..] = content else { return Err(DecodeError::Recognise) };
        if *version != VERSION {
            return Err(DecodeError::MatchVersion { found: *version });
        }
        let length = content.len().checked_sub(CHECKSUM_BYTES).ok_or(DecodeError::Recognise)?;
        let (content, checksum) = content.split_at(length);
        if blake3::hash(&bytes[..bytes.len() - CHECKSUM_BYTES]).as_bytes() != checksum {
            return Err(DecodeError::MatchChecksum);
        }
        if *found != kind as u8 {
            return Err(DecodeError::MatchKind);
        }
        Ok(Self(content))
    }

    pub(super) fn count(&mut self, most: usize) -> Result<usize, DecodeError> {
        let (count, rest) =
            self.0.split_first_chunk::<4>().ok_or(DecodeError::ReadContent { what: "it ends early" })?;
        self.0 = rest;
        let count = u32::from_le_bytes(*count) as usize;
        if count <= most { Ok(count) } else { Err(DecodeError::ReadContent { what: "a count beyond its limit" }) }
    }

    pub(super) fn floats(&mut self, count: usize) -> Result<Vec<f32>, DecodeError> {
        let (words, _) = self.take(count.saturating_mul(4))?.as_chunks::<4>();
        let values: Vec<f32> = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        let is_finite = values.iter().all(|value| value.is_finite());
        if is_finite { Ok(values) } else { Err(DecodeError::ReadContent { what: "a number that is not finite" }) }
    }

    pub(super) fn text(&mut self, most: usize) -> Result<String, DecodeError> {
        let length = self.count(most)?;
        let text = std::str::from_utf8(self.take(length)?);
        text.map(str::to_owned).map_err(|_| DecodeError::ReadContent { what: "text that is not UTF-8" })
    }

    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::ReadContent { what: "bytes after its end" }) }
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(DecodeError::ReadContent { what: "it ends early" })?;
        self.0 = rest;
        Ok(taken)
    }
}
