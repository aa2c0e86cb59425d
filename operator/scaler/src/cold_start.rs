//! How long pods take from creation to ready, as a measured distribution. Knows not why they take so long.

use serde::{Deserialize, Serialize, Serializer};

/// Enough for quantiles that matter, few enough to keep with the pool.
const KEPT: usize = 64;
/// Of those, the ones that outlive a restart: what is written of a pool is small.
const WRITTEN: usize = 32;
/// Older starts fade from the mean, as images and models change.
const MEANT: u64 = 1_000;
/// So few starts say little about the longest.
const FEW: u64 = 100;
/// A start that was long is believed possible for some thousand more.
const FADING: f64 = 0.999_8;

/// Before starts were measured: quick where the image and the model are there, minutes where they are not.
const GUESS: [f64; 5] = [3.0, 10.0, 25.0, 45.0, 80.0];
const GUESS_MEAN: f64 = 30.0;
/// Starts that the guess counts as, and those from which on it no longer does.
const GUESSED: f64 = 3.0;
const TRUSTED: u64 = 10;
/// The cluster's times are whole seconds, so a start of none is one that was too short for them. What costs nothing could not be
/// weighed.
const LEAST_MEAN: f64 = 0.5;
/// Standard deviation over mean of starts, as public traces have it.
const SPREAD: f64 = 0.8;

/// Quantiles of the time from a pod's creation to ready, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ColdStart {
    /// Evenly spaced quantiles, from the shortest to the longest; at least one.
    pub quantiles: Vec<f64>,
    /// The mean, in seconds, which may rest on more starts than the quantiles.
    pub mean: f64,
    /// Starts measured.
    pub count: u64,
}

impl ColdStart {
    /// Always the same time.
    pub fn constant(seconds: f64) -> Self {
        Self { quantiles: vec![seconds], mean: seconds, count: 1_000 }
    }

    /// The quantile `q`, 0 to 1, between measured ones linearly.
    pub fn quantile(&self, q: f64) -> f64 {
        let last = self.quantiles.len().saturating_sub(1);
        let place = q.clamp(0.0, 1.0) * last as f64;
        let below = place.floor() as usize;
        let (Some(low), Some(high)) = (self.quantiles.get(below), self.quantiles.get((below + 1).min(last))) else {
            return 0.0;
        };
        low + (high - low) * (place - below as f64)
    }

    /// The distribution with those quantiles, known well.
    pub fn known(quantiles: Vec<f64>) -> Self {
        let pairs = quantiles.len().saturating_sub(1).max(1) as f64;
        // The area under the quantile function.
        let area: f64 = quantiles.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])).sum();
        let mean = if quantiles.len() == 1 { quantiles[0] } else { area / pairs };
        Self { quantiles, mean, count: 1_000 }
    }

    /// A time that the mean does not exceed but for bad luck: what was measured, three standard errors above it, and a guess for
    /// as long as little was.
    pub fn mean_at_most(&self) -> f64 {
        let count = self.count as f64;
        let mean = (self.mean * count + GUESS_MEAN * GUESSED) / (count + GUESSED);
        mean + 3.0 * SPREAD * mean / (count + GUESSED).sqrt()
    }

    /// What is to be reckoned with: what was measured, and while that is little, a guess as well.
    pub fn with_guess(measured: Option<&Self>) -> Self {
        let Some(measured) = measured else {
            return Self { quantiles: GUESS.to_vec(), mean: GUESS_MEAN, count: 0 };
        };
        let mut quantiles = measured.quantiles.clone();
        if measured.count < TRUSTED {
            quantiles.extend(GUESS);
        } else if let Some(last) = quantiles.last_mut().filter(|_| measured.count < FEW) {
            // A long start that one in fifty takes may well not have been among so few.
            *last = last.max(GUESS[GUESS.len() - 1]);
        }
        quantiles.sort_by(f64::total_cmp);
        Self { quantiles, mean: measured.mean.max(LEAST_MEAN), count: measured.count }
    }

    /// Seconds until a pod of that age is ready with probability `q`.
    pub fn remaining(&self, age: f64, q: f64) -> f64 {
        let passed = self.share_within(age);
        if passed >= 1.0 {
            // Longer than ever seen: any moment, or as long again. Half its age errs on neither side by much.
            return age * 0.5;
        }
        (self.quantile(passed + q * (1.0 - passed)) - age).max(0.0)
    }

    /// The share of starts that took at most so long.
    pub fn share_within(&self, seconds: f64) -> f64 {
        let above = self.quantiles.partition_point(|&quantile| quantile <= seconds);
        let last = self.quantiles.len() - 1;
        if above == 0 {
            return 0.0;
        }
        if above > last {
            return 1.0;
        }
        let (low, high) = (self.quantiles[above - 1], self.quantiles[above]);
        ((above - 1) as f64 + (seconds - low) / (high - low)) / last as f64
    }

    pub(crate) fn is_sound(&self) -> bool {
        !self.quantiles.is_empty()
            && self.mean.is_finite()
            && self.mean >= 0.0
            && self.quantiles.iter().all(|quantile| quantile.is_finite() && *quantile >= 0.0)
            && self.quantiles.windows(2).all(|pair| pair[0] <= pair[1])
    }
}

/// Measured starts of a pool's pods: the last ones, and the mean of many more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColdStarts {
    #[serde(serialize_with = "newest")]
    last: Vec<f32>,
    mean: f64,
    count: u64,
    /// The longest of all; it fades.
    #[serde(default)]
    longest: f64,
}

impl ColdStarts {
    /// Takes note of one start, in seconds; what is no time is ignored.
    pub fn measured(&mut self, seconds: f64) {
        if !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        if self.last.len() == KEPT {
            self.last.remove(0);
        }
        self.last.push(((seconds * 100.0).round() / 100.0) as f32);
        self.count = (self.count + 1).min(MEANT);
        self.longest = seconds.max(self.longest * FADING);
        self.mean += (seconds - self.mean) / self.count as f64;
    }

    /// Their distribution; `None` before the first.
    pub fn distribution(&self) -> Option<ColdStart> {
        let mut quantiles: Vec<f64> = self.last.iter().map(|&seconds| f64::from(seconds)).collect();
        quantiles.sort_by(f64::total_cmp);
        if let Some(last) = quantiles.last_mut() {
            *last = last.max(self.longest);
        }
        (!quantiles.is_empty()).then_some(ColdStart { quantiles, mean: self.mean, count: self.count })
    }
}

fn newest<S: Serializer>(last: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(&last[last.len().saturating_sub(WRITTEN)..])
}
