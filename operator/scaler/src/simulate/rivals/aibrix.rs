//! `AIBrix`' APA on tasks for each pod, those that wait included; at least one pod.

use super::average::Average;
use crate::simulate::policy::{Command, Policy, View};

const EVERY: f64 = 10.0;
/// Up and down fluctuation tolerance, and the most that one step may do.
const TOLERANCE: f64 = 0.1;
const RATE: f64 = 2.0;

pub(super) struct Aibrix {
    target: f64,
    window: f64,
    cooldown: f64,
    load: Average,
    last_scale: f64,
}

impl Aibrix {
    pub(super) fn new(target: f64, window: f64, cooldown: f64) -> Self {
        Self { target, window, cooldown, load: Average::default(), last_scale: f64::MIN }
    }
}

impl Policy for Aibrix {
    fn tick(&mut self, view: &View) -> Command {
        if view.desired == 0 {
            return view.to(1, EVERY);
        }
        let Some(broker) = &view.broker else { return view.keep(EVERY) };
        self.load.add(view.now, broker.load, self.window);
        let (Some(load), ready @ 1..) = (self.load.over(self.window), view.ready()) else { return view.keep(EVERY) };
        let current = f64::from(ready);
        let ratio = load / current / self.target;
        let wanted = if ratio > 1.0 + TOLERANCE {
            (current * ratio).ceil().min((RATE * current).ceil())
        } else if ratio < 1.0 - TOLERANCE {
            (current * ratio).ceil().max((current / RATE).floor())
        } else {
            current
        };
        let wanted = (wanted as u32).clamp(1, view.max_replicas);
        if wanted < view.desired && view.now - self.last_scale < self.cooldown {
            return view.keep(EVERY);
        }
        if wanted != view.desired {
            self.last_scale = view.now;
        }
        view.to(wanted, EVERY)
    }

    fn restart(&mut self) {
        *self = Self::new(self.target, self.window, self.cooldown);
    }
}
