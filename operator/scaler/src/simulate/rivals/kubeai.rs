//! `KubeAI`: a moving mean of active requests over a target, down only after it was wanted for a while.

use super::average::Average;
use crate::simulate::policy::{Command, Policy, View};

const EVERY: f64 = 10.0;

pub(super) struct Kubeai {
    target: f64,
    window: f64,
    down_delay: f64,
    samples: Average,
    sum: f64,
    lower: u32,
    next: f64,
}

impl Kubeai {
    pub(super) fn new(target: f64, window: f64, down_delay: f64) -> Self {
        Self { target, window, down_delay, samples: Average::default(), sum: 0.0, lower: 0, next: 0.0 }
    }
}

impl Policy for Kubeai {
    fn tick(&mut self, view: &View) -> Command {
        let Some(broker) = &view.broker else { return view.keep(EVERY) };
        let active = broker.pending + broker.in_work;
        if view.now < self.next {
            let wakes = view.desired == 0;
            let wanted = if wakes && active > 0 { 1 } else { view.desired };
            return Command { wakes, ..view.to(wanted, self.next - view.now) };
        }
        self.next = view.now + EVERY;
        // Samples of the moment, kept as the integral of a staircase; before the first all are 0.
        if self.sum == 0.0 {
            self.samples.add(view.now - self.window, 0.0, self.window);
            self.samples.add(view.now - EVERY, 0.0, self.window);
        }
        self.sum += active as f64 * EVERY + f64::MIN_POSITIVE;
        self.samples.add(view.now, self.sum, self.window);
        let mean = self.samples.over(self.window).unwrap_or(0.0);
        let wanted = (mean / self.target).ceil() as u32;
        let wanted = wanted.max(u32::from(view.desired == 0 && active > 0)).min(view.max_replicas);
        self.lower = if wanted < view.desired { self.lower + 1 } else { 0 };
        let enough = f64::from(self.lower) >= (self.down_delay / EVERY).ceil();
        let wanted = if wanted < view.desired && !enough { view.desired } else { wanted };
        Command { wakes: wanted == 0, ..view.to(wanted, EVERY) }
    }

    fn restart(&mut self) {
        *self = Self::new(self.target, self.window, self.down_delay);
    }
}
