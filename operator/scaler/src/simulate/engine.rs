//! The simulation: tasks arrive, wait, are worked on by pods; pods start, work and go; policies are asked in between.
//!
//! Knows no policy by name. Waits are from a task's arrival at a stage to the first start of its service there.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::{
    chain::Chain,
    course::Course,
    faults::{Fault, Faults},
    outcome::{Outcome, Steps, quantile},
    policy::Policy,
    pool::Pool,
};
use crate::ColdStart;

/// What is the same for all policies.
#[derive(Clone, Debug)]
pub struct World {
    /// Seconds that a task may wait.
    pub slo: f64,
    /// Never more pods in a pool.
    pub max_replicas: u32,
    /// Tasks that one pod works on at once.
    pub slots: u32,
    /// How long pods take to start.
    pub cold_start: ColdStart,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What random numbers follow from.
    pub seed: u64,
}

/// A run's outcome and, where it was asked for, its course.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// What came of it.
    pub outcome: Outcome,
    /// (seconds, waiting tasks and tasks in work, pods) at changes, and at the end.
    pub course: Vec<(f64, u64, u32)>,
}

/// A policy that never brings the pods that are needed would go on for ever; so many seconds after the last arrival, and as long
/// as a document may be in work, it is cut off, and what waits then is late.
const CUT_OFF: f64 = 4.0 * 3_600.0;
/// The same beside what a task may wait and the longest start, where these are longer.
const SPARE: f64 = 600.0;
/// From the first publish to a sleeping pool to the autoscaler's look at it.
const WAKE: f64 = 0.1;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    Ready { pod: usize },
    Done { pod: usize, task: u32 },
    Killed { pod: usize },
    Tick { generation: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) at: f64,
    order: u64,
    stage: usize,
    what: What,
}

impl Eq for Event {}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first: earlier is greater.
        other.at.total_cmp(&self.at).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What is yet to happen.
#[derive(Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Event>,
    order: u64,
    /// Events of work, as opposed to looks of policies.
    pub(crate) working: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: f64, stage: usize, what: What) {
        self.order += 1;
        self.working += u64::from(!matches!(what, What::Tick { .. }));
        self.heap.push(Event { at, order: self.order, stage, what });
    }

    fn next(&mut self) -> Option<Event> {
        let event = self.heap.pop()?;
        self.working -= u64::from(!matches!(event.what, What::Tick { .. }));
        Some(event)
    }
}

/// Runs documents through a chain whose stages are scaled by one policy each.
pub fn run(chain: &Chain, world: &World, mut policies: Vec<Box<dyn Policy>>, record: bool) -> Run {
    let last_arrival = chain.arrivals.last().copied().unwrap_or(0.0);
    // A pod that is asked for at the last moment in which that is in time is waited for.
    let patience = CUT_OFF.max(world.slo + world.cold_start.quantile(1.0) + SPARE);
    let cut_off = last_arrival + patience + chain.longest();
    let mut simulation = Simulation::new(chain, world, record.then(|| Course::new(cut_off - chain.began)));
    for (stage, policy) in policies.iter_mut().enumerate() {
        simulation.tick(stage, policy.as_mut());
    }
    simulation.record();
    let mut next_document = 0;
    loop {
        let event_at = simulation.agenda.heap.peek().map(|event| event.at);
        let arrival = chain.arrivals.get(next_document).copied();
        let arrives = arrival.is_some_and(|arrival| event_at.is_none_or(|at| arrival <= at));
        if let (true, Some(arrival)) = (arrives, arrival) {
            simulation.now = arrival;
            for &stage in &chain.first {
                simulation.arrive(stage, next_document as u32);
            }
            next_document += 1;
            simulation.record();
            continue;
        }
        let Some(event) = simulation.agenda.next() else { break };
        if event.at > cut_off {
            simulation.now = cut_off;
            break;
        }
        simulation.now = event.at;
        simulation.happen(event, &mut policies);
        simulation.record();
        if next_document == chain.arrivals.len() && simulation.open == 0 {
            break;
        }
    }
    simulation.finish(last_arrival)
}

