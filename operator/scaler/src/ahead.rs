//! Tasks that are yet to come and must then start by a certain time: in which part of the time there is least room for them.
//! Knows not where they come from.
//!
//! A task that comes in a minute cannot use what is free until then. So each latest start is looked at together with that moment
//! before it from which on most is to be started for the time that is left.

use crate::observation::DeadlineAhead;

/// Tasks that come together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Coming {
    /// Seconds until they can start.
    pub(crate) from: f64,
    /// Seconds until they must.
    pub(crate) due: f64,
    /// How many are expected.
    pub(crate) tasks: f64,
    /// How probable it is that each comes.
    pub(crate) probability: f64,
}

/// A stretch of time and what is to be started in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Stretch {
    /// Seconds until it begins.
    pub(crate) from: f64,
    /// Tasks that must start in it.
    pub(crate) tasks: f64,
    /// Variance of that number.
    pub(crate) variance: f64,
}

impl Coming {
    /// As it is seen at `now`, the first due first.
    pub(crate) fn of(ahead: &[DeadlineAhead], now: f64) -> Vec<Self> {
        let coming = |it: &DeadlineAhead| {
            let due = (it.start_by - now).max(0.0);
            let tasks = it.tasks * it.probability;
            Self { from: (it.at - now).clamp(0.0, due), due, tasks, probability: it.probability }
        };
        let mut all: Vec<Self> = ahead.iter().map(coming).collect();
        all.sort_by(|one, other| one.due.total_cmp(&other.due));
        all
    }
}

/// The stretch up to `due` in which there is least room; `queued` tasks wait already and go first.
pub(crate) fn tightest(coming: &[Coming], due: f64, queued: f64, service: f64) -> Stretch {
    let begins = coming.iter().map(|it| it.from).filter(|from| *from > 0.0 && *from <= due);
    std::iter::once(0.0)
        .chain(begins)
        .map(|from| {
            let within = coming.iter().filter(|it| it.from >= from && it.due <= due);
            let first = Stretch { from, tasks: if from > 0.0 { 0.0 } else { queued }, variance: 0.0 };
            within.fold(first, |sum, it| Stretch {
                tasks: sum.tasks + it.tasks,
                variance: sum.variance + it.tasks * (1.0 - it.probability),
                ..sum
            })
        })
        .max_by(|one, other| {
            let slots = |stretch: &Stretch| stretch.tasks / starts(due - stretch.from, service);
            slots(one).total_cmp(&slots(other))
        })
        .unwrap_or_default()
}

/// The fewest pods that can start in time all that is due within `horizon`, were they ready when it comes.
pub(crate) fn fewest(coming: &[Coming], horizon: f64, service: f64, slots: f64) -> u32 {
    let due = coming.iter().map(|it| it.due).filter(|due| *due <= horizon);
    let most = due.fold(0.0_f64, |most, due| {
        let stretch = tightest(coming, due, 0.0, service);
        most.max(stretch.tasks / starts(due - stretch.from, service))
    });
    (most / slots).ceil() as u32
}

/// Tasks that one slot can start in that time: one at once, and one after each that ends.
pub(crate) fn starts(seconds: f64, service: f64) -> f64 {
    // Differences of times are not exact.
    1.0 + (seconds / service + 1e-6).floor().max(0.0)
}
