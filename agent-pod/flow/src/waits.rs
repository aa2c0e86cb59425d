//! How long tasks had waited when they were started, counted so that agents' counts add up and any target can be judged.

use serde::Serialize;

/// Number of [`WAIT_BOUNDS`].
pub const WAIT_BUCKETS: usize = 50;
/// How much longer a bound is than the one before: what is between is told by interpolation, so it errs by a few in a hundred.
const RATIO: f64 = 1.3;
/// Upper bounds of the counted waits, in seconds: from 10 ms to a little more than an hour.
pub const WAIT_BOUNDS: [f64; WAIT_BUCKETS] = bounds();

const fn bounds() -> [f64; WAIT_BUCKETS] {
    let mut bounds = [0.01; WAIT_BUCKETS];
    let mut next = 1;
    while next < WAIT_BUCKETS {
        bounds[next] = bounds[next - 1] * RATIO;
        next += 1;
    }
    bounds
}

/// Tasks that were started for the first time, by how long they had waited since they were published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitCounts {
    /// All of them.
    pub started: u64,
    /// How many waited up to each of [`WAIT_BOUNDS`] and longer than the bound before; at last those that waited longer than
    /// every bound. Counts that are left out are 0.
    pub counts: Vec<u64>,
}

impl WaitCounts {
    /// Counts a task that waited so many seconds.
    pub fn start(&mut self, waited: f64) {
        self.started = self.started.saturating_add(1);
        self.counts.resize(WAIT_BUCKETS + 1, 0);
        let bucket = &mut self.counts[WAIT_BOUNDS.partition_point(|bound| *bound < waited)];
        *bucket = bucket.saturating_add(1);
    }
}

/// How many of them had waited longer than the target, in seconds. Within a bucket they count as spread evenly; those beyond
/// the last bound are late for every target.
pub fn late(waits: &WaitCounts, target: f64) -> u64 {
    let place = WAIT_BOUNDS.partition_point(|bound| *bound < target);
    let longer: u64 = waits.counts.iter().skip(place + 1).fold(0, |sum, count| sum.saturating_add(*count));
    let around = waits.counts.get(place).copied().unwrap_or_default();
    let around = match WAIT_BOUNDS.get(place) {
        None => around,
        Some(bound) => {
            let begin = if place == 0 { 0.0 } else { WAIT_BOUNDS[place - 1] };
            let share = (bound - target.max(begin)) / (bound - begin);
            (around as f64 * share).round() as u64
        }
    };
    longer.saturating_add(around).min(waits.started)
}
