//! Traces of known shapes, made from a seed: steady, on and off, daily, with flash crowds, with bursts. Knows no policy.

use super::{
    random::Random,
    trace::{Job, Trace},
};

/// A shape of arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Independent arrivals at one rate.
    Poisson,
    /// Bursts of some minutes with silence between them.
    OnOff,
    /// Two days with a quiet night and a busy noon.
    Diurnal,
    /// A low rate with sudden crowds of twenty times as many.
    FlashCrowd,
    /// A day with a document now and then.
    Sparse,
    /// A rate that rises over an hour, falls at once, and rises again.
    Sawtooth,
    /// A low rate, and each minute or so a burst of some seconds with sixty times as many.
    Bursts,
}

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 7] =
        [Self::Poisson, Self::OnOff, Self::Diurnal, Self::FlashCrowd, Self::Sparse, Self::Sawtooth, Self::Bursts];

    /// The shape of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name)
    }

    /// The name under which a trace of the shape goes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poisson => "poisson",
            Self::OnOff => "on-off",
            Self::Diurnal => "diurnal",
            Self::FlashCrowd => "flash-crowd",
            Self::Sparse => "sparse",
            Self::Sawtooth => "sawtooth",
            Self::Bursts => "bursts",
        }
    }

    fn hours(self) -> f64 {
        match self {
            Self::Poisson | Self::FlashCrowd | Self::Sawtooth | Self::Bursts => 6.0,
            Self::OnOff => 12.0,
            Self::Diurnal => 48.0,
            Self::Sparse => 24.0,
        }
    }
}

/// The trace of that shape and seed; service is log-normal with a mean of ten seconds.
pub fn trace(shape: Shape, seed: u64) -> Trace {
    let mut random = random_of(shape, seed);
    let end = shape.hours() * 3_600.0;
    let changes = rates(shape, end, &mut random);
    let most = changes.iter().map(|change| change.1).fold(0.0, f64::max);
    let mut jobs = Vec::new();
    let mut now = 0.0;
    loop {
        now += random.exponential(1.0 / most);
        if now >= end {
            break;
        }
        let place = changes.partition_point(|change| change.0 <= now).saturating_sub(1);
        // Thinning: candidates at the highest rate, kept in proportion to the rate of the moment.
        if random.unit() * most < changes[place].1 {
            jobs.push(Job { arrival: now, service: random.log_normal(10.0, 0.8), size: 0 });
        }
    }
    Trace { name: format!("{}-{seed}", shape.name()), began: 0.0, jobs }
}

/// The arrivals a second that the trace of that shape and seed is drawn from: (from, rate), in order, the first from 0.
pub fn course(shape: Shape, seed: u64) -> Vec<(f64, f64)> {
    rates(shape, shape.hours() * 3_600.0, &mut random_of(shape, seed))
}

fn random_of(shape: Shape, seed: u64) -> Random {
    Random::new(seed, 1 + shape as u64)
}

/// (from, arrivals a second), in order, the first from 0.
fn rates(shape: Shape, end: f64, random: &mut Random) -> Vec<(f64, f64)> {
    match shape {
        Shape::Poisson => vec![(0.0, 1.5)],
        Shape::Diurnal => (0..(end / 300.0) as usize)
            .map(|step| {
                let from = step as f64 * 300.0;
                (from, 0.02 + 0.5 * (1.0 - (from / 86_400.0 * std::f64::consts::TAU).cos()))
            })
            .collect(),
        Shape::Sparse => vec![(0.0, 0.01)],
        Shape::Sawtooth => {
            (0..(end / 60.0) as usize).map(|minute| (minute as f64 * 60.0, 0.03 * (minute % 60) as f64)).collect()
        }
        Shape::OnOff => alternate(end, random, (0.0, 900.0), (0.8, 300.0)),
        Shape::FlashCrowd => alternate(end, random, (0.15, 1_800.0), (3.0, 120.0)),
        Shape::Bursts => alternate(end, random, (0.05, 45.0), (3.0, 12.0)),
    }
}

fn alternate(end: f64, random: &mut Random, low: (f64, f64), high: (f64, f64)) -> Vec<(f64, f64)> {
    let mut changes = Vec::new();
    let mut from = 0.0;
    while from < end {
        let (rate, mean) = if changes.len() % 2 == 0 { low } else { high };
        changes.push((from, rate));
        from += random.exponential(mean);
    }
    changes
}
