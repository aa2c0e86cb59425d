//! How many pods to start so that tasks start in time, weighing what pods cost against what late tasks do. Knows no bounds.
//!
//! A task that waits is started by the slots that are free, become free, or come with pods that are starting. How many that are
//! by a certain time is uncertain, because services and starts are; the chance that it is fewer than the tasks that are first
//! in line is the chance that the task is late. A further pod is worth starting if the late tasks that it saves are worth more
//! than its start.

use crate::ahead::{Coming, starts, tightest};

/// What a task that is late already is to wait at most, as parts of the time over which a late backlog is worked off.
const PARTS: usize = 4;
/// Starts and shortest stays of a pod that tasks that are late already are worth at least.
const WORTH_OVERDUE: f64 = 2.0;
/// Tasks that are due at once are told apart in so many parts at most.
const SPLIT: f64 = 16.0;
/// Fewer where there are many such moments, but no fewer than this.
const LEAST_SPLIT: f64 = 8.0;
/// Parts of all such moments together, as far as that leaves each its least.
const SPLITS: f64 = 64.0;
/// So few pods are always looked at.
const FEW: u32 = 8;
/// How many times the share that may be late may be so by one start that is put off, where the allowance is not used at all: few
/// tasks are ever at risk, so that is still few of all. At a promise of 99 of 100 it is as good as no bound.
const LEEWAY: f64 = 100.0;
/// Arrivals that are yet to come are looked at so many points of the horizon.
const AHEAD: usize = 6;
/// A queue that makes all late that come is looked at for so many shortest stays of a pod at most.
const STANDING: f64 = 4.0;
/// From a decision until it acts: the next reading at the latest.
const TICK: f64 = 1.5;

/// Tasks by when they must start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    /// (seconds from now, tasks), the first in line first.
    pub(crate) due: Vec<(f64, f64)>,
    /// (first due, over, tasks, probability of each) of tasks that come evenly.
    pub(crate) spread: Vec<(f64, f64, f64, f64)>,
    /// Tasks that come and must then start in time, the first due first.
    pub(crate) coming: Vec<Coming>,
    /// Tasks that wait and are started before those that come.
    pub(crate) queued: f64,
    /// Arrivals a second that are expected to go on.
    pub(crate) rate: f64,
    /// The part of them that comes for longer than a burst, and seconds in work of one of them.
    pub(crate) lasting: f64,
    pub(crate) service: f64,
    /// How much more arrivals vary than independent ones.
    pub(crate) dispersion: f64,
    /// Seconds that an arrival may wait.
    pub(crate) wait: f64,
}

/// Slots, and when they become free.
#[derive(Clone, Debug)]
pub(crate) struct Supply {
    /// Free slots of ready pods.
    pub(crate) free: f64,
    /// Slots in use, and by each kind of tasks with the seconds that such a task is in work.
    pub(crate) busy: f64,
    pub(crate) in_work: Vec<(f64, f64)>,
    /// Seconds that a task is in work that is started next.
    pub(crate) service: f64,
    /// Tasks that one pod works on at once.
    pub(crate) slots: f64,
    /// Ages of pods that are starting.
    pub(crate) starting: Vec<f64>,
    /// Square of the standard deviation over the mean of that time.
    pub(crate) spread: f64,
    /// (seconds, chance) of the time that pods take to start, the shortest first.
    pub(crate) starts: Vec<(f64, f64)>,
}

/// What is weighed.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    /// Pod-seconds that a task may cost to be in time rather than late.
    pub(crate) late: f64,
    /// Share of tasks that may be late because a start was put off.
    pub(crate) allowed: f64,
    /// How much of that share the tasks so far have left unused, from 0 to 1.
    pub(crate) unused: f64,
    /// Pod-seconds that a start costs.
    pub(crate) start: f64,
    /// Seconds over which a backlog that is late already is to be worked off.
    pub(crate) drain: f64,
    /// Seconds until a pod that is asked for now is likely to be ready.
    pub(crate) likely: f64,
    /// Seconds that a pod stays at least once it is ready.
    pub(crate) hold: f64,
    /// Whether to wait with a start while waiting costs less than it saves.
    pub(crate) patience: bool,
    /// Never more pods than this at once.
    pub(crate) most: u32,
}

/// Tasks that are late unless so many tasks have been started by a time.
struct Point {
    at: f64,
    /// They cannot be started before this.
    from: f64,
    rank: f64,
    /// Pod-seconds that it costs if they are.
    worth: f64,
    /// Variance of the rank.
    variance: f64,
    /// Whether no pod that is asked for now can be in time.
    overdue: bool,
}

