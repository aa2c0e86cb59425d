//! How alike two normalised texts are: the share of their runs of five words that both have.

use std::collections::BTreeSet;

/// Words in one run; five tell licences apart and survive single changed words.
const RUN: usize = 5;

/// From this share on, two texts count as near copies.
pub const NEAR_COPY: f64 = 0.8;

/// The runs of a text, hashed.
pub struct Shingles(BTreeSet<[u8; 8]>);

impl Shingles {
    /// Reads a normalised text; a text shorter than one run is one run.
    pub fn of(normal: &str) -> Self {
        let words: Vec<&str> = normal.split(' ').collect();
        let hash = |run: &[&str]| {
            let digest = blake3::hash(run.join(" ").as_bytes());
            let mut short = [0; 8];
            short.copy_from_slice(&digest.as_bytes()[..8]);
            short
        };
        if words.len() <= RUN {
            return Self(BTreeSet::from([hash(&words)]));
        }
        Self(words.windows(RUN).map(hash).collect())
    }

    /// Jaccard similarity, from 0 (nothing in common) to 1 (the same runs).
    pub fn similarity(&self, other: &Self) -> f64 {
        let common = self.0.intersection(&other.0).count();
        let all = self.0.len() + other.0.len() - common;
        common as f64 / all as f64
    }
}
