//! How unlike everything known a vector is, on a scale that needs no threshold per data set: the share of known
//! vectors that lie closer to their neighbours than this one does.

use super::codec::{DecodeError, Kind, MOST_DIMENSIONS, Reader, Writer};
use super::error::{TrainError, dimensions_of};
use super::vector::dot;

/// Known vectors that are kept: their pairwise distances take a second to compute, and more change a quantile little.
const MOST_KEPT: usize = 1000;
/// Neighbours whose mean distance counts: one alone would be ruled by near-copies.
const NEIGHBOURS: usize = 5;

/// Distance to the nearest known vectors, as a quantile.
#[derive(Debug, Clone, PartialEq)]
pub struct Anomaly {
    dimensions: usize,
    /// `[known, dimensions]`, each of length 1.
    known: Vec<f32>,
    /// The distances of the known vectors to their neighbours, sorted.
    distances: Vec<f32>,
}

impl Anomaly {
    /// Learns what is usual from at least one vector; of more than a thousand, evenly spread ones are kept.
    pub fn train(examples: &[Vec<f32>]) -> Result<Self, TrainError> {
        let dimensions = dimensions_of(examples.iter().map(Vec::as_slice))?;
        let step = examples.len().div_ceil(MOST_KEPT);
        let known: Vec<f32> = examples.iter().step_by(step).flat_map(|vector| unit(vector)).collect();
        let mut anomaly = Self { dimensions, known, distances: Vec::new() };
        let count = anomaly.known.len() / dimensions;
        if count > 1 {
            let distance = |index: usize| anomaly.distance(anomaly.vector(index), Some(index));
            anomaly.distances = (0..count).map(distance).collect();
            anomaly.distances.sort_by(f32::total_cmp);
        }
        Ok(anomaly)
    }

    /// 0 for the most usual, towards 1 for what is farther off than everything known. With a single known vector
    /// nothing is known of distances, and everything scores 0.5.
    pub fn score(&self, vector: &[f32]) -> f32 {
        if self.distances.is_empty() || vector.len() != self.dimensions {
            return 0.5;
        }
        let distance = self.distance(&unit(vector), None);
        let below = self.distances.partition_point(|&known| known < distance);
        let equal = self.distances.partition_point(|&known| known <= distance) - below;
        (below as f32 + 0.5 * equal as f32 + 0.5) / (self.distances.len() as f32 + 1.0)
    }

    /// A digest of everything learned.
    pub fn version(&self) -> String {
        blake3::hash(&self.to_bytes()).to_hex().to_string()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Anomaly);
        writer.count(self.dimensions);
        writer.count(self.known.len() / self.dimensions);
        writer.floats(&self.known);
        writer.count(self.distances.len());
        writer.floats(&self.distances);
        writer.finish()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, Kind::Anomaly)?;
        let dimensions = reader.count(MOST_DIMENSIONS)?;
        let count = reader.count(MOST_KEPT)?;
        if dimensions == 0 || count == 0 {
            return Err(DecodeError::ReadContent { what: "no known vectors" });
        }
        let known = reader.floats(count * dimensions)?;
        let measured = reader.count(MOST_KEPT)?;
        let distances = reader.floats(measured)?;
        if !distances.is_sorted() {
            return Err(DecodeError::ReadContent { what: "distances out of order" });
        }
        reader.finish()?;
        Ok(Self { dimensions, known, distances })
    }

    fn vector(&self, index: usize) -> &[f32] {
        &self.known[index * self.dimensions..(index + 1) * self.dimensions]
    }

    /// The mean cosine distance to the nearest known vectors, leaving out the vector itself.
    fn distance(&self, vector: &[f32], itself: Option<usize>) -> f32 {
        let known = self.known.chunks_exact(self.dimensions).enumerate();
        let mut distances: Vec<f32> =
            known.filter(|(index, _)| Some(*index) != itself).map(|(_, known)| 1.0 - dot(known, vector)).collect();
        let nearest = NEIGHBOURS.min(distances.len());
        if nearest < distances.len() {
            distances.select_nth_unstable_by(nearest, f32::total_cmp);
        }
        distances[..nearest].sort_by(f32::total_cmp);
        distances[..nearest].iter().sum::<f32>() / nearest.max(1) as f32
    }
}

fn unit(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.iter().map(|value| value / length).collect()
}