/// The pods to start now.
pub(crate) fn order(demand: &Demand, supply: &Supply, weights: &Weights) -> u32 {
    let points = points(demand, weights, supply);
    let known: Vec<Likely> = points.iter().map(|point| supply.by(point.from, point.at)).collect();
    let short = points.iter().zip(&known).any(|(point, known)| chance(point, known) > 1e-3);
    if !short {
        return 0;
    }
    let fresh = |delay: f64| -> Vec<Likely> {
        points.iter().map(|point| supply.of(&supply.starts, point.from - delay, point.at - delay)).collect()
    };
    let now = fresh(TICK);
    let late = |pods: u32, fresh: &[Likely]| -> f64 {
        let of = |((point, known), fresh): ((&Point, &Likely), &Likely)| {
            point.worth * chance(point, &known.and(fresh, pods))
        };
        points.iter().zip(&known).zip(fresh).map(of).sum()
    };
    let mut best = (0, late(0, &now));
    for pods in candidates(&points, &known, &now, weights.most) {
        let cost = f64::from(pods) * weights.start + idle(demand, supply, weights, pods) + late(pods, &now);
        if cost < best.1 {
            best = (pods, cost);
        }
    }
    let (pods, _) = best;
    // What is late already, or will be for the most part, is not made to wait: there is nothing to gain by it.
    let overdue = points.iter().any(|point| point.overdue);
    let hopeful = late(pods, &now) <= 0.5 * late(0, &now);
    if pods > 0 && weights.patience && !overdue && hopeful {
        let later = fresh(2.0 * TICK);
        // Waiting saves little, so it is for tasks that are nearly sure not to be late by it, however cheap late tasks are: but
        // for as much of the allowance as is not used.
        let dear = (weights.start / weights.late).max(1.0).powf(1.0 - weights.unused);
        let loss = (late(pods, &later) - late(pods, &now)) * dear;
        let tasks: f64 = points.iter().map(|point| point.worth / weights.late).sum();
        let allowed = weights.allowed * LEEWAY.powf(weights.unused) * tasks;
        // Started later, the pods cost as much less as they start later.
        if loss < f64::from(pods) * TICK && late(pods, &later) <= allowed * weights.late {
            return 0;
        }
    }
    pods
}

/// Pod-seconds that pods that are asked for now are likely to have nothing to do while they have to stay.
fn idle(demand: &Demand, supply: &Supply, weights: &Weights, pods: u32) -> f64 {
    let here = (supply.free + supply.busy) / supply.slots + supply.starting.len() as f64;
    let load = demand.rate * supply.service / supply.slots;
    // Pods without which what arrives is more than is done are never idle.
    let spare = (f64::from(pods) - (load - here).max(0.0)).max(0.0);
    let tasks = demand.due.iter().map(|due| due.1).chain(demand.coming.iter().map(|it| it.tasks)).sum::<f64>();
    let waiting = tasks * supply.service / supply.slots;
    let left = (waiting + (load - here) * weights.start).max(0.0);
    let busy = left / (here + f64::from(pods) - load).max(0.1);
    spare * (weights.hold - busy).max(0.0)
}

/// Numbers of pods that may be best: a few, and for each point those that just suffice, as fewer may not help at all.
fn candidates(points: &[Point], known: &[Likely], fresh: &[Likely], most: u32) -> Vec<u32> {
    let mut candidates: Vec<u32> = (1..=FEW).collect();
    for ((point, known), fresh) in points.iter().zip(known).zip(fresh) {
        let short = point.rank - known.mean;
        if short > 0.0 && fresh.mean > 0.0 {
            let enough = (short / fresh.mean).ceil().min(f64::from(most)) as u32;
            let spare = (f64::from(enough)).sqrt().ceil() as u32;
            candidates.extend([enough, enough + 1, enough + spare, enough + 2 * spare]);
        }
    }
    candidates.iter_mut().for_each(|pods| *pods = (*pods).min(most));
    candidates.sort_unstable();
    candidates.dedup();
    candidates
}

/// The fewest of the ready pods that can start all tasks in time, were they alone; so many of the busy slots are freed a second.
pub(crate) fn fewest(demand: &Demand, busy: f64, freed: f64, slots: f64) -> u32 {
    let mut rank = 0.0;
    let mut most = busy / slots;
    for &(due, tasks) in &demand.due {
        rank += tasks;
        most = most.max((rank - freed * due.max(0.0) + busy) / slots);
    }
    // A slot more or less by rounding is not worth a pod.
    (most - 1e-6).ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}

