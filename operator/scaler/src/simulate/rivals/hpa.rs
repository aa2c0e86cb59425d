//! Kubernetes' HorizontalPodAutoscaler v2 on the utilisation of slots, which stands for CPU; at least one pod, as it cannot do
//! with none.

use super::average::{Average, Largest};
use crate::simulate::policy::{Command, Policy, View};

/// `--horizontal-pod-autoscaler-sync-period`.
pub(super) const SYNC: f64 = 15.0;
/// `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;

/// The limits of `behavior` that hold unless others are set, shared by all that end in an HPA.
#[derive(Clone, Debug, Default)]
pub(super) struct Behavior {
    /// `None` before the first look of the process.
    recommended: Option<Largest>,
}

impl Behavior {
    /// What becomes of a recommendation.
    pub(super) fn applied(&mut self, view: &View, recommended: u32, stabilization: f64) -> u32 {
        let current = view.desired;
        let recommended = recommended.clamp(1, view.max_replicas);
        // The number of pods that the first look finds counts as recommended then: a window passes before there are fewer.
        let found = || {
            let mut recommended = Largest::default();
            recommended.of(view.now, current, stabilization);
            recommended
        };
        let largest = self.recommended.get_or_insert_with(found).of(view.now, recommended, stabilization);
        if recommended > current {
            // At most twice as many or four more in a period, whichever is more.
            return recommended.min((current * 2).max(current + 4));
        }
        largest.min(current)
    }
}

/// Within the tolerance, nothing is recommended.
pub(super) fn recommended(current: u32, ratio: f64, otherwise: f64) -> u32 {
    if (1.0 - ratio).abs() <= TOLERANCE { current } else { otherwise.ceil().max(0.0) as u32 }
}

pub(super) struct Hpa {
    target: f64,
    stabilization: f64,
    working: Average,
    behavior: Behavior,
}

impl Hpa {
    pub(super) fn new(target: f64, stabilization: f64) -> Self {
        Self { target, stabilization, working: Average::default(), behavior: Behavior::default() }
    }
}

impl Policy for Hpa {
    fn tick(&mut self, view: &View) -> Command {
        if view.desired == 0 {
            return view.to(1, SYNC);
        }
        let Some(broker) = &view.broker else { return view.keep(SYNC) };
        self.working.add(view.now, broker.working, SYNC);
        let (Some(working), ready @ 1..) = (self.working.over(SYNC), view.ready()) else { return view.keep(SYNC) };
        let ratio = working / f64::from(ready * view.slots) / self.target;
        let mut wanted = recommended(view.desired, ratio, ratio * f64::from(ready));
        // Pods that are not ready count as using nothing when more are wanted.
        let all = f64::from(ready) + view.starting.len() as f64;
        if ratio > 1.0 && !view.starting.is_empty() {
            let with_starting = working / (all * f64::from(view.slots)) / self.target;
            wanted = if with_starting <= 1.0 + TOLERANCE { view.desired } else { (with_starting * all).ceil() as u32 };
        }
        view.to(self.behavior.applied(view, wanted, self.stabilization), SYNC)
    }

    fn restart(&mut self) {
        // What pods used is measured by others, who go on.
        self.behavior = Behavior::default();
    }
}
