//! Which fault comes next, and when: random, but the same for the same seed.

use std::time::Duration;

use serde::Serialize;

/// One way to break something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// `kill -9` of a worker, which is started again.
    KillWorker,
    /// A worker stands still for longer than its lease and then goes on: another one has its tasks by then.
    StopWorker,
    /// SIGTERM to a worker, as when a node is drained or a pool shrinks; it is started again when it has ended.
    DrainWorker,
    /// `kill -9` of the gateway, which also delivers timers, and a new start.
    KillGateway,
    /// `kill -9` of the broker and a new start on the same files.
    KillBroker,
}

impl Fault {
    /// Each fault with its share.
    const SHARES: [(Self, u64); 5] = [
        (Self::KillWorker, 60),
        (Self::StopWorker, 5),
        (Self::DrainWorker, 15),
        (Self::KillGateway, 10),
        (Self::KillBroker, 10),
    ];
}

/// What is done at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// How long to wait before it.
    pub after: Duration,
    /// The fault.
    pub fault: Fault,
    /// Which of the workers, modulo their number.
    pub victim: usize,
}

/// An endless row of moments.
pub struct Schedule {
    state: u64,
    pause: Duration,
}

impl Schedule {
    /// Pauses are between nothing and twice `pause`.
    pub fn new(seed: u64, pause: Duration) -> Self {
        Self { state: seed, pause }
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Iterator for Schedule {
    type Item = Moment;

    fn next(&mut self) -> Option<Moment> {
        let millis = u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX / 4).saturating_mul(2).max(1);
        let after = Duration::from_millis(self.random() % millis);
        let total: u64 = Fault::SHARES.iter().map(|(_, share)| share).sum();
        let mut drawn = self.random() % total;
        let mut fault = Fault::KillWorker;
        for (candidate, share) in Fault::SHARES {
            if drawn < share {
                fault = candidate;
                break;
            }
            drawn -= share;
        }
        Some(Moment { after, fault, victim: usize::try_from(self.random() >> 33).unwrap_or(0) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_gives_others() {
        let row = |seed| Schedule::new(seed, Duration::from_secs(1)).take(50).collect::<Vec<_>>();
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
    }

    #[test]
    fn every_fault_comes_and_pauses_stay_in_their_bounds() {
        let mut seen = BTreeMap::new();
        for moment in Schedule::new(7, Duration::from_millis(500)).take(1_000) {
            assert!(moment.after < Duration::from_secs(1));
            *seen.entry(moment.fault).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), Fault::SHARES.len(), "{seen:?}");
    }
}
