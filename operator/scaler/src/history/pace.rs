//! How much pods do of what their slots should, learned while there is always something to do. Knows not why: slots may stand empty
//! between two tasks, or tasks take longer than was measured.

use serde::{Deserialize, Serialize};

use super::GAP;
use crate::observation::{Observation, Pods};

/// Tasks that should have been done, by which what was done is judged.
const JUDGED: f64 = 100.0;
/// Seconds after which a third of it is believed: who keeps more pods because of it sees nothing wait by which to judge anew.
const FADES: f64 = 86_400.0;
/// Weight of the last time.
const WEIGHT: f64 = 0.3;
/// No less is believed: what waits may not be for these pods to take.
const LEAST: f64 = 0.5;
/// From here on it is chance.
const FULL: f64 = 0.8;
/// Seconds for which something waits that nobody takes for want of a slot: fewer, and it has only just come.
const WAITS: f64 = 3.0;

/// What is known of it. Only the share is kept: the rest is soon seen anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub(super) struct Pace {
    /// What is done, of what should be.
    share: f64,
    /// Since when something waits all the time.
    since: Option<f64>,
    /// Tasks that should have been done since it was judged, and that were.
    expected: f64,
    done: f64,
    /// Pods that were to take tasks since the last reading.
    pods: u32,
    /// Pods that were ready at the last reading.
    ready: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { share: 1.0, since: None, expected: 0.0, done: 0.0, pods: 0, ready: 0 }
    }
}

impl From<f64> for Pace {
    fn from(share: f64) -> Self {
        Self { share: share.clamp(LEAST, 1.0), ..Self::default() }
    }
}

impl From<Pace> for f64 {
    fn from(pace: Pace) -> Self {
        pace.share
    }
}

impl Pace {
    /// Slots that do as much as one should.
    pub(super) fn share(&self) -> f64 {
        if self.share < FULL { self.share } else { 1.0 }
    }

    /// So many of the pods that are ready are to take tasks until the next reading.
    pub(super) fn pull(&mut self, pods: u32) {
        self.pods = pods;
    }

    /// What was seen until now says nothing of what comes.
    pub(super) fn begin_anew(&mut self) {
        self.since = None;
    }

    /// Takes note of what was done in the seconds that passed, by tasks like those in work, which take so long and vary so much;
    /// `None` where that is not known.
    pub(super) fn learn(
        &mut self,
        observation: &Observation,
        done: Option<u64>,
        mix: Option<(f64, f64)>,
        now: f64,
        passed: f64,
    ) {
        let ready = observation.pods.as_ref().map_or(0, Pods::ready);
        let grown = ready > std::mem::replace(&mut self.ready, ready);
        let pods = std::mem::take(&mut self.pods).min(ready);
        if passed > 0.0 {
            self.share += (1.0 - self.share) * (1.0 - (-passed / FADES).exp());
        }
        let waits = observation.pending() > 0 && observation.oldest_wait.is_some_and(|wait| wait > WAITS + passed);
        let slots = f64::from(pods) * f64::from(observation.slots_per_pod) - observation.interactive;
        let (Some(done), Some((service, spread)), true) =
            (done, mix, waits && passed > 0.0 && passed < GAP && slots > 0.0)
        else {
            self.since = None;
            return;
        };
        // The first that are done began before; of those that begin together none is done for a while.
        let since = self.since.filter(|_| !grown).unwrap_or(now);
        self.since = Some(since);
        if now - since < service {
            return;
        }
        self.done += done as f64;
        self.expected += slots * passed / service.max(0.001);
        if self.expected >= JUDGED * (1.0 + spread) {
            let share = (self.done / self.expected).clamp(LEAST, 1.0);
            self.share += WEIGHT * (share - self.share);
            (self.expected, self.done) = (0.0, 0.0);
        }
    }
}
