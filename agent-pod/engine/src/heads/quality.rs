//! A score between 0 and 1 for a vector, learned from scores that people gave.

use super::codec::{DecodeError, Kind, MOST_DIMENSIONS, Reader, Writer};
use super::error::{TrainError, dimensions_of};
use super::linear::{Example, Linear, Link};

/// As for the classifier: suits vectors of length 1.
const PENALTY: f32 = 0.02;
const SEED: u64 = 0;

/// Logistic regression on scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    linear: Linear,
}

impl Quality {
    /// Learns from at least one vector with its score in 0..=1.
    pub fn train(examples: &[(Vec<f32>, f32)]) -> Result<Self, TrainError> {
        dimensions_of(examples.iter().map(|(vector, _)| vector.as_slice()))?;
        if let Some(index) = examples.iter().position(|(_, score)| !(0.0..=1.0).contains(score)) {
            return Err(TrainError::ReadNumbers { index });
        }
        let prepared: Vec<Example<'_>> =
            examples.iter().map(|(vector, score)| Example { input: vector, targets: vec![*score] }).collect();
        Ok(Self { linear: Linear::train(&prepared, Link::Logistic, PENALTY / prepared.len() as f32, SEED) })
    }

    /// The expected score, 0 to 1.
    pub fn score(&self, vector: &[f32]) -> f32 {
        Link::Logistic.probabilities(self.linear.logits(vector))[0]
    }

    /// A digest of everything learned.
    pub fn version(&self) -> String {
        blake3::hash(&self.to_bytes()).to_hex().to_string()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Quality);
        writer.count(self.linear.inputs);
        writer.floats(&self.linear.weights);
        writer.finish()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, Kind::Quality)?;
        let inputs = reader.count(MOST_DIMENSIONS)?;
        let weights = reader.floats(inputs + 1)?;
        reader.finish()?;
        Ok(Self { linear: Linear { inputs, weights } })
    }
}
