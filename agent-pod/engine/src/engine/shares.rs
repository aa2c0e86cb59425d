//! Who runs next: start-time fair queueing, where each lane's time counts less the higher its class. A lane that was
//! idle gets no credit for it, and one that is busy never waits forever.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::settings::Class;

/// Time that each lane has used, weighted.
pub(crate) struct Shares<Lane> {
    used: HashMap<Lane, f64>,
    /// The weighted time at which the lane now running began; newcomers start here.
    now: f64,
}

impl<Lane: Copy + Eq + Hash> Shares<Lane> {
    pub(crate) fn new() -> Self {
        Self { used: HashMap::new(), now: 0.0 }
    }

    /// The lane that is due among those with work; of equals, the highest class.
    pub(crate) fn pick(&mut self, lanes: impl Iterator<Item = (Lane, Class)>) -> Option<(Lane, Class)> {
        let due = lanes
            .map(|(lane, class)| (self.start(lane), class, lane))
            .min_by(|left, right| left.0.total_cmp(&right.0).then_with(|| right.1.cmp(&left.1)));
        let (start, class, lane) = due?;
        self.now = start;
        Some((lane, class))
    }

    /// Notes what a lane has used since it was picked.
    pub(crate) fn charge(&mut self, lane: Lane, class: Class, cost: Duration) {
        let start = self.start(lane);
        self.used.insert(lane, start + cost.as_secs_f64() / weight(class));
    }

    fn start(&self, lane: Lane) -> f64 {
        self.used.get(&lane).copied().unwrap_or(0.0).max(self.now)
    }
}

/// Under contention interactive work gets 16/21 of the device, bulk 1/21.
fn weight(class: Class) -> f64 {
    match class {
        Class::Interactive => 16.0,
        Class::Normal => 4.0,
        Class::Bulk => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    #[test]
    fn busy_lanes_share_by_weight_and_none_starves() {
        let mut shares = Shares::new();
        let lanes = [("bulk", Class::Bulk), ("normal", Class::Normal), ("interactive", Class::Interactive)];
        let mut turns = HashMap::new();
        for _ in 0..2100 {
            let (lane, class) = shares.pick(lanes.into_iter()).expect("lanes have work");
            shares.charge(lane, class, STEP);
            *turns.entry(lane).or_insert(0) += 1;
        }
        assert!((95..=105).contains(&turns["bulk"]), "{turns:?}");
        assert!((390..=410).contains(&turns["normal"]), "{turns:?}");
    }

    #[test]
    fn an_idle_lane_saves_up_no_credit() {
        let mut shares = Shares::new();
        for _ in 0..100 {
            shares.pick([("early", Class::Normal)].into_iter());
            shares.charge("early", Class::Normal, STEP);
        }
        let both = [("early", Class::Normal), ("late", Class::Normal)];
        let late = (0..20).filter(|_| {
            let (lane, class) = shares.pick(both.into_iter()).expect("lanes have work");
            shares.charge(lane, class, STEP);
            lane == "late"
        });
        assert!(late.count() <= 11);
    }

    #[test]
    fn a_newcomer_of_a_higher_class_runs_next() {
        let mut shares = Shares::new();
        shares.pick([("bulk", Class::Bulk)].into_iter());
        shares.charge("bulk", Class::Bulk, STEP);
        let both = [("bulk", Class::Bulk), ("interactive", Class::Interactive)];
        assert_eq!(shares.pick(both.into_iter()), Some(("interactive", Class::Interactive)));
    }
}
