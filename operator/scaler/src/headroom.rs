//! Pods that a load keeps busy all the time, and those beyond that are worth it so that chance makes few tasks late. Knows
//! nothing of the pods that are there.
//!
//! Where pods come in time for tasks that are first seen to queue, a load needs no more pods than it fills. Where a start takes
//! longer than a task may wait, whoever queues for a pod that is started then is late, so there must be somebody already. How
//! many tasks wait for too long is told by the Erlang C formula, corrected for services that vary more or less than exponential
//! ones (Allen, Probability, Statistics, and Queueing Theory, 2nd ed., 5.3: the approximation of Allen and Cunneen).

use crate::promise::Broken;

/// Starts that take too long at least, of all: with fewer, pods come in time.
const OFTEN_TOO_LATE: f64 = 0.3;
/// More slots than this, and chance evens out.
const MANY: f64 = 10_000.0;

/// A load, and what it is worth that none of its tasks waits for long.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Arrivals a second.
    pub(crate) rate: f64,
    /// Slots in use on average.
    pub(crate) busy: f64,
    /// Seconds that a task is in work.
    pub(crate) service: f64,
    /// Square of the standard deviation over the mean of services.
    pub(crate) spread: f64,
    /// Tasks that one pod works on at once.
    pub(crate) slots: f64,
    /// Seconds that a task may wait.
    pub(crate) wait: f64,
    /// The chance that a start takes longer.
    pub(crate) too_late: f64,
    /// Pod-seconds that a late task costs.
    pub(crate) price: f64,
    /// What is to be done where more are late than are aimed at.
    pub(crate) broken: Option<Broken>,
}

impl Load {
    /// Pods that are to be there for as long as the load is what it is.
    pub(crate) fn pods(&self) -> u32 {
        let filled = (self.busy / self.slots).floor();
        if self.busy <= 0.0 || self.too_late <= OFTEN_TOO_LATE {
            return filled as u32;
        }
        let mut pods = filled + 1.0;
        // A pod-second a second is what a further pod costs.
        let saved = |pods: f64| self.rate * (self.late(pods) - self.late(pods + 1.0)) * self.too_late;
        let mends = |broken: Broken, pods: f64| {
            self.late(pods) * self.too_late > broken.allowed && saved(pods) * broken.price > 1.0
        };
        let worth = |pods: f64| saved(pods) * self.price > 1.0 || self.broken.is_some_and(|it| mends(it, pods));
        while pods * self.slots < MANY && worth(pods) {
            pods += 1.0;
        }
        pods as u32
    }

    /// The share of tasks that wait for too long with so many pods.
    fn late(&self, pods: f64) -> f64 {
        let slots = pods * self.slots;
        if self.busy >= slots {
            return 1.0;
        }
        // The Erlang B formula by its recursion, which never overflows.
        let blocked = (1..=slots as u32).fold(1.0, |blocked, slots| {
            let offered = self.busy * blocked;
            offered / (f64::from(slots) + offered)
        });
        let use_of_all = self.busy / slots;
        let waits = blocked / (1.0 - use_of_all * (1.0 - blocked));
        waits * (-2.0 / (1.0 + self.spread) * (slots - self.busy) * self.wait / self.service).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::Load;
    use crate::promise::Broken;

    fn load(busy: f64, wait: f64) -> Load {
        Load {
            rate: busy / 10.0,
            busy,
            service: 10.0,
            spread: 1.0,
            slots: 1.0,
            wait,
            too_late: 1.0,
            price: 1e-9,
            broken: None,
        }
    }

    #[test]
    fn tasks_wait_as_often_as_erlang_says() {
        // Published tables: 10 erlang and 14 servers, 17.4 % wait; one server waits as often as it is busy.
        assert!((load(10.0, 0.0).late(14.0) - 0.174).abs() < 5e-4);
        assert!((load(0.3, 0.0).late(1.0) - 0.3).abs() < 1e-9);
        // Exponential services: of those that wait, e^-((14 - 10) * 5 / 10) wait for more than 5 s.
        let (some, long) = (load(10.0, 0.0).late(14.0), load(10.0, 5.0).late(14.0));
        assert!((long / some - (-2.0_f64).exp()).abs() < 1e-9);
    }

    #[test]
    fn services_that_are_even_let_fewer_wait_for_long() {
        let even = Load { spread: 0.1, ..load(10.0, 5.0) };
        assert!(even.late(12.0) < load(10.0, 5.0).late(12.0));
    }

    #[test]
    fn pods_that_come_in_time_need_no_headroom() {
        let quick = Load { too_late: 0.2, price: 1e3, ..load(7.5, 5.0) };
        assert_eq!((quick.pods(), Load { too_late: 1.0, ..quick }.pods() > 8), (7, true));
    }

    #[test]
    fn cheap_late_tasks_are_worth_no_more_than_a_stable_queue() {
        assert_eq!((load(7.5, 5.0).pods(), load(8.0, 5.0).pods(), load(0.0, 5.0).pods()), (8, 9, 0));
    }

    #[test]
    fn the_dearer_late_tasks_are_the_more_pods_stay() {
        let with = |price: f64| Load { price, ..load(7.5, 5.0) }.pods();
        let pods: Vec<u32> = [1.0, 10.0, 100.0, 1e9].map(with).to_vec();
        assert!(pods.windows(2).all(|pair| pair[0] < pair[1]), "{pods:?}");
    }

    #[test]
    fn a_broken_promise_asks_for_as_many_as_keep_it() {
        let with = |price: f64| Load { broken: Some(Broken { allowed: 0.01, price }), ..load(7.5, 5.0) };
        let (mended, dear) = (with(1e3).pods(), with(0.1).pods());
        assert!(with(1e3).late(f64::from(mended)) <= 0.01 && with(1e3).late(f64::from(mended - 1)) > 0.01, "{mended}");
        assert_eq!(dear, load(7.5, 5.0).pods());
    }

    #[test]
    fn a_load_that_makes_no_sense_ends() {
        let absurd = Load { price: f64::INFINITY, service: 1e-9, ..load(1e9, 1e9) };
        assert_eq!(absurd.pods(), 1_000_000_001);
        assert!(Load { price: 1e300, ..load(9_000.0, 0.0) }.pods() <= 10_000);
    }
}
