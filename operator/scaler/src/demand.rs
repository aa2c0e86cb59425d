//! How many pods must be ready by when, so that every task starts in time. Knows neither bounds nor what pods cost.

/// The horizon is looked at in so many steps: finer than pods can be started.
const STEPS: usize = 24;

/// Tasks by when they must start, in seconds from now.
pub(crate) struct Demand {
    /// (due, tasks), in any order.
    pub(crate) due: Vec<(f64, f64)>,
    /// (first due, over, tasks): they come evenly.
    pub(crate) spread: Vec<(f64, f64, f64)>,
    /// Arrivals a second that are expected to go on.
    pub(crate) rate: f64,
    /// Seconds that an arrival may wait.
    pub(crate) wait: f64,
    /// Standard deviations of arrivals to be ready for, times the square root of their dispersion.
    pub(crate) headroom: f64,
}

/// Slots and when they become free.
pub(crate) struct Supply {
    /// Free slots of ready pods.
    pub(crate) free: f64,
    /// Slots in use.
    pub(crate) busy: f64,
    /// Seconds that a task is in work.
    pub(crate) service: f64,
    /// (seconds until ready, slots) of pods that are starting.
    pub(crate) starting: Vec<(f64, f64)>,
}

/// How pods start.
pub(crate) struct Start {
    /// Seconds after which a pod that is asked for now is ready for certain, or nearly so.
    pub(crate) at_the_latest: f64,
    /// Seconds after which it is likely to be.
    pub(crate) likely: f64,
    /// Seconds over which a backlog that is late whatever is done is to be worked off.
    pub(crate) drain: f64,
    /// Tasks that one pod works on at once.
    pub(crate) slots: f64,
    /// Whether to wait with a start until the target could not be met otherwise.
    pub(crate) patience: bool,
}

/// Pods to start now.
pub(crate) struct Order {
    pub(crate) pods: u32,
    /// Seconds from now after which pods must be asked for if nothing changes.
    pub(crate) again_in: Option<f64>,
}

impl Demand {
    /// Tasks that must have started `t` seconds from now.
    pub(crate) fn by(&self, t: f64) -> f64 {
        let due: f64 = self.due.iter().filter(|(due, _)| *due <= t).map(|(_, tasks)| tasks).sum();
        let spread: f64 = self
            .spread
            .iter()
            .map(|(first, over, tasks)| if t < *first { 0.0 } else { tasks * ((t - first) / over.max(1e-9)).min(1.0) })
            .sum();
        let expected = self.rate * (t - self.wait).max(0.0);
        due + spread + expected + self.headroom * expected.sqrt()
    }
}

impl Supply {
    /// Tasks that can have started `t` seconds from now.
    pub(crate) fn by(&self, t: f64) -> f64 {
        let again = (t - self.service).max(0.0) / self.service;
        let starting: f64 =
            self.starting.iter().filter(|(ready, _)| *ready <= t).map(|(ready, slots)| slots * (1.0 + (t - ready) / self.service)).sum();
        self.free * (1.0 + again) + self.busy * t / self.service + starting
    }
}

/// The pods that must be asked for now, because asking later would be too late.
pub(crate) fn order(demand: &Demand, supply: &Supply, start: &Start) -> Order {
    let horizon = start.at_the_latest.max(start.likely + start.drain) + 2.0;
    let times = || (0..=STEPS).map(|step| horizon * step as f64 / STEPS as f64);
    let short = |t: f64| demand.by(t) - supply.by(t);
    let Some(first) = times().find(|&t| short(t) > 1e-6) else {
        return Order { pods: 0, again_in: None };
    };
    // Half a step early, as the shortage may begin anywhere in the step before it was seen.
    let spare = first - horizon / STEPS as f64 - start.at_the_latest - 1.0;
    if start.patience && spare > 0.0 {
        return Order { pods: 0, again_in: Some(spare) };
    }
    let hopeless = times().filter(|&t| t < start.likely).map(short).fold(0.0, f64::max);
    let until = if hopeless > 0.0 { horizon } else { start.at_the_latest.max(first) + 2.0 };
    let pods = times()
        .filter(|&t| t >= start.likely && t <= until)
        .map(|t| {
            let after = t - start.likely;
            let late = hopeless * (1.0 - after / start.drain.max(1e-9)).max(0.0);
            (short(t) - late) / (start.slots * (1.0 + after / supply.service))
        })
        .fold(0.0, f64::max);
    let pods = if pods > 1e-6 || hopeless <= 1e-6 { pods } else { 0.0 };
    Order { pods: whole(pods), again_in: None }
}

/// The fewest of the ready pods that can start all tasks in time, were they alone.
pub(crate) fn fewest(demand: &Demand, busy: f64, service: f64, slots: f64) -> u32 {
    let held = busy / slots;
    let needed = demand.due.iter().map(|(due, _)| {
        let t = due.max(0.0);
        (demand.by(t) - busy * t / service + busy) / slots
    });
    whole(needed.fold(held, f64::max))
}

fn whole(pods: f64) -> u32 {
    // A slot more or less by rounding is not worth a pod.
    (pods - 1e-6).ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}
