//! How long pods take from creation to ready, as a measured distribution. Knows not why they take so long.

use serde::{Deserialize, Serialize};

/// Enough for quantiles that matter, few enough to keep with the pool.
const KEPT: usize = 64;

/// Quantiles of the time from a pod's creation to ready, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ColdStart {
    /// Evenly spaced quantiles, from the shortest to the longest; at least one.
    pub quantiles: Vec<f64>,
}

impl ColdStart {
    /// Always the same time.
    pub fn constant(seconds: f64) -> Self {
        Self { quantiles: vec![seconds] }
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

    /// The mean, in seconds.
    pub fn mean(&self) -> f64 {
        let last = self.quantiles.len() - 1;
        if last == 0 {
            return self.quantiles[0];
        }
        // The area under the quantile function.
        self.quantiles.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])).sum::<f64>() / last as f64
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
            && self.quantiles.iter().all(|quantile| quantile.is_finite() && *quantile >= 0.0)
            && self.quantiles.windows(2).all(|pair| pair[0] <= pair[1])
    }
}

/// The last measured starts of a pool's pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColdStarts(Vec<f64>);

impl ColdStarts {
    /// Takes note of one start, in seconds; what is no time is ignored.
    pub fn measured(&mut self, seconds: f64) {
        if !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        if self.0.len() == KEPT {
            self.0.remove(0);
        }
        self.0.push((seconds * 100.0).round() / 100.0);
    }

    /// Their distribution; `None` before the first.
    pub fn distribution(&self) -> Option<ColdStart> {
        let mut quantiles = self.0.clone();
        quantiles.sort_by(f64::total_cmp);
        (!quantiles.is_empty()).then_some(ColdStart { quantiles })
    }
}
