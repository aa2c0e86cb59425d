//! KEDA's JetStream scaler: from and to zero by itself, in between an HPA on pending and ack-pending over a threshold.

use super::hpa::{Behavior, SYNC, recommended};
use crate::simulate::policy::{Command, Policy, View};

pub(super) struct Keda {
    threshold: f64,
    cooldown: f64,
    polling: f64,
    stabilization: f64,
    last_active: f64,
    next_poll: f64,
    next_sync: f64,
    behavior: Behavior,
}

impl Keda {
    pub(super) fn new(threshold: f64, cooldown: f64, polling: f64, stabilization: f64) -> Self {
        Self {
            threshold,
            cooldown,
            polling,
            stabilization,
            last_active: 0.0,
            next_poll: 0.0,
            next_sync: 0.0,
            behavior: Behavior::default(),
        }
    }

    fn wait(&self, view: &View) -> f64 {
        (self.next_poll.min(self.next_sync) - view.now).max(0.1)
    }
}

impl Policy for Keda {
    fn tick(&mut self, view: &View) -> Command {
        let mut desired = view.desired;
        let value = view.broker.map(|broker| (broker.pending + broker.in_work) as f64);
        if view.now >= self.next_poll {
            self.next_poll = view.now + self.polling;
            if let Some(value) = value {
                if value > 0.0 {
                    self.last_active = view.now;
                    desired = desired.max(1);
                } else if desired > 0 && view.now > self.last_active + self.cooldown {
                    desired = 0;
                }
            }
        }
        if view.now >= self.next_sync {
            self.next_sync = view.now + SYNC;
            if let (Some(value), 1..) = (value, view.desired.min(desired)) {
                let per_pod = value / (self.threshold * f64::from(view.desired));
                let wanted = recommended(view.desired, per_pod, value / self.threshold);
                desired = self.behavior.applied(view, wanted, self.stabilization);
            }
        }
        view.to(desired, self.wait(view))
    }

    fn restart(&mut self) {
        // The last activity stands in the status of the ScaledObject; what the HPA has recommended stands nowhere.
        self.behavior = Behavior::default();
    }
}
