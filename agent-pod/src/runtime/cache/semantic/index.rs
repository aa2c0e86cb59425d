//! The answers of one scope and their questions' vectors, scanned exactly. Pure.

use std::sync::Arc;

use super::super::kept::{Kept, Question};

/// Answers in the order in which they came, each with a question.
#[derive(Default)]
pub(super) struct Index {
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
    pub(super) fn nearest(
        &self,
        question: &Question,
        similarity: f32,
        counts: impl Fn(&Kept) -> bool,
    ) -> Option<Arc<Kept>> {
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
    pub(super) fn add(&mut self, key: &str, kept: Arc<Kept>, most: usize) -> Vec<String> {
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
    pub(super) fn forget_oldest(&mut self, count: usize) -> Vec<String> {
        let gone: Vec<Entry> = self.entries.drain(..count.min(self.entries.len())).collect();
        self.weight -= gone.iter().map(Entry::weight).sum::<usize>();
        gone.into_iter().map(|entry| entry.key).collect()
    }

    /// Removes the answers that are meant.
    pub(super) fn forget(&mut self, is_meant: impl Fn(&Kept) -> bool) {
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

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes in memory, near enough.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }
}

/// Of two vectors of length 1.
fn cosine(one: &[f32], other: &[f32]) -> f32 {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::super::kept::{Output, Owner},
        *,
    };

    fn question(guard: u8, vector: &[f32]) -> Question {
        Question { guard: [guard; 16], vector: vector.to_vec() }
    }

    fn answer(name: &str, made_at: u64, question: Question) -> Arc<Kept> {
        let output =
            Output { value: json!(name), references: Vec::new(), prompt_tokens: 0, completion_tokens: 0, model: None };
        Arc::new(Kept { made_at, owner: Owner::new("tenant", name), output, question: Some(question) })
    }

    fn name(kept: Option<Arc<Kept>>) -> Option<String> {
        Some(kept?.output.value.as_str()?.to_owned())
    }

    /// Vectors of length 1 at so many degrees.
    fn at(degrees: f32) -> Vec<f32> {
        vec![degrees.to_radians().cos(), degrees.to_radians().sin()]
    }

    #[test]
    fn the_nearest_answers_that_is_near_enough_and_whose_guard_is_equal() {
        let mut index = Index::default();
        for (n, (guard, degrees)) in [(0, 0.0), (0, 30.0), (1, 40.0), (0, 90.0), (0, 0.0)].into_iter().enumerate() {
            let key = n.to_string();
            assert!(index.add(&key, answer(&key, 1, question(guard, &at(degrees))), 10).is_empty());
        }
        let find =
            |guard, degrees, similarity| name(index.nearest(&question(guard, &at(degrees)), similarity, |_| true));
        assert_eq!(find(0, 28.0, 0.95).as_deref(), Some("1"));
        assert_eq!(find(0, 40.0, 0.95).as_deref(), Some("1"), "the one at 40 has another guard");
        assert_eq!(find(1, 40.0, 0.95).as_deref(), Some("2"));
        assert_eq!(find(0, 60.0, 0.95), None, "30 degrees are 0.87");
        assert_eq!(find(0, 61.0, 0.86).as_deref(), Some("3"));
        assert_eq!(find(0, 0.0, 0.95).as_deref(), Some("4"), "of equally near ones the newest");
        assert_eq!(find(2, 0.0, 0.5), None);
        assert_eq!(name(index.nearest(&question(0, &[1.0]), 0.1, |_| true)), None, "another model's vector");
        assert_eq!(name(index.nearest(&question(0, &[f32::NAN, 1.0]), 0.1, |_| true)), None);
        assert_eq!(
            name(index.nearest(&question(0, &at(0.0)), 0.1, |kept| kept.output.value != "4")).as_deref(),
            Some("0")
        );
    }

    #[test]
    fn the_oldest_go_first_and_a_newer_answer_replaces_its_older() {
        let mut index = Index::default();
        let add =
            |index: &mut Index, key: &str, made_at| index.add(key, answer(key, made_at, question(0, &at(0.0))), 3);
        assert!(add(&mut index, "b", 20).is_empty());
        assert!(add(&mut index, "c", 30).is_empty());
        assert!(add(&mut index, "a", 10).is_empty(), "it comes late and is older");
        let full = index.weight();
        assert_eq!(add(&mut index, "d", 40), ["a"]);
        assert_eq!((index.len(), index.weight()), (3, full));
        assert!(add(&mut index, "b", 50).is_empty());
        assert!(add(&mut index, "b", 15).is_empty(), "older than what is there");
        assert_eq!(add(&mut index, "e", 60), ["c"]);
        assert_eq!(add(&mut index, "older than all", 1), ["older than all"]);
        index.forget(|kept| kept.made_at == 40);
        assert_eq!(index.forget_oldest(1), ["b"]);
        assert_eq!(index.forget_oldest(5), ["e"]);
        assert_eq!((index.len(), index.weight()), (0, 0));
    }

    #[test]
    fn cosines_of_long_vectors_are_those_of_the_textbook() {
        let one: Vec<f32> = (0..387_u16).map(|n| f32::from(n % 7) - 3.0).collect();
        let other: Vec<f32> = (0..387_u16).map(|n| f32::from(n % 5) - 2.0).collect();
        let expected: f64 = one.iter().zip(&other).map(|(l, r)| f64::from(*l) * f64::from(*r)).sum();
        assert!((f64::from(cosine(&one, &other)) - expected).abs() < 1e-3);
    }
}
