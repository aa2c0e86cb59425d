//! The shape of a pool's days and weeks, used only where it has been right. Knows nothing of pods.

use serde::{Deserialize, Serialize, Serializer};

const DAY: f64 = 86_400.0;
/// Half hours of a day, and three-hour parts of a week: as fine as a few weeks of counts can tell apart.
const OF_DAY: usize = 48;
const OF_WEEK: usize = 56;
const DAY_BIN: f64 = DAY / OF_DAY as f64;
const WEEK_BIN: f64 = 7.0 * DAY / OF_WEEK as f64;
/// How much a new day counts against those before.
const NEW: f64 = 0.3;

/// Mean rates of a pool's arrivals by time of day and of week, and how well they foretold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Season {
    #[serde(serialize_with = "coarse")]
    day: Vec<f32>,
    #[serde(serialize_with = "coarse")]
    week: Vec<f32>,
    /// When the first count was made.
    since: Option<f64>,
    /// The half hour that is being counted, and its arrivals.
    bin: i64,
    count: f64,
    /// The half hour before, as a rate: what having no memory would foretell.
    previous: f32,
    /// Squared errors of late: of no memory, of the day, of the week.
    errors: [f32; 3],
}

impl Season {
    pub(crate) fn learn(&mut self, now: f64, new: u64, passed: f64) {
        let bin = (now / DAY_BIN).floor() as i64;
        if self.since.is_none() || passed > DAY {
            self.since = Some(now);
            self.bin = bin;
            self.count = 0.0;
        }
        while self.bin < bin {
            self.close(now);
        }
        self.count += new as f64;
    }

    /// Takes back to `now` what lies ahead of it.
    pub(crate) fn set_back(&mut self, now: f64) {
        self.bin = self.bin.min((now / DAY_BIN).floor() as i64);
        self.since = self.since.map(|since| since.min(now));
    }

    /// The rate to expect at `at`, if the shape of the pool's days or weeks has foretold better than no memory.
    pub(crate) fn rate_at(&self, at: f64) -> Option<f64> {
        let age = at - self.since?;
        // Better by a fifth at least: a shape that is no better costs pods for nothing.
        let [none, day, week] = self.errors;
        let known = |rates: &[f32], width: f64| rates.get(place(at, width, rates.len())).map(|&rate| f64::from(rate));
        if age > 14.0 * DAY && week < 0.8 * none && week <= day {
            return known(&self.week, WEEK_BIN);
        }
        (age > 3.0 * DAY && day < 0.8 * none).then(|| known(&self.day, DAY_BIN)).flatten()
    }

    fn close(&mut self, now: f64) {
        let at = self.bin as f64 * DAY_BIN;
        let rate = round(self.count / DAY_BIN);
        self.day.resize(OF_DAY, 0.0);
        self.week.resize(OF_WEEK, 0.0);
        let age = now - self.since.unwrap_or(now);
        let (of_day, of_week) = (place(at, DAY_BIN, OF_DAY), place(at, WEEK_BIN, OF_WEEK));
        if age > 2.0 * DAY {
            let foretold = [self.previous, self.day[of_day], self.week[of_week]];
            for (error, foretold) in self.errors.iter_mut().zip(foretold) {
                *error = round(f64::from(*error) * 0.99 + 0.01 * f64::from(foretold - rate).powi(2));
            }
        }
        let first_day = age < DAY;
        blend(&mut self.day[of_day], rate, if first_day { 1.0 } else { NEW });
        blend(&mut self.week[of_week], rate, if age < 7.0 * DAY { 0.5 } else { NEW / 4.0 });
        self.previous = rate;
        self.bin += 1;
        self.count = 0.0;
    }
}

/// A task in three hours is the least rate that is kept.
fn coarse<S: Serializer>(rates: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rates.iter().map(|&rate| ((f64::from(rate) * 1e4).round() / 1e4) as f32))
}

fn blend(known: &mut f32, new: f32, weight: f64) {
    *known = round(f64::from(*known) * (1.0 - weight) + f64::from(new) * weight);
}

fn place(at: f64, width: f64, bins: usize) -> usize {
    ((at / width).floor() as i64).rem_euclid(bins.max(1) as i64) as usize
}

/// Three digits are all that such a rate is worth, and what fits into the state.
fn round(value: f64) -> f32 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let digits = 10f64.powi(2 - value.abs().log10().floor() as i32);
    ((value * digits).round() / digits) as f32
}
