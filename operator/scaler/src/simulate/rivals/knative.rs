//! Knative's pod autoscaler (KPA) on concurrency, with its panic mode and scale to zero; tasks in the queue are those that its
//! activator would hold.

use super::average::{Average, Largest};
use crate::simulate::policy::{Command, Policy, View};

const TICK: f64 = 2.0;
/// `panic-window-percentage`.
const PANIC_SHARE: f64 = 0.1;
/// `panic-threshold-percentage`.
const PANIC_AT: f64 = 2.0;
/// `max-scale-up-rate` and `max-scale-down-rate`.
const UP_RATE: f64 = 1_000.0;
const DOWN_RATE: f64 = 2.0;

pub(super) struct Knative {
    utilization: f64,
    window: f64,
    delay: f64,
    load: Average,
    panic_since: Option<f64>,
    panic_most: f64,
    delayed: Largest,
}

impl Knative {
    pub(super) fn new(utilization: f64, window: f64, delay: f64) -> Self {
        Self {
            utilization,
            window,
            delay,
            load: Average::default(),
            panic_since: None,
            panic_most: 0.0,
            delayed: Largest::default(),
        }
    }

    fn wanted(&mut self, view: &View, stable: f64, panic: f64) -> f64 {
        let ready = f64::from(view.ready().max(1));
        let (most, least) = ((UP_RATE * ready).ceil(), (ready / DOWN_RATE).floor());
        let target = self.utilization * f64::from(view.slots);
        let by_stable = (stable / target).ceil().clamp(least, most);
        let by_panic = (panic / target).ceil().clamp(least, most);
        let over = (panic / target).ceil() / ready >= PANIC_AT;
        if over {
            self.panic_since = Some(view.now);
        } else if self.panic_since.is_some_and(|since| view.now > since + self.window) {
            self.panic_since = None;
            self.panic_most = 0.0;
        }
        if self.panic_since.is_some() {
            self.panic_most = self.panic_most.max(by_stable).max(by_panic);
            return self.panic_most;
        }
        by_stable
    }
}

impl Policy for Knative {
    fn tick(&mut self, view: &View) -> Command {
        let Some(broker) = &view.broker else { return view.keep(TICK) };
        self.load.add(view.now, broker.load, self.window);
        let (Some(stable), Some(panic)) = (self.load.over(self.window), self.load.over(self.window * PANIC_SHARE))
        else {
            return view.to(view.desired, TICK);
        };
        if view.desired == 0 && broker.pending > 0 {
            let first = (broker.pending as f64 / (self.utilization * f64::from(view.slots))).ceil();
            return view.to(first as u32, TICK);
        }
        let idle = stable <= 0.0 && broker.pending + broker.in_work == 0;
        let wanted = if idle { 0 } else { self.wanted(view, stable, panic).max(1.0) as u32 };
        // The last pod goes when nothing came for the whole window.
        let wanted = self.delayed.of(view.now, wanted.min(view.max_replicas), self.delay);
        let sleeps = idle && view.desired == 0;
        Command { wakes: sleeps, ..view.to(wanted, TICK) }
    }

    fn restart(&mut self) {
        *self = Self::new(self.utilization, self.window, self.delay);
    }

    fn grace(&self) -> f64 {
        // A revision's time-out: its pods finish what they have begun.
        300.0
    }
}
