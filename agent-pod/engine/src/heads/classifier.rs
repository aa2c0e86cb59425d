//! A label for a vector, with a probability that means what it says.

use std::collections::BTreeSet;

use super::codec::{DecodeError, Kind, MOST_DIMENSIONS, Reader, Writer};
use super::error::{TrainError, dimensions_of};
use super::linear::{Example, Linear, Link};

const MOST_LABELS: usize = 4096;
const MOST_LABEL_BYTES: usize = 256;
/// Folds that calibration holds out in turn.
const FOLDS: usize = 5;
/// With fewer examples a held-out fold says less than chance.
const LEAST_TO_CALIBRATE: usize = 20;
/// With more examples one fold is measured well enough, and training five times would take long.
const MOST_FOR_ALL_FOLDS: usize = 2000;
/// Calibration stays within these temperatures.
const LEAST_TEMPERATURE: f32 = 0.05;
const MOST_TEMPERATURE: f32 = 20.0;

/// How a classifier is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassifierSettings {
    /// Weight of the squared weights in the loss, divided by the number of examples: larger is more cautious.
    pub penalty: f32,
    pub seed: u64,
}

impl Default for ClassifierSettings {
    /// The penalty suits vectors of length 1: little enough that a few dozen examples separate, enough that labels
    /// with two examples do not rule.
    fn default() -> Self {
        Self { penalty: 0.02, seed: 0 }
    }
}

/// Softmax regression.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// In alphabetical order.
    labels: Vec<String>,
    linear: Linear,
    /// Divides the logits; learned on examples that training did not see.
    temperature: f32,
}

/// What a classifier says of a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    pub label: String,
    pub probability: f32,
    /// All labels, the likeliest first.
    pub probabilities: Vec<(String, f32)>,
}

impl Classifier {
    /// Learns from at least one example. With a single label there is nothing to tell apart: that label is the answer.
    pub fn train(examples: &[(Vec<f32>, String)], settings: &ClassifierSettings) -> Result<Self, TrainError> {
        dimensions_of(examples.iter().map(|(vector, _)| vector.as_slice()))?;
        let labels = labels_of(examples)?;
        let prepared: Vec<Example<'_>> = examples
            .iter()
            .map(|(vector, label)| {
                let mut targets = vec![0.0; labels.len()];
                targets[labels.binary_search(label).expect("labels were collected from the examples")] = 1.0;
                Example { input: vector, targets }
            })
            .collect();
        let fit = |examples: &[Example<'_>]| {
            Linear::train(examples, Link::Softmax, settings.penalty / examples.len() as f32, settings.seed)
        };
        let temperature = if labels.len() < 2 { 1.0 } else { calibrated_temperature(&prepared, fit) };
        Ok(Self { linear: fit(&prepared), labels, temperature })
    }

    /// What `vector` most likely is. Dimensions beyond those trained on are ignored, missing ones count as zero.
    pub fn predict(&self, vector: &[f32]) -> Prediction {
        let logits = self.linear.logits(vector).into_iter().map(|logit| logit / self.temperature).collect();
        let probabilities = Link::Softmax.probabilities(logits);
        let mut probabilities: Vec<_> = self.labels.iter().cloned().zip(probabilities).collect();
        probabilities.sort_by(|left, right| right.1.total_cmp(&left.1));
        let (label, probability) = probabilities.first().cloned().expect("a classifier has at least one label");
        Prediction { label, probability, probabilities }
    }

    /// The share of examples whose label is predicted; 0 without examples.
    pub fn accuracy(&self, examples: &[(Vec<f32>, String)]) -> f32 {
        let right = examples.iter().filter(|(vector, label)| self.predict(vector).label == *label).count();
        right as f32 / examples.len().max(1) as f32
    }

    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The length of the vectors it was trained on.
    pub fn dimensions(&self) -> usize {
        self.linear.inputs
    }

