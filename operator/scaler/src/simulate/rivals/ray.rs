//! Ray Serve's request-based autoscaling; the queue of the broker counts as its handles' queues do.

use super::average::Average;
use crate::simulate::policy::{Command, Policy, View};

/// The loop runs ten times a second there; once is enough for delays of seconds.
const LOOP: f64 = 1.0;
/// `look_back_period_s`.
const LOOK_BACK: f64 = 30.0;

pub(super) struct Ray {
    target: f64,
    up_delay: f64,
    down_delay: f64,
    zero_delay: f64,
    load: Average,
    up_since: Option<f64>,
    down_since: Option<f64>,
}

impl Ray {
    /// `zero_delay` 0 means that the last replica stays, as it does by default.
    pub(super) fn new(target: f64, up_delay: f64, down_delay: f64, zero_delay: f64) -> Self {
        Self { target, up_delay, down_delay, zero_delay, load: Average::default(), up_since: None, down_since: None }
    }
}

impl Policy for Ray {
    fn tick(&mut self, view: &View) -> Command {
        let Some(broker) = &view.broker else { return view.keep(LOOP) };
        self.load.add(view.now, broker.load, LOOK_BACK);
        let current = view.desired;
        let least = u32::from(self.zero_delay <= 0.0);
        if current == 0 {
            let asked = broker.pending > 0 || least > 0;
            return Command { wakes: true, ..view.to(u32::from(asked), LOOP) };
        }
        let Some(load) = self.load.over(LOOK_BACK) else { return view.keep(LOOP) };
        let wanted = ((load / self.target).ceil() as u32).clamp(least, view.max_replicas);
        // Only from one to none, and with a delay of its own.
        let wanted = if wanted == 0 && current > 1 { 1 } else { wanted };
        let now = view.now;
        self.up_since = (wanted > current).then(|| self.up_since.unwrap_or(now));
        self.down_since = (wanted < current).then(|| self.down_since.unwrap_or(now));
        let down_delay = if wanted == 0 { self.zero_delay } else { self.down_delay };
        let up = self.up_since.is_some_and(|since| now - since >= self.up_delay);
        let down = self.down_since.is_some_and(|since| now - since >= down_delay);
        if up || down {
            self.up_since = None;
            self.down_since = None;
            return view.to(wanted, LOOP);
        }
        view.keep(LOOP)
    }

    fn restart(&mut self) {
        *self = Self::new(self.target, self.up_delay, self.down_delay, self.zero_delay);
    }

    fn grace(&self) -> f64 {
        // `graceful_shutdown_timeout_s`.
        20.0
    }
}
