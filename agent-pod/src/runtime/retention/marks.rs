//! Which payloads are named, in bounded memory: a Bloom filter. What it takes for named although it is not stays for one more
//! pass, in which another salt decides.

use blake3::Hash;

/// 16 MiB: of ten million names in it, one of two hundred others is taken for one of them.
const BITS: u32 = 27;
/// Bits a name.
const PARTS: usize = 4;

/// A set of digests that may hold more than was put in, never less.
pub struct Marks {
    words: Vec<u64>,
    salt: u64,
}

impl Marks {
    /// An empty filter; another salt errs elsewhere.
    pub fn new(salt: u64) -> Self {
        Self { words: vec![0; 1 << (BITS - 6)], salt }
    }

    /// Marks a payload as named.
    pub fn add(&mut self, digest: &str) {
        for bit in self.bits(digest) {
            self.words[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Whether a payload was marked; sometimes also one that was not.
    pub fn may_hold(&self, digest: &str) -> bool {
        self.bits(digest).into_iter().all(|bit| self.words[bit / 64] & (1 << (bit % 64)) != 0)
    }

    /// Digests are random already: parts of one serve as its hashes, mixed with the salt.
    fn bits(&self, digest: &str) -> [usize; PARTS] {
        let hash = Hash::from_hex(digest).unwrap_or_else(|_| blake3::hash(digest.as_bytes()));
        let bytes = hash.as_bytes();
        std::array::from_fn(|part| {
            let word = bytes[part * 8..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            let mixed = (word ^ self.salt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed >> (64 - BITS)) as usize
        })
    }
}
