//! What goes wrong in a run, and when. Knows not what follows from it.

use super::random::Random;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The broker cannot be read for a minute, every twenty.
    MetricsGap,
    /// The broker tells for a minute what was true at its beginning, every twenty.
    Stale,
    /// The autoscaler is killed every ten minutes: nobody decides until another has taken over, which knows what was
    /// kept.
    Restart,
    /// Only half of the pods find a place for ten minutes of every hour.
    Capacity,
}

/// From a kill to the first decision of the operator that takes over, in seconds.
const HAND_OVER: f64 = 15.0;

/// Faults, with where in their periods they lie.
#[derive(Clone, Debug, Default)]
pub struct Faults(Vec<(Fault, f64)>);

impl Fault {
    /// All faults.
    pub const ALL: [Self; 4] = [Self::MetricsGap, Self::Stale, Self::Restart, Self::Capacity];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MetricsGap => "metrics-gap",
            Self::Stale => "stale",
            Self::Restart => "restart",
            Self::Capacity => "capacity",
        }
    }

    /// The fault of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    fn period(self) -> f64 {
        match self {
            Self::MetricsGap | Self::Stale => 1_200.0,
            Self::Restart => 600.0,
            Self::Capacity => 3_600.0,
        }
    }

    fn lasts(self) -> f64 {
        match self {
            Self::MetricsGap | Self::Stale => 60.0,
            Self::Restart => HAND_OVER,
            Self::Capacity => 600.0,
        }
    }
}

impl Faults {
    /// The faults, placed by the seed.
    pub fn new(faults: &[Fault], seed: u64) -> Self {
        let mut random = Random::new(seed, 1_000);
        Self(faults.iter().map(|&fault| (fault, random.unit() * fault.period())).collect())
    }

    /// Whether the fault holds at that time.
    pub fn holds(&self, wanted: Fault, now: f64) -> bool {
        self.0.iter().any(|&(fault, first)| {
            fault == wanted && now >= first && (now - first).rem_euclid(fault.period()) < fault.lasts()
        })
    }

    /// When somebody decides again, if nobody does at that time.
    pub fn away_until(&self, now: f64) -> Option<f64> {
        let end_of = |&(fault, first): &(Fault, f64)| {
            let begin = first + ((now - first) / fault.period()).floor() * fault.period();
            // Compared with the sum that is told, so that a look at that very time finds somebody.
            let end = begin + fault.lasts();
            (fault == Fault::Restart && now >= first && now < end).then_some(end)
        };
        self.0.iter().find_map(end_of)
    }

    /// How many restarts there were until then.
    pub fn restarts(&self, now: f64) -> u64 {
        let of = |&(fault, first): &(Fault, f64)| {
            if fault == Fault::Restart && now >= first { ((now - first) / fault.period()) as u64 + 1 } else { 0 }
        };
        self.0.iter().map(of).sum()
    }
}
