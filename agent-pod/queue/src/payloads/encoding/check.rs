//! Sees whether stored bytes are those of a payload, a piece at a time.

use std::io::{self, Write};

use blake3::{Hash, Hasher};

use super::{LENGTH_BYTES, RAW, STREAMED, ZSTD};

/// Stored bytes that are being looked at.
#[derive(Default)]
pub(crate) struct Check {
    how: Option<How>,
    /// What lies at the end of what has come and may be the payload's length instead.
    held: Vec<u8>,
    broken: bool,
}

enum How {
    Raw(Hashed),
    /// So many bytes of the length are still to come.
    Zstd(usize, Box<Decoder>),
    Streamed(Box<Decoder>),
}

type Decoder = zstd::stream::write::Decoder<'static, Hashed>;

#[derive(Default)]
struct Hashed(Hasher);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Check {
    /// Takes the next stored bytes.
    pub(crate) fn write(&mut self, stored: &[u8]) {
        self.broken = self.broken || self.try_write(stored).is_err();
    }

    /// Whether it was all of a payload with this digest.
    pub(crate) fn matches(self, digest: &Hash) -> bool {
        let hashed = match self.how {
            Some(How::Raw(hashed)) => Some(hashed),
            Some(How::Zstd(0, decoder)) => decoder.finish().ok(),
            Some(How::Streamed(decoder)) if self.held.len() == LENGTH_BYTES => decoder.finish().ok(),
            _ => None,
        };
        !self.broken && hashed.is_some_and(|hashed| hashed.0.finalize() == *digest)
    }

    fn try_write(&mut self, mut stored: &[u8]) -> io::Result<()> {
        let how = match &mut self.how {
            Some(how) => how,
            none => {
                let Some((first, rest)) = stored.split_first() else { return Ok(()) };
                stored = rest;
                let decoder = || Decoder::new(Hashed::default()).map(Box::new);
                none.insert(match *first {
                    RAW => How::Raw(Hashed::default()),
                    ZSTD => How::Zstd(LENGTH_BYTES, decoder()?),
                    STREAMED => How::Streamed(decoder()?),
                    _ => return Err(io::ErrorKind::InvalidData.into()),
                })
            }
        };
        match how {
            How::Raw(hashed) => hashed.write_all(stored),
            How::Zstd(missing, decoder) => {
                let length = stored.len().min(*missing);
                *missing -= length;
                decoder.write_all(&stored[length..])
            }
            How::Streamed(decoder) => {
                self.held.extend_from_slice(stored);
                let sure = self.held.len().saturating_sub(LENGTH_BYTES);
                decoder.write_all(&self.held[..sure])?;
                self.held.drain(..sure);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Encoder, decode, encode},
        *,
    };

    fn streamed(payload: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new()).expect("memory");
        payload.chunks(1_000).for_each(|part| encoder.write(part).expect("encoded"));
        let end = encoder.finish().expect("encoded");
        assert_eq!((end.digest, end.length), (blake3::hash(payload), payload.len() as u64));
        assert_eq!(end.stored, end.writer.len() as u64);
        end.writer
    }

    fn is_payload(stored: &[u8], digest: &Hash, part: usize) -> bool {
        let mut check = Check::default();
        stored.chunks(part).for_each(|part| check.write(part));
        check.matches(digest)
    }

    #[test]
    fn what_is_decoded_is_found_sound_and_nothing_else() {
        let text = "a licence is a licence is ".repeat(5_000);
        let mut noise = vec![0; 70_000];
        Hasher::new().finalize_xof().fill(&mut noise);
        for payload in [&b""[..], b"short", text.as_bytes(), &noise] {
            let digest = blake3::hash(payload);
            for stored in [encode(payload), streamed(payload)] {
                assert!(decode(stored.clone().into(), &digest).is_some_and(|decoded| decoded == payload));
                for part in [1, 7, 1_000_000] {
                    assert!(is_payload(&stored, &digest, part));
                    assert!(!is_payload(&stored, &blake3::hash(b"another"), part));
                    assert!(!is_payload(&stored[..stored.len() - 1], &digest, part));
                }
                for place in (1..stored.len()).step_by(stored.len() / 50 + 1) {
                    let mut damaged = stored.clone();
                    damaged[place] ^= 1;
                    let decoded = decode(damaged.into(), &digest);
                    assert!(decoded.is_none_or(|decoded| decoded == payload), "never another payload");
                }
            }
        }
        assert!(!Check::default().matches(&blake3::hash(b"")));
        assert!(!is_payload(&[9, 1, 2], &blake3::hash(b""), 1));
    }
}
