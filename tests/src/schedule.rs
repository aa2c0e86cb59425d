//! Which fault comes next, and when: random, but the same for the same seed.

use std::time::Duration;

use serde::Serialize;

/// Places in a worker's way at which it can be told to die (`agent-pod/src/runtime/faults.rs`).
pub const POINTS: [&str; 7] =
    ["pulled", "working", "worked", "recorded", "half-published", "published", "acknowledging"];

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
    pub const SHARES: [(Self, u64); 5] = [
        (Self::KillWorker, 60),
        (Self::StopWorker, 5),
        (Self::DrainWorker, 15),
        (Self::KillGateway, 10),
        (Self::KillBroker, 10),
    ];

    /// Whether it ends a process without a word.
    pub fn is_kill(self) -> bool {
        matches!(self, Self::KillWorker | Self::KillGateway | Self::KillBroker)
    }
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
    random: Random,
    pause: Duration,
}

impl Schedule {
    /// Pauses are between nothing and twice `pause`.
    pub fn new(seed: u64, pause: Duration) -> Self {
        Self { random: Random(seed), pause }
    }
}

impl Iterator for Schedule {
    type Item = Moment;

    fn next(&mut self) -> Option<Moment> {
        let millis = u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX / 4).saturating_mul(2).max(1);
        let after = Duration::from_millis(self.random.below(millis));
        let mut drawn = self.random.below(Fault::SHARES.iter().map(|(_, share)| share).sum());
        let mut fault = Fault::KillWorker;
        for (candidate, share) in Fault::SHARES {
            if drawn < share {
                fault = candidate;
                break;
            }
            drawn -= share;
        }
        Some(Moment { after, fault, victim: usize::try_from(self.random.below(1 << 31)).unwrap_or(0) })
    }
}

/// Where workers die by themselves: every point in turn, each time after a random number of passes.
pub struct Deaths {
    random: Random,
    passes: u64,
    next: usize,
}

impl Deaths {
    /// Of `passes` passes at most; 0: they do not die by themselves.
    pub fn new(seed: u64, passes: u64) -> Self {
        Self { random: Random(seed ^ 0xD1E5), passes, next: 0 }
    }

    /// The faults of the next worker that is started.
    pub fn faults(&mut self) -> String {
        if self.passes == 0 {
            return String::new();
        }
        let point = POINTS[self.next % POINTS.len()];
        self.next += 1;
        format!("die-at={point}:{}", 1 + self.random.below(self.passes))
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}