struct Simulation<'a> {
    chain: &'a Chain,
    world: &'a World,
    pools: Vec<Pool>,
    agenda: Agenda,
    faults: Faults,
    now: f64,
    /// Tasks that arrived and are not done.
    open: u64,
    /// For each document, which stages are done, as bits.
    done: Vec<u32>,
    restarts: Vec<u64>,
    course: Option<Course>,
}

impl<'a> Simulation<'a> {
    fn new(chain: &'a Chain, world: &'a World, course: Option<Course>) -> Self {
        let stages = chain.stages.len();
        Self {
            chain,
            world,
            pools: (0..stages).map(|stage| Pool::new(stage, world, chain.began)).collect(),
            agenda: Agenda::default(),
            faults: Faults::new(&world.faults, world.seed),
            now: chain.began,
            open: 0,
            done: vec![0; chain.arrivals.len()],
            restarts: vec![0; stages],
            course,
        }
    }

    fn happen(&mut self, event: Event, policies: &mut [Box<dyn Policy>]) {
        let stage = event.stage;
        match event.what {
            What::Tick { generation } => {
                if self.pools[stage].ticks == generation {
                    self.tick(stage, policies[stage].as_mut());
                }
            }
            What::Ready { pod } => {
                self.pools[stage].ready(pod, self.now);
                self.dispatch(stage);
            }
            What::Killed { pod } => {
                let interrupted = self.pools[stage].kill(pod, self.now);
                if interrupted > 0 {
                    self.dispatch(stage);
                }
            }
            What::Done { pod, task } => {
                let service = self.chain.service(stage, task);
                if self.pools[stage].done(pod, task, service, self.now) {
                    self.open -= 1;
                    self.hand_on(stage, task);
                    self.dispatch(stage);
                }
            }
        }
    }

    fn arrive(&mut self, stage: usize, document: u32) {
        if !self.chain.takes(stage, document) {
            // The branch was not taken: what comes after goes on without it.
            self.hand_on(stage, document);
            return;
        }
        self.open += 1;
        self.pools[stage].arrive(document, self.chain.size(stage, document), self.now);
        self.dispatch(stage);
        for other in 0..self.chain.stages.len() {
            let concerned = other == stage || self.chain.stages[other].ways.iter().any(|way| way.from == stage);
            let pool = &self.pools[other];
            if concerned && pool.wakes && pool.next_tick > self.now + WAKE {
                self.look_at(other, self.now + WAKE);
            }
        }
    }

    fn hand_on(&mut self, stage: usize, document: u32) {
        self.done[document as usize] |= 1 << stage;
        let done = self.done[document as usize];
        for next in 0..self.chain.stages.len() {
            let after = &self.chain.stages[next].after;
            if after.contains(&stage) && after.iter().all(|before| done & (1 << before) != 0) {
                self.arrive(next, document);
            }
        }
    }

    fn dispatch(&mut self, stage: usize) {
        while let Some((task, pod)) = self.pools[stage].start_next(self.now, self.world.slo) {
            let service = self.chain.service(stage, task);
            self.agenda.add(self.now + service, stage, What::Done { pod, task });
        }
    }

    fn look_at(&mut self, stage: usize, at: f64) {
        let pool = &mut self.pools[stage];
        pool.ticks += 1;
        pool.next_tick = at;
        if at.is_finite() {
            self.agenda.add(at, stage, What::Tick { generation: pool.ticks });
        }
    }

