//! Means over sliding windows and the largest of late, for policies that use them. Knows no policy.

use std::collections::VecDeque;

/// The mean of a quantity over a window, from its integral.
#[derive(Clone, Debug, Default)]
pub(super) struct Average {
    points: VecDeque<(f64, f64)>,
}

impl Average {
    /// Takes note of the integral until now.
    pub(super) fn add(&mut self, now: f64, integral: f64, longest: f64) {
        self.points.push_back((now, integral));
        while self.points.len() > 2 && self.points[1].0 <= now - longest {
            self.points.pop_front();
        }
    }

    /// The mean over the last so many seconds, or over what there is; `None` at the first point.
    pub(super) fn over(&self, seconds: f64) -> Option<f64> {
        let &(now, integral) = self.points.back()?;
        let after = self.points.partition_point(|point| point.0 <= now - seconds);
        let &(from, before) = self.points.get(after.saturating_sub(1))?;
        (now > from).then(|| (integral - before) / (now - from))
    }
}

/// The largest of the values of a window.
#[derive(Clone, Debug, Default)]
pub(super) struct Largest {
    /// Times rise and values fall, so the first is the largest.
    values: VecDeque<(f64, u32)>,
}

impl Largest {
    /// Takes note of a value and gives the largest of the last so many seconds.
    pub(super) fn of(&mut self, now: f64, value: u32, seconds: f64) -> u32 {
        while self.values.back().is_some_and(|last| last.1 <= value) {
            self.values.pop_back();
        }
        self.values.push_back((now, value));
        while self.values.len() > 1 && self.values[0].0 < now - seconds {
            self.values.pop_front();
        }
        self.values[0].1
    }
}
