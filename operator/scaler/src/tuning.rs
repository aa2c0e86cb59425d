//! Constants of the decision that stand for a judgement and might be others. Nobody sets them: a user has the target, and the
//! same values are to do for every pool. The comparison puts others in their place, to see what hangs on each and whether those
//! that there are were fitted to the traces that are reported.

/// Constants that might be others.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// How much of the time that pods may let tasks queue for slots is used: 1 is what follows from the target and the cold start.
    pub patience: f64,
    /// Care is aimed at this share of the tasks that may be late: what is learned comes after the first tasks were late.
    pub aim: f64,
    /// What a task in time may cost at least, in cold starts, for a promise of 99 of 100.
    pub least_price: f64,
    /// How far below 0 the care may fall where targets are shorter than a cold start. Further down, a burst would find the pool
    /// too careless.
    pub credit: f64,
    /// What a late task costs, as a part of its price, when it is weighed whether to start a pod.
    pub starting: f64,
    /// The same, when it is weighed how long to keep one.
    pub keeping: f64,
    /// Cold starts that a change of direction fewer may cost: beyond, calm is dearer than what it saves.
    pub dearest_calm: f64,
    /// Further cold starts that each return to a pod that is gone is taken to cost.
    pub a_return: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            patience: 1.0,
            aim: 0.75,
            least_price: 0.2,
            credit: 0.3,
            starting: 1.0,
            keeping: 1.0,
            dearest_calm: 1.0,
            a_return: 0.0,
        }
    }
}