impl Supply {
    /// The tasks that can have started from `from` until `t` seconds from now without further pods.
    fn by(&self, from: f64, t: f64) -> Likely {
        let of_free = if from > 0.0 { starts(t - from, self.service) } else { 1.0 + (t / self.service - 1.0).max(0.0) };
        let (mut certain, mut variance) = (self.free * of_free, 0.0);
        for &(slots, seconds) in &self.in_work {
            // Those that end before have nothing to do until then.
            let freed = (from / seconds).min(1.0);
            let begun = self.begun(t - from, seconds);
            certain += slots * (freed * of_free + (1.0 - freed) * begun);
            let first = ((t - from) / seconds).min(1.0);
            variance += slots * (first * (1.0 - first) + self.spread * (begun - first).max(0.0));
        }
        let mut likely = Likely { mean: certain, variance, certain, none: 1.0 };
        for &age in &self.starting {
            let longer = self.starts.iter().filter(|start| start.0 > age);
            let left: Vec<(f64, f64)> = longer.map(|&(start, chance)| (start - age, chance)).collect();
            let pod = if left.is_empty() {
                // Longer than ever seen: as if it began anew, and the less likely to come the longer it has hung.
                let longest = self.starts.last().map_or(age, |start| start.0);
                self.of(&self.starts, from, t).perhaps((longest / age).min(1.0))
            } else {
                self.of(&left, from, t)
            };
            likely = likely.and(&pod, 1);
        }
        likely
    }

    /// Tasks that a slot starts in that time in which a task is that takes so many seconds. What is left of it, seen at any
    /// moment, is taken to be exponential: then a slot whose tasks are all alike starts one for each time that one takes.
    fn begun(&self, time: f64, seconds: f64) -> f64 {
        let freed = 1.0 - (-time / seconds).exp();
        time / self.service + freed * (1.0 - seconds / self.service)
    }

    /// Tasks that a slot starts after its first one in the time of so many services: where all take as long, as many as end in it;
    /// where they vary as exponential ones do, as many as end in it on average (Ross, Introduction to Probability Models, 7.3).
    fn renewed(&self, services: f64) -> f64 {
        let even = (1.0 - self.spread).max(0.0);
        // Differences of times are not exact.
        even * (services + 1e-6).floor() + (1.0 - even) * services
    }

    /// What one pod adds in that time, whose remaining times to ready are those.
    fn of(&self, readies: &[(f64, f64)], from: f64, t: f64) -> Likely {
        let tasks = |ready: f64| match ready {
            ready if ready > t => 0.0,
            ready if from > 0.0 => self.slots * starts(t - ready.max(from), self.service),
            ready => self.slots * (1.0 + self.renewed((t - ready) / self.service)),
        };
        let all = readies.iter().map(|ready| ready.1).sum::<f64>().max(f64::MIN_POSITIVE);
        let mean = readies.iter().map(|&(ready, chance)| chance * tasks(ready)).sum::<f64>() / all;
        let square = readies.iter().map(|&(ready, chance)| chance * tasks(ready).powi(2)).sum::<f64>() / all;
        let none = readies.iter().filter(|ready| ready.0 > t).map(|ready| ready.1).sum::<f64>() / all;
        Likely { mean, variance: (square - mean * mean).max(0.0), certain: 0.0, none }
    }
}

/// How many tasks can have been started by a time.
#[derive(Clone, Copy, Debug)]
struct Likely {
    mean: f64,
    variance: f64,
    /// Without any pod that is starting.
    certain: f64,
    /// The chance that no pod that is starting is ready.
    none: f64,
}

impl Likely {
    /// The same, if it comes at all with such a chance.
    fn perhaps(self, chance: f64) -> Self {
        let square = self.variance + self.mean * self.mean;
        let mean = chance * self.mean;
        Self {
            mean,
            variance: (chance * square - mean * mean).max(0.0),
            none: 1.0 - chance * (1.0 - self.none),
            ..self
        }
    }

    fn and(&self, other: &Self, pods: u32) -> Self {
        let count = f64::from(pods);
        Self {
            mean: self.mean + count * other.mean,
            variance: self.variance + count * other.variance,
            certain: self.certain + count * other.certain,
            none: self.none * other.none.powi(pods.min(1_000) as i32),
        }
    }
}

impl Demand {
    /// Seconds for which tasks that come find so many in line before them that they are late, if no further pods are asked for.
    /// Each of these alone is too late for a pod that is asked for then.
    fn stands(&self, queued: f64, supply: &Supply) -> f64 {
        let slots = supply.free + supply.busy + supply.starting.len() as f64 * supply.slots;
        if self.lasting <= 0.0 || self.service <= 0.0 || slots <= 0.0 {
            return 0.0;
        }
        let done = slots / self.service;
        let too_many = queued - done * self.wait;
        if too_many <= 0.0 { 0.0 } else { too_many / (done - self.lasting).max(f64::MIN_POSITIVE) }
    }
}

