//! Encodes a payload in pieces: its length and its digest are known at its end.

use std::io::{self, Write};

use blake3::{Hash, Hasher};

use super::{LEVEL, STREAMED};

/// A payload that is being encoded. It is compressed whatever it is: of what cannot be compressed, zstd makes hardly more
/// than it was.
pub(crate) struct Encoder<W: Write> {
    hasher: Hasher,
    compressor: zstd::stream::write::Encoder<'static, Counted<W>>,
    length: u64,
}

/// A payload that has been encoded.
pub(crate) struct Encoded<W> {
    /// What holds it.
    pub(crate) writer: W,
    /// Bytes that were written.
    pub(crate) stored: u64,
    pub(crate) digest: Hash,
    /// Bytes of the payload.
    pub(crate) length: u64,
}

struct Counted<W> {
    writer: W,
    count: u64,
}

impl<W: Write> Encoder<W> {
    pub(crate) fn new(writer: W) -> io::Result<Self> {
        let mut writer = Counted { writer, count: 0 };
        writer.write_all(&[STREAMED])?;
        let compressor = zstd::stream::write::Encoder::new(writer, LEVEL)?;
        Ok(Self { hasher: Hasher::new(), compressor, length: 0 })
    }

    /// Takes the next bytes of the payload.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        self.compressor.write_all(bytes)
    }

    pub(crate) fn finish(self) -> io::Result<Encoded<W>> {
        let mut writer = self.compressor.finish()?;
        writer.write_all(&self.length.to_le_bytes())?;
        writer.flush()?;
        let Counted { writer, count: stored } = writer;
        Ok(Encoded { writer, stored, digest: self.hasher.finalize(), length: self.length })
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
