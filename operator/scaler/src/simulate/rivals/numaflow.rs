//! Numaflow's scaling of a vertex with one partition that is no source: pending over the rate of completions.

use super::average::Average;
use crate::simulate::policy::{Command, Policy, View};

const EVERY: f64 = 30.0;
const STEP: u32 = 2;
/// Half of a buffer of 30,000 may be used, and eight tenths are its limit.
const AVAILABLE: f64 = 15_000.0;
const LIMIT: f64 = 24_000.0;

pub(super) struct Numaflow {
    processing: f64,
    cooldown: f64,
    look_back: f64,
    finished: Average,
    last_scale: f64,
}

impl Numaflow {
    pub(super) fn new(processing: f64, cooldown: f64, look_back: f64) -> Self {
        Self { processing, cooldown, look_back, finished: Average::default(), last_scale: f64::MIN }
    }

    fn wanted(&self, pending: f64, rate: f64, view: &View) -> u32 {
        let ready = f64::from(view.ready());
        if pending <= 0.0 && rate <= 0.0 {
            return 0;
        }
        if pending <= 0.0 || rate <= 0.0 {
            // The partition is passed over, and what remains is the starting value.
            return 1;
        }
        let wanted = if pending >= LIMIT {
            f64::from(view.desired + 2)
        } else if pending <= AVAILABLE {
            (pending / rate / self.processing * ready).round()
        } else {
            (AVAILABLE / ((LIMIT - pending) / ready)).round()
        };
        (wanted as u32).clamp(1, pending as u32)
    }
}

impl Policy for Numaflow {
    fn tick(&mut self, view: &View) -> Command {
        let Some(broker) = &view.broker else { return view.keep(EVERY) };
        self.finished.add(view.now, broker.finished as f64, self.look_back);
        let pending = (broker.pending + broker.in_work) as f64;
        let now = view.now;
        if view.desired == 0 {
            return view.to(u32::from(pending > 0.0), EVERY);
        }
        let Some(rate) = self.finished.over(self.look_back) else { return view.keep(EVERY) };
        if view.ready() == 0 || now - self.last_scale < self.cooldown {
            return view.keep(EVERY);
        }
        let wanted = self.wanted(pending, rate, view).min(view.max_replicas);
        let wanted = wanted.clamp(view.desired.saturating_sub(STEP), view.desired + STEP);
        if wanted != view.desired {
            self.last_scale = now;
        }
        view.to(wanted, EVERY)
    }

    fn restart(&mut self) {
        *self = Self::new(self.processing, self.cooldown, self.look_back);
    }
}