    fn tick(&mut self, stage: usize, policy: &mut dyn Policy) {
        if let Some(until) = self.faults.away_until(self.now) {
            // The number of pods stays; whoever takes over looks first of all, and no arrival wakes it before.
            self.pools[stage].wakes = false;
            self.look_at(stage, until);
            return;
        }
        let restarts = self.faults.restarts(self.now);
        if restarts > self.restarts[stage] {
            self.restarts[stage] = restarts;
            policy.restart();
        }
        let foreseen = self.foreseen(stage);
        let pool = &mut self.pools[stage];
        pool.integrate(self.now);
        let gap = self.faults.holds(Fault::MetricsGap, self.now);
        let stale = self.faults.holds(Fault::Stale, self.now);
        let command = pool.ask(policy, foreseen, gap, stale, self.now);
        let cap = if self.faults.holds(Fault::Capacity, self.now) {
            self.world.max_replicas.div_ceil(2)
        } else {
            self.world.max_replicas
        };
        pool.apply(command, policy, cap, self.now, &mut self.agenda);
        let at = if command.again_at > self.now { command.again_at } else { self.now + 1.0 };
        self.pools[stage].wakes = command.wakes;
        self.look_at(stage, at);
        self.dispatch(stage);
    }

    /// (first arrival, over, tasks, probability) of what earlier stages will hand on.
    fn foreseen(&self, stage: usize) -> Vec<(f64, f64, f64, f64)> {
        let mut foreseen = Vec::new();
        for way in &self.chain.stages[stage].ways {
            let before = &self.pools[way.from];
            let between: f64 = way.through.iter().map(|&stage| self.pools[stage].mean_service()).sum();
            let service = before.mean_service();
            let (pending, in_work) = before.counts();
            if in_work > 0 {
                // Those that began first come first; how far apart they come is how far apart they began, and some chance.
                let (longest, shortest) = before.elapsed(self.now);
                let first = self.now + (service - longest).max(0.0) + between;
                foreseen.push((first, longest - shortest + 0.3 * service, in_work as f64, way.probability));
            }
            if pending > 0 {
                let slots = f64::from(self.world.slots) * f64::from(before.ready_pods().max(1));
                let over = service * (pending as f64 / slots).max(1.0);
                foreseen.push((self.now + between + service, over, pending as f64, way.probability));
            }
        }
        foreseen
    }

    fn record(&mut self) {
        let Some(course) = &mut self.course else { return };
        let tasks = self.pools.iter().map(|pool| pool.counts()).map(|(pending, in_work)| pending + in_work).sum();
        let pods = self.pools.iter().map(Pool::pods).sum();
        course.add(self.now, tasks, pods);
    }

    fn finish(self, last_arrival: f64) -> Run {
        let end = self.now.max(last_arrival);
        let mut waits = Vec::new();
        let mut outcome = Outcome::default();
        let mut steps = Steps::default();
        let mut slowest = Outcome::default();
        for pool in self.pools {
            let of = pool.finish(end, &mut waits);
            outcome.pod_seconds += of.pod_seconds;
            outcome.cold_starts += of.cold_starts;
            outcome.interrupted += of.interrupted;
            outcome.time_at_zero += of.time_at_zero;
            outcome.unstarted += of.unstarted as f64;
            outcome.late += of.late as f64;
            // A pipeline flaps as much as its worst pool.
            let mut own = Outcome::default();
            of.steps.describe(&mut own, self.chain.began, end);
            steps.changes += of.steps.changes;
            outcome.hasty_reversals += own.hasty_reversals;
            slowest.reversals_per_hour = slowest.reversals_per_hour.max(own.reversals_per_hour);
            slowest.reversals_median_hour = slowest.reversals_median_hour.max(own.reversals_median_hour);
        }
        outcome.changes = steps.changes as f64;
        outcome.reversals_per_hour = slowest.reversals_per_hour;
        outcome.reversals_median_hour = slowest.reversals_median_hour;
        waits.sort_by(f64::total_cmp);
        outcome.slo_attainment = 1.0 - outcome.late / waits.len().max(1) as f64;
        outcome.wait_p50 = quantile(&waits, 0.5);
        outcome.wait_p95 = quantile(&waits, 0.95);
        outcome.wait_p99 = quantile(&waits, 0.99);
        Run { outcome, course: self.course.map_or(Vec::new(), |course| course.until(end)) }
    }
}
