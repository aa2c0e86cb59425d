//! Always the same number of pods: as many as the busiest moment needs.

use crate::simulate::{
    chain::Chain,
    engine::World,
    policy::{Command, Policy, View},
};

pub(super) struct Fixed(pub(super) u32);

impl Policy for Fixed {
    fn tick(&mut self, view: &View) -> Command {
        view.to(self.0, f64::INFINITY)
    }

    fn restart(&mut self) {}
}

/// Pods that hold all tasks of the busiest moment, were none to wait.
pub fn peak(chain: &Chain, stage: usize, world: &World) -> u32 {
    let mut ends: Vec<f64> = Vec::new();
    let mut most = 0;
    for (document, &arrival) in chain.arrivals.iter().enumerate() {
        if !chain.takes(stage, document as u32) {
            continue;
        }
        ends.retain(|end| *end > arrival);
        ends.push(arrival + chain.service(stage, document as u32));
        most = most.max(ends.len());
    }
    (most as u32).div_ceil(world.slots).clamp(1, world.max_replicas)
}
