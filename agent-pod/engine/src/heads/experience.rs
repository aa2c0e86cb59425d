//! Learning while working: labelled examples are remembered, and every hundred new ones a classifier is trained from
//! all of them in the background and swapped in.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::classifier::{Classifier, ClassifierSettings};
use super::slot::HeadSlot;

/// Examples that are remembered; older ones are forgotten.
const MOST_REMEMBERED: usize = 10_000;
/// New examples that make a new head worth its training.
const UPDATE_EVERY: usize = 100;

/// The newest labelled examples.
#[derive(Debug, Default)]
pub struct Experience {
    examples: VecDeque<(Vec<f32>, String)>,
    new: usize,
}

impl Experience {
    /// Remembers an example. Whether enough are new for an update.
    pub fn add(&mut self, vector: Vec<f32>, label: String) -> bool {
        if self.examples.len() == MOST_REMEMBERED {
            self.examples.pop_front();
        }
        self.examples.push_back((vector, label));
        self.new += 1;
        self.new >= UPDATE_EVERY
    }

    /// All examples, the oldest first, to train from; none of them is new any more.
    pub fn take_all(&mut self) -> Vec<(Vec<f32>, String)> {
        self.new = 0;
        self.examples.iter().cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.examples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }
}

/// A classifier that learns from feedback. One training runs at a time; examples that come meanwhile wait for the next.
pub struct Learner {
    settings: ClassifierSettings,
    experience: Mutex<Experience>,
    slot: HeadSlot<Classifier>,
    is_training: AtomicBool,
}

impl Learner {
    /// Starts with the head in use, if there is one.
    pub fn new(settings: ClassifierSettings, current: Option<Classifier>) -> Arc<Self> {
        let slot = HeadSlot::empty();
        if let Some(current) = current {
            slot.swap(Arc::new(current));
        }
        Arc::new(Self { settings, experience: Mutex::default(), slot, is_training: AtomicBool::new(false) })
    }

    /// The head in use.
    pub fn current(&self) -> Option<Arc<Classifier>> {
        self.slot.current()
    }

    /// Remembers feedback and, when it is time, starts a training whose head takes the current one's place.
    pub fn observe(self: &Arc<Self>, vector: Vec<f32>, label: String) {
        let mut experience = self.experience.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = experience.add(vector, label);
        if !is_due || self.is_training.swap(true, Ordering::AcqRel) {
            return;
        }
        let examples = experience.take_all();
        drop(experience);
        let training = Training(Arc::clone(self));
        let train = move || match Classifier::train(&examples, &training.0.settings) {
            Ok(head) => drop(training.0.slot.swap(Arc::new(head))),
            Err(error) => tracing::warn!(%error, "A head was not updated"),
        };
        if let Err(error) = std::thread::Builder::new().name("head-training".to_owned()).spawn(train) {
            tracing::warn!(%error, "A head was not updated");
        }
    }
}

/// A training under way; however it ends, the next may start.
struct Training(Arc<Learner>);

impl Drop for Training {
    fn drop(&mut self) {
        self.0.is_training.store(false, Ordering::Release);
    }
}
