//! The answers of one scope and their questions' vectors, scanned exactly. Pure.

use std::sync::Arc;

use super::super::kept::{Kept, Question};

/// Answers in the order in which they came, each with a question.
#[derive(Default)]
pub struct Index {
    entries: Vec<Entry>,
    weight: usize,
}

struct Entry {
    key: String,
    kept: Arc<Kept>,
}

impl Entry {
    fn weight(&self) -> usize {
        self.key.len() + self.kept.weight()
    }
}

impl Index {
    /// The answer whose question is nearest to this one, not farther than `similarity`, with an equal guard, among those
    /// that `counts`.
    pub fn nearest(&self, question: &Question, similarity: f32, counts: impl Fn(&Kept) -> bool) -> Option<Arc<Kept>> {
        let mut best: Option<(f32, &Entry)> = None;
        for entry in &self.entries {
            let Some(kept) = entry.kept.question.as_ref().filter(|kept| kept.guard == question.guard) else { continue };
            let cosine = cosine(&kept.vector, &question.vector);
            // Of equally near ones the newest, which comes last. What is not a number is near to nothing.
            if cosine >= similarity && best.is_none_or(|(best, _)| cosine >= best) && counts(&entry.kept) {
                best = Some((cosine, entry));
            }
        }
        best.map(|(_, entry)| Arc::clone(&entry.kept))
    }

    /// Adds an answer, in place of an older one under its key; gives the keys of the oldest, of which there are too many.
    pub fn add(&mut self, key: &str, kept: Arc<Kept>, most: usize) -> Vec<String> {
        if let Some(place) = self.entries.iter().position(|entry| entry.key == key) {
            if self.entries[place].kept.made_at >= kept.made_at {
                return Vec::new();
            }
            self.weight -= self.entries.remove(place).weight();
        }
        let entry = Entry { key: key.to_owned(), kept };
        self.weight += entry.weight();
        // They come nearly in order; those of another process may be late.
        let place = self.entries.partition_point(|other| other.kept.made_at <= entry.kept.made_at);
        self.entries.insert(place, entry);
        let too_many = self.entries.len().saturating_sub(most);
        self.forget_oldest(too_many)
    }

    /// Removes the oldest answers; their keys.
    pub fn forget_oldest(&mut self, count: usize) -> Vec<String> {
        let gone: Vec<Entry> = self.entries.drain(..count.min(self.entries.len())).collect();
        self.weight -= gone.iter().map(Entry::weight).sum::<usize>();
        gone.into_iter().map(|entry| entry.key).collect()
    }

    /// Removes the answers that are meant.
    pub fn forget(&mut self, is_meant: impl Fn(&Kept) -> bool) {
        self.entries.retain(|entry| !is_meant(&entry.kept));
        self.weight = self.entries.iter().map(Entry::weight).sum();
    }

    /// Removes the answers that are meant by their keys or what is known of them; how many there were.
    pub(super) fn erase(&mut self, is_meant: impl Fn(&str, &Kept) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(|entry| !is_meant(&entry.key, &entry.kept));
        self.weight = self.entries.iter().map(Entry::weight).sum();
        before - self.entries.len()
    }

    /// How many answers there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Bytes in memory, near enough.
    pub fn weight(&self) -> usize {
        self.weight
    }
}

/// Of two vectors of length 1.
pub fn cosine(one: &[f32], other: &[f32]) -> f32 {
    if one.len() != other.len() {
        return f32::NAN;
    }
    // Sums side by side keep the processor's units busy; a single one would wait for itself.
    let (mut sums, lanes) = ([0.0_f32; 8], one.chunks_exact(8).zip(other.chunks_exact(8)));
    for (left, right) in lanes {
        sums.iter_mut().zip(left.iter().zip(right)).for_each(|(sum, (left, right))| *sum += left * right);
    }
    let (left, right) = (one.chunks_exact(8).remainder(), other.chunks_exact(8).remainder());
    sums.iter().sum::<f32>() + left.iter().zip(right).map(|(left, right)| left * right).sum::<f32>()
}
