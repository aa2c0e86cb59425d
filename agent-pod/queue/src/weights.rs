//! Which class a pull serves next: shares by weight, none starves. Pure and deterministic.

use crate::Priority;

/// What the most urgent class pays for a turn; each other class pays more by as much as it weighs less.
const TURN: u64 = 8;

/// Remembers what each class of one pool has had (stride scheduling).
///
/// Every class has an account. The class that has paid least is served and pays `TURN / weight`, so while all classes
/// wait, shares follow the weights exactly. A class that comes back after a pause starts where the others stand: it has
/// no claim on turns that it did not want, and it waits for at most one turn of each more urgent class's share.
#[derive(Clone, Debug, Default)]
pub(crate) struct WeightedChoice {
    paid: [u64; 4],
    level: u64,
}

impl WeightedChoice {
    /// The class to serve, out of those that have something waiting (in the order of [`Priority::ALL`]).
    pub(crate) fn choose(&mut self, waiting: [bool; 4]) -> Option<Priority> {
        let (standing, class) = Priority::ALL
            .into_iter()
            .enumerate()
            .filter(|(class, _)| waiting[*class])
            .map(|(class, priority)| (self.paid[class].max(self.level), priority))
            .min_by_key(|(standing, _)| *standing)?;
        self.level = standing;
        self.paid[class as usize] = standing + TURN / u64::from(class.weight());
        Some(class)
    }

    /// Gives turns back that found nothing: the class was thought to wait and did not.
    pub(crate) fn refund(&mut self, class: Priority, turns: usize) {
        let paid = &mut self.paid[class as usize];
        *paid = paid.saturating_sub(TURN / u64::from(class.weight()) * turns as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_all_wait_shares_follow_the_weights_exactly() {
        let mut choice = WeightedChoice::default();
        let mut served = [0; 4];
        for _ in 0..150 {
            served[choice.choose([true; 4]).expect("all wait") as usize] += 1;
        }
        assert_eq!(served, [80, 40, 20, 10]);
    }

    #[test]
    fn a_class_that_paused_gets_no_backlog_of_turns() {
        let mut choice = WeightedChoice::default();
        for _ in 0..100 {
            choice.choose([true, false, false, false]);
        }
        let low = (0..90).filter(|_| choice.choose([true, false, false, true]) == Some(Priority::Low)).count();
        assert_eq!(low, 10);
    }

    #[test]
    fn a_class_that_is_asked_in_vain_loses_nothing() {
        let mut choice = WeightedChoice::default();
        for _ in 0..100 {
            assert_eq!(choice.choose([true; 4]).inspect(|class| choice.refund(*class, 1)), Some(Priority::Critical));
        }
        let mut served = [0; 4];
        for _ in 0..150 {
            served[choice.choose([true; 4]).expect("all wait") as usize] += 1;
        }
        assert_eq!(served, [80, 40, 20, 10]);
    }
}
