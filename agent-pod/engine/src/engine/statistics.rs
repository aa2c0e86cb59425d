//! What an engine has done so far.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts since the engine started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Statistics {
    /// Embedding passes.
    pub batches: u64,
    /// Sequences embedded.
    pub sequences: u64,
    /// Tokens that were some sequence's.
    pub useful_tokens: u64,
    /// Tokens that were computed, padding included: the same number, since passes are packed.
    pub processed_tokens: u64,
    /// Sequences and generations dropped before their turn: caller gone or deadline passed.
    pub dropped: u64,
    /// Generation steps.
    pub generation_steps: u64,
    /// Embedding sequences that wait now.
    pub waiting: usize,
    /// Measured cost of an embedding token; 0 before the first pass.
    pub seconds_per_token: f64,
}

#[derive(Default)]
pub(crate) struct Counters {
    batches: AtomicU64,
    sequences: AtomicU64,
    useful_tokens: AtomicU64,
    processed_tokens: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) generation_steps: AtomicU64,
    nanoseconds_per_token: AtomicU64,
}

impl Counters {
    pub(crate) fn pass(&self, sequences: usize, tokens: usize, seconds_per_token: Option<f64>) {
        self.batches.fetch_add(1, Relaxed);
        self.sequences.fetch_add(sequences as u64, Relaxed);
        self.useful_tokens.fetch_add(tokens as u64, Relaxed);
        self.processed_tokens.fetch_add(tokens as u64, Relaxed);
        if let Some(seconds) = seconds_per_token {
            self.nanoseconds_per_token.store((seconds * 1e9) as u64, Relaxed);
        }
    }

    pub(crate) fn read(&self, waiting: usize) -> Statistics {
        Statistics {
            batches: self.batches.load(Relaxed),
            sequences: self.sequences.load(Relaxed),
            useful_tokens: self.useful_tokens.load(Relaxed),
            processed_tokens: self.processed_tokens.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            generation_steps: self.generation_steps.load(Relaxed),
            waiting,
            seconds_per_token: self.nanoseconds_per_token.load(Relaxed) as f64 / 1e9,
        }
    }
}
