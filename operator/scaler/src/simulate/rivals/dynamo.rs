//! NVIDIA Dynamo's load planner in its easy mode: one replica more when all slots are taken, one fewer when few are.

use crate::simulate::policy::{Command, Policy, View};

const EVERY: f64 = 5.0;

pub(super) struct DynamoLoad {
    up: f64,
    down: f64,
}

impl DynamoLoad {
    pub(super) fn new(up: f64, down: f64) -> Self {
        Self { up, down }
    }
}

impl Policy for DynamoLoad {
    fn tick(&mut self, view: &View) -> Command {
        if view.desired == 0 {
            return view.to(1, EVERY);
        }
        let Some(broker) = &view.broker else { return view.keep(EVERY) };
        // No decision while scaling is in progress.
        if !view.starting.is_empty() || view.draining > 0 || view.ready() == 0 {
            return view.keep(EVERY);
        }
        let use_of_slots = (broker.pending + broker.in_work) as f64 / f64::from(view.ready() * view.slots);
        if use_of_slots > self.up {
            return view.to(view.desired + 1, EVERY);
        }
        if use_of_slots < self.down && view.desired > 1 {
            return view.to(view.desired - 1, EVERY);
        }
        view.keep(EVERY)
    }

    fn restart(&mut self) {}
}