    /// A digest of everything learned: equal versions predict alike.
    pub fn version(&self) -> String {
        blake3::hash(&self.to_bytes()).to_hex().to_string()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Classifier);
        writer.count(self.linear.inputs);
        writer.count(self.labels.len());
        self.labels.iter().for_each(|label| writer.text(label));
        writer.floats(&[self.temperature]);
        writer.floats(&self.linear.weights);
        writer.finish()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, Kind::Classifier)?;
        let inputs = reader.count(MOST_DIMENSIONS)?;
        let count = reader.count(MOST_LABELS)?;
        let labels = (0..count).map(|_| reader.text(MOST_LABEL_BYTES)).collect::<Result<Vec<_>, _>>()?;
        if labels.is_empty() || !labels.is_sorted_by(|left, right| left < right) {
            return Err(DecodeError::ReadContent { what: "labels that are missing or out of order" });
        }
        let temperature = reader.floats(1)?[0];
        if !(LEAST_TEMPERATURE..=MOST_TEMPERATURE).contains(&temperature) {
            return Err(DecodeError::ReadContent { what: "a temperature beyond its limits" });
        }
        let weights = reader.floats(count * (inputs + 1))?;
        reader.finish()?;
        Ok(Self { labels, linear: Linear { inputs, weights }, temperature })
    }
}

fn labels_of(examples: &[(Vec<f32>, String)]) -> Result<Vec<String>, TrainError> {
    let is_bad = |(_, label): &(Vec<f32>, String)| label.is_empty() || label.len() > MOST_LABEL_BYTES;
    if let Some(index) = examples.iter().position(is_bad) {
        return Err(TrainError::ReadLabel { index, limit: MOST_LABEL_BYTES });
    }
    let labels: BTreeSet<&String> = examples.iter().map(|(_, label)| label).collect();
    if labels.len() > MOST_LABELS {
        return Err(TrainError::CountLabels { found: labels.len(), limit: MOST_LABELS });
    }
    Ok(labels.into_iter().cloned().collect())
}

/// The temperature under which held-out examples are least surprising. Every fifth example is held out, in turn.
fn calibrated_temperature(examples: &[Example<'_>], fit: impl Fn(&[Example<'_>]) -> Linear) -> f32 {
    if examples.len() < LEAST_TO_CALIBRATE {
        return 1.0;
    }
    let folds = if examples.len() <= MOST_FOR_ALL_FOLDS { FOLDS } else { 1 };
    let mut held_out = Vec::new();
    for fold in 0..folds {
        let is_held_out = |index: usize| index % FOLDS == fold;
        let kept = examples.iter().enumerate().filter(|(index, _)| !is_held_out(*index));
        let kept: Vec<_> =
            kept.map(|(_, example)| Example { input: example.input, targets: example.targets.clone() }).collect();
        let model = fit(&kept);
        let tested = examples.iter().enumerate().filter(|(index, _)| is_held_out(*index));
        held_out.extend(tested.map(|(_, example)| (model.logits(example.input), &example.targets)));
    }
    let surprise = |temperature: f32| -> f32 {
        let of_example = |(logits, targets): &(Vec<f32>, &Vec<f32>)| {
            let probabilities = Link::Softmax.probabilities(logits.iter().map(|logit| logit / temperature).collect());
            let of_target: f32 = probabilities.iter().zip(*targets).map(|(value, target)| value * target).sum();
            -of_target.max(1e-9).ln()
        };
        held_out.iter().map(of_example).sum()
    };
    least(surprise, LEAST_TEMPERATURE.ln(), MOST_TEMPERATURE.ln())
}

/// Where a function of the exponential has its least value, by golden section.
fn least(of: impl Fn(f32) -> f32, mut low: f32, mut high: f32) -> f32 {
    const SECTION: f32 = 0.618_034;
    for _ in 0..40 {
        let (left, right) = (high - SECTION * (high - low), low + SECTION * (high - low));
        if of(left.exp()) <= of(right.exp()) {
            high = right;
        } else {
            low = left;
        }
    }
    ((low + high) / 2.0).exp().clamp(LEAST_TEMPERATURE, MOST_TEMPERATURE)
}
