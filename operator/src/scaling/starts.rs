//! How long a pool's pods took from creation to ready, each counted once. Knows no cluster.

use std::collections::HashSet;

use scaler::{ColdStart, ColdStarts};
use serde::{Deserialize, Serialize};

use super::seen::SeenPod;

/// A pod that took longer waited for a node or for a person, which says nothing of the next one.
const LONGEST: f64 = 1_800.0;

/// Measured starts of a pool's pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Starts {
    measured: ColdStarts,
    /// When the newest of those that were counted became ready: whoever takes over counts none of them again.
    until: f64,
    #[serde(skip)]
    counted: HashSet<String>,
    #[serde(skip)]
    looked: bool,
}

impl Starts {
    /// Counts the pods that have become ready.
    pub fn look(&mut self, pods: &[SeenPod]) {
        let until = self.until;
        for pod in pods {
            let Some(ready_since) = pod.ready_since else { continue };
            if !self.counted.insert(pod.uid.clone()) || !self.looked && ready_since <= until {
                continue;
            }
            // It may have been ready before, which whoever has just taken over did not see.
            if pod.restarted {
                continue;
            }
            self.until = self.until.max(ready_since);
            let took = ready_since - pod.created;
            if took <= LONGEST {
                // The cluster's times are whole seconds.
                self.measured.measured(took.max(0.5));
            }
        }
        self.looked = true;
        let there: HashSet<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
        self.counted.retain(|uid| there.contains(uid.as_str()));
    }

    /// Their distribution.
    pub fn distribution(&self) -> Option<ColdStart> {
        self.measured.distribution()
    }
}