fn points(demand: &Demand, weights: &Weights, supply: &Supply) -> Vec<Point> {
    let mut points = Vec::with_capacity(demand.due.len() + PARTS + AHEAD);
    let mut rank = 0.0;
    let mut overdue = 0.0;
    // Before the quickest start, further pods help nobody.
    let first = supply.starts.first().map_or(0.0, |start| start.0);
    let most = (SPLITS / demand.due.len() as f64).clamp(LEAST_SPLIT, SPLIT);
    for &(due, tasks) in &demand.due {
        if due <= first + TICK && due <= weights.likely {
            rank += tasks;
            overdue = rank;
            continue;
        }
        // Of many tasks that are due at once, some pods help some.
        let split = (tasks / supply.slots).ceil().clamp(1.0, most);
        for _ in 0..split as u32 {
            rank += tasks / split;
            points.push(Point {
                at: due,
                from: 0.0,
                rank,
                worth: tasks / split * weights.late,
                variance: 0.0,
                overdue: false,
            });
        }
    }
    // What all pods together cannot work off in that time takes longer.
    let all =
        supply.slots * (supply.free / supply.slots + supply.busy / supply.slots + f64::from(weights.most)).max(1.0);
    let drain = weights.drain.max(1.25 * overdue * supply.service / all);
    for part in 1..=PARTS {
        let share = part as f64 / PARTS as f64;
        // Once late, a task is worth a pod of its own, with all that the pod costs: none waits for ever because it is too late
        // anyway.
        let worth = (overdue * weights.late)
            .max(2.0 * PARTS as f64 * weights.start)
            .max(WORTH_OVERDUE * (weights.start + weights.hold));
        if overdue > 0.0 {
            let at = weights.likely + drain * share;
            points.push(Point {
                at,
                from: 0.0,
                rank: (overdue * share).max(1.0),
                worth: worth / PARTS as f64,
                variance: 0.0,
                overdue: true,
            });
        }
    }
    for &(first, over, all, probability) in &demand.spread {
        let tasks = all * probability;
        for part in 1..=PARTS {
            let share = part as f64 / PARTS as f64;
            let at = (first + over * share).max(0.0);
            let worth = weights.late * tasks / PARTS as f64;
            points.push(Point {
                at,
                from: 0.0,
                rank: rank + tasks * share,
                worth,
                variance: tasks * share * (1.0 - probability),
                overdue: false,
            });
        }
        rank += tasks;
    }
    points.extend(demand.coming.iter().flat_map(|it| coming(demand, it, weights, supply)));
    // Arrivals that may wait until pods are ready that are asked for when they come need none now, unless they find a queue.
    let unhelped = (supply.starts.last().map_or(0.0, |start| start.0) - demand.wait).max(0.0);
    let horizon = unhelped.max(demand.stands(rank, supply).min(STANDING * weights.hold));
    let mut before = 0.0;
    for part in 1..=AHEAD {
        let ahead = horizon * part as f64 / AHEAD as f64;
        let expected = demand.rate * ahead.min(unhelped) + demand.lasting * (ahead - unhelped).max(0.0);
        if expected > before {
            points.push(Point {
                at: demand.wait + ahead,
                from: 0.0,
                rank: rank + expected,
                worth: weights.late * (expected - before),
                variance: demand.dispersion * expected,
                overdue: false,
            });
            before = expected;
        }
    }
    points
}

/// Tasks that are yet to come. Those for which a pod that is asked for now is likely to be too late are to start soon after it is
/// there: it is not put off until they have come and are late.
fn coming(demand: &Demand, it: &Coming, weights: &Weights, supply: &Supply) -> Vec<Point> {
    let stretch = tightest(&demand.coming, it.due, demand.queued, supply.service);
    let split = (it.tasks / supply.slots).ceil().clamp(1.0, LEAST_SPLIT);
    let at = if it.due < weights.likely { weights.likely + weights.start } else { it.due };
    let point = |part: u32| Point {
        at,
        from: stretch.from,
        rank: stretch.tasks - it.tasks * (1.0 - f64::from(part) / split),
        worth: it.tasks / split * weights.late,
        variance: stretch.variance,
        overdue: false,
    };
    (1..=split as u32).map(point).collect()
}

/// The chance that fewer tasks than the rank have been started.
fn chance(point: &Point, likely: &Likely) -> f64 {
    let short = point.rank - 0.5 - likely.mean;
    let deviation = (likely.variance + point.variance).sqrt();
    // Few pods are not distributed normally: with none of them ready, a task that needs one is late.
    let least = if point.rank - 0.5 > likely.certain { likely.none } else { 0.0 };
    if deviation < 1e-6 {
        return f64::from(u8::from(short > 0.0)).max(least);
    }
    // The logistic function is close enough to the normal distribution, and quick.
    (1.0 / (1.0 + (-1.702 * short / deviation).exp())).max(least)
}
