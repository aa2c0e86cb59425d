//! Seldon Core 2's scaling of a model by lag; never below one replica.

use crate::simulate::policy::{Command, Policy, View};

const EVERY: f64 = 20.0;
/// Seconds that a model must have been as it is before it grows.
const STABLE: f64 = 300.0;

pub(super) struct Seldon {
    lag: f64,
    inactive: f64,
    last_change: f64,
    last_traffic: f64,
    arrivals: u64,
}

impl Seldon {
    pub(super) fn new(lag: f64, inactive: f64) -> Self {
        Self { lag, inactive, last_change: f64::MIN, last_traffic: 0.0, arrivals: 0 }
    }
}

impl Policy for Seldon {
    fn tick(&mut self, view: &View) -> Command {
        if view.desired == 0 {
            self.last_change = view.now;
            return view.to(1, EVERY);
        }
        let Some(broker) = &view.broker else { return view.keep(EVERY) };
        if broker.arrivals > self.arrivals {
            self.arrivals = broker.arrivals;
            self.last_traffic = view.now;
        }
        let lag = (broker.pending + broker.in_work) as f64 / f64::from(view.ready().max(1));
        if lag > self.lag && view.now - self.last_change >= STABLE {
            self.last_change = view.now;
            return view.to(view.desired + 1, EVERY);
        }
        if view.desired > 1 && view.now - self.last_traffic >= self.inactive {
            self.last_change = view.now;
            self.last_traffic = view.now;
            return view.to(view.desired - 1, EVERY);
        }
        view.keep(EVERY)
    }

    fn restart(&mut self) {
        *self = Self::new(self.lag, self.inactive);
    }
}
