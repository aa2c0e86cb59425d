//! An embedder without a model: a text's vector follows from its bytes, and calls are counted.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use knowledge::{BoxError, Embedder, TokenOffsets, Words};

use crate::DIMENSIONS;

#[derive(Default)]
pub(crate) struct FakeEmbedder {
    pub(crate) texts: AtomicUsize,
}

#[async_trait]
impl Embedder for FakeEmbedder {
    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, BoxError> {
        self.texts.fetch_add(texts.len(), Ordering::SeqCst);
        Ok(texts.iter().map(|text| vector(text)).collect())
    }

    fn token_offsets(&self, text: &str) -> Vec<(usize, usize)> {
        Words.token_offsets(text)
    }
}

/// Pseudo-random numbers from the text's hash.
pub(crate) fn vector(text: &str) -> Vec<f32> {
    let mut bytes = [0; DIMENSIONS * 2];
    blake3::Hasher::new().update(text.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0).collect()
}

pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
