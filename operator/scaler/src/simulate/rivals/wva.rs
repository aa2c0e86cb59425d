//! llm-d's workload variant autoscaler, version 1, with one variant: slots in use stand for its KV cache.

use crate::simulate::policy::{Command, Policy, View};

const EVERY: f64 = 30.0;
/// A replica is saturated from here on.
const KV_LIMIT: f64 = 0.8;
const QUEUE_LIMIT: f64 = 5.0;

pub(super) struct Wva {
    kv_spare: f64,
    queue_spare: f64,
    zero_after: f64,
    last_request: f64,
    arrivals: u64,
    next: f64,
}

impl Wva {
    pub(super) fn new(kv_spare: f64, queue_spare: f64, zero_after: f64) -> Self {
        Self { kv_spare, queue_spare, zero_after, last_request: 0.0, arrivals: 0, next: 0.0 }
    }

    fn wanted(&self, pending: f64, in_work: f64, view: &View) -> u32 {
        let ready = f64::from(view.ready());
        let kv = in_work / (ready * f64::from(view.slots));
        let queue = pending / ready;
        let short = |kv: f64, queue: f64| KV_LIMIT - kv < self.kv_spare || QUEUE_LIMIT - queue < self.queue_spare;
        if short(kv, queue) {
            return view.desired + 1;
        }
        let fewer = ready / (ready - 1.0);
        if view.ready() >= 2 && !short(kv * fewer, queue * fewer) { view.desired - 1 } else { view.desired }
    }
}

impl Policy for Wva {
    fn tick(&mut self, view: &View) -> Command {
        let Some(broker) = &view.broker else { return view.keep(EVERY) };
        if broker.arrivals > self.arrivals || broker.pending + broker.in_work > 0 {
            self.arrivals = broker.arrivals;
            self.last_request = view.now;
        }
        if view.desired == 0 {
            let wanted = u32::from(broker.pending > 0);
            return Command { wakes: true, ..view.to(wanted, EVERY) };
        }
        if view.now < self.next {
            return view.keep(self.next - view.now);
        }
        self.next = view.now + EVERY;
        if view.now - self.last_request > self.zero_after {
            return Command { wakes: true, ..view.to(0, EVERY) };
        }
        let in_transition = !view.starting.is_empty() || view.ready() != view.desired;
        if in_transition || view.ready() == 0 {
            return view.keep(EVERY);
        }
        view.to(self.wanted(broker.pending as f64, broker.in_work as f64, view), EVERY)
    }

    fn restart(&mut self) {
        self.last_request = self.next;
    }
}
