//! One pool in the simulation: its queue, its pods, and what can be seen of them. Knows not what comes before or after.

use std::collections::{HashSet, VecDeque};

use super::{
    engine::{Agenda, What, World},
    outcome::Steps,
    policy::{Broker, Class, Command, Policy, View},
    random::Random,
};
use crate::{ColdStart, ColdStarts};

/// Classes of size that are told apart.
const CLASSES: usize = 12;
/// Services remembered of a class.
const REMEMBERED: f64 = 200.0;

struct Pod {
    created: f64,
    ready: bool,
    draining: bool,
    pulling: bool,
    /// (task, class of size, start)
    tasks: Vec<(u32, u8, f64)>,
}

pub(crate) struct Pool {
    stage: usize,
    slots: u32,
    max_replicas: u32,
    cold_start: ColdStart,
    mean_cold_start: f64,
    random: Random,
    /// Every pod that ever was; those that are gone are `None`.
    pods: Vec<Option<Pod>>,
    living: Vec<usize>,
    /// Pods that are asked for and find no place, since when.
    unplaced: Vec<f64>,
    desired: u32,
    queue: VecDeque<(u32, u8, f64)>,
    /// Tasks that began once and were interrupted: their wait is known.
    begun: HashSet<u32>,
    waits: Vec<f64>,
    classes: Vec<Class>,
    /// The integrals of what the broker tells of load and of work.
    load: f64,
    working: f64,
    integrated: f64,
    in_work: u64,
    arrivals: u64,
    finished: u64,
    late: u64,
    started_in: ColdStarts,
    distribution: Option<ColdStart>,
    stale: Option<Stale>,
    steps: Steps,
    pod_seconds: f64,
    interrupted: u64,
    at_zero: f64,
    pub(crate) ticks: u64,
    pub(crate) next_tick: f64,
    pub(crate) wakes: bool,
}

/// What the broker told when it began to tell nothing new.
struct Stale {
    classes: Vec<Class>,
    counts: [u64; 6],
    oldest_wait: Option<f64>,
}

/// What came of a pool.
pub(crate) struct Finished {
    pub(crate) pod_seconds: f64,
    pub(crate) cold_starts: f64,
    pub(crate) interrupted: f64,
    pub(crate) time_at_zero: f64,
    pub(crate) unstarted: u64,
    /// Tasks that started late, and those that did not start.
    pub(crate) late: u64,
    pub(crate) steps: Steps,
}

impl Pool {
    pub(crate) fn new(stage: usize, world: &World, began: f64) -> Self {
        Self {
            stage,
            slots: world.slots,
            max_replicas: world.max_replicas,
            cold_start: world.cold_start.clone(),
            mean_cold_start: world.cold_start.mean,
            random: Random::new(world.seed, 100 + stage as u64),
            pods: Vec::new(),
            living: Vec::new(),
            unplaced: Vec::new(),
            desired: 0,
            queue: VecDeque::new(),
            begun: HashSet::new(),
            waits: Vec::new(),
            classes: vec![Class::default(); CLASSES],
            load: 0.0,
            working: 0.0,
            integrated: began,
            in_work: 0,
            arrivals: 0,
            finished: 0,
            late: 0,
            started_in: ColdStarts::default(),
            distribution: None,
            stale: None,
            steps: Steps::default(),
            pod_seconds: 0.0,
            interrupted: 0,
            at_zero: 0.0,
            ticks: 0,
            next_tick: 0.0,
            wakes: false,
        }
    }

    pub(crate) fn arrive(&mut self, task: u32, size: u8, now: f64) {
        self.integrate(now);
        self.arrivals += 1;
        self.classes[usize::from(size)].pending += 1;
        self.queue.push_back((task, size, now));
    }

    /// The next task that waits and the pod that takes it, if there are both.
    pub(crate) fn start_next(&mut self, now: f64, slo: f64) -> Option<(u32, usize)> {
        if self.queue.is_empty() {
            return None;
        }
        let slots = self.slots as usize;
        let free = |pod: &Pod| pod.ready && !pod.draining && pod.pulling && pod.tasks.len() < slots;
        // Whoever has most free slots pulls first; among equals, who has been there longest.
        let living = self.living.iter().filter_map(|&id| self.pods[id].as_ref().map(|pod| (id, pod)));
        let (pod, _) = living.filter(|(_, pod)| free(pod)).min_by_key(|(id, pod)| (pod.tasks.len(), *id))?;
        self.integrate(now);
        let (task, size, arrived) = self.queue.pop_front()?;
        self.in_work += 1;
        let class = &mut self.classes[usize::from(size)];
        class.pending -= 1;
        class.in_work += 1;
        if !self.begun.remove(&task) {
            self.waits.push(now - arrived);
            self.late += u64::from(now - arrived > slo);
        }
        self.pods[pod].as_mut()?.tasks.push((task, size, now));
        Some((task, pod))
    }

    /// A task is done, if its pod still is.
    pub(crate) fn done(&mut self, pod: usize, task: u32, service: f64, now: f64) -> bool {
        let Some(worker) = &mut self.pods[pod] else { return false };
        let Some(place) = worker.tasks.iter().position(|&(other, ..)| other == task) else { return false };
        let (_, size, _) = worker.tasks.swap_remove(place);
        let gone = worker.draining && worker.tasks.is_empty();
        self.integrate(now);
        self.in_work -= 1;
        self.finished += 1;
        let weight = 1.0 / (self.finished as f64).min(REMEMBERED);
        self.classes.iter_mut().for_each(|class| class.share *= 1.0 - weight);
        let class = &mut self.classes[usize::from(size)];
        class.share += weight;
        class.in_work -= 1;
        class.count = (class.count + 1.0).min(REMEMBERED);
        let surprise = service - class.mean;
        class.mean += surprise / class.count;
        class.variance += (surprise * surprise - class.variance) / class.count;
        if gone {
            self.remove(pod, now);
        }
        true
    }

    pub(crate) fn ready(&mut self, pod: usize, now: f64) {
        let Some(pod) = &mut self.pods[pod] else { return };
        pod.ready = true;
        self.started_in.measured(now - pod.created);
        self.distribution = self.started_in.distribution();
    }

    /// Removes a pod whose grace is over and puts back what it was at; returns how many tasks that are.
    pub(crate) fn kill(&mut self, pod: usize, now: f64) -> u64 {
        let Some(worker) = &self.pods[pod] else { return 0 };
        let tasks = worker.tasks.clone();
        self.integrate(now);
        for &(task, size, _) in &tasks {
            self.in_work -= 1;
            self.interrupted += 1;
            self.begun.insert(task);
            let class = &mut self.classes[usize::from(size)];
            class.in_work -= 1;
            class.pending += 1;
            self.queue.push_front((task, size, now));
        }
        self.remove(pod, now);
        tasks.len() as u64
    }

    fn remove(&mut self, pod: usize, now: f64) {
        if let Some(gone) = self.pods[pod].take() {
            self.pod_seconds += now - gone.created;
        }
        self.living.retain(|&other| other != pod);
    }

    pub(crate) fn integrate(&mut self, now: f64) {
        let passed = now - self.integrated;
        self.integrated = now;
        // Whoever samples a broker that tells nothing new reads the same load again, not none.
        let (pending, in_work) = match &self.stale {
            Some(Stale { counts: [pending, in_work, ..], .. }) => (*pending, *in_work),
            None => self.counts(),
        };
        self.load += passed * (pending as f64 + in_work as f64);
        self.working += passed * in_work as f64;
        if self.living.is_empty() {
            self.at_zero += passed;
        }
    }

    pub(crate) fn ask(
        &mut self,
        policy: &mut dyn Policy,
        foreseen: Vec<(f64, f64, f64, f64)>,
        gap: bool,
        stale: bool,
        now: f64,
    ) -> Command {
        let oldest_wait = self.queue.front().map(|front| now - front.2);
        let counts =
            [self.queue.len() as u64, self.in_work, self.arrivals, self.finished, self.waits.len() as u64, self.late];
        let mut starting: Vec<f64> = self.unplaced.iter().map(|since| now - since).collect();
        let (mut busy, mut idle, mut draining) = (0, 0, 0);
        for pod in self.living.iter().filter_map(|&id| self.pods[id].as_ref()) {
            if pod.draining {
                draining += 1;
            } else if !pod.ready {
                starting.push(now - pod.created);
            } else if pod.tasks.is_empty() {
                idle += 1;
            } else {
                busy += 1;
            }
        }
        if stale {
            self.stale.get_or_insert_with(|| Stale { classes: self.classes.clone(), counts, oldest_wait });
        } else {
            self.stale = None;
        }
        let broker = match &self.stale {
            Some(old) => broker_of(old.counts, self.load, self.working, old.oldest_wait, &old.classes),
            None => broker_of(counts, self.load, self.working, oldest_wait, &self.classes),
        };
        let view = View {
            now,
            broker: (!gap).then_some(broker),
            foreseen: &foreseen,
            desired: self.desired,
            busy,
            idle,
            starting: &starting,
            draining,
            started_in: self.distribution.as_ref(),
            slots: self.slots,
            max_replicas: self.max_replicas,
        };
        policy.tick(&view)
    }

    pub(crate) fn apply(&mut self, command: Command, policy: &dyn Policy, cap: u32, now: f64, agenda: &mut Agenda) {
        let wanted = command.replicas.min(self.max_replicas);
        let mut there = self.pods_that_stay() + self.unplaced.len() as u32;
        if wanted != self.desired {
            self.steps.changed(now, self.desired, wanted, self.mean_cold_start);
            self.desired = wanted;
        }
        while there > wanted {
            if self.unplaced.pop().is_none() && !self.take_away(policy, now, agenda) {
                break;
            }
            there -= 1;
        }
        self.unplaced.resize(self.unplaced.len() + wanted.saturating_sub(there) as usize, now);
        while !self.unplaced.is_empty() && (self.living.len() as u32) < cap {
            self.unplaced.remove(0);
            self.create(now, agenda);
        }
        self.let_pull(command.pulling);
    }

    fn create(&mut self, now: f64, agenda: &mut Agenda) {
        let pod = self.pods.len();
        let start = self.cold_start.quantile(self.random.unit());
        self.pods.push(Some(Pod { created: now, ready: false, draining: false, pulling: true, tasks: Vec::new() }));
        self.living.push(pod);
        agenda.add(now + start, self.stage, What::Ready { pod });
    }

    /// Takes one pod away as its policy does: an idle one, or as a ReplicaSet does one that is not ready, or the youngest.
    fn take_away(&mut self, policy: &dyn Policy, now: f64, agenda: &mut Agenda) -> bool {
        let living = self.living.iter().filter_map(|&id| self.pods[id].as_ref().map(|pod| (id, pod)));
        let stays = living.filter(|(_, pod)| !pod.draining);
        let chosen = if policy.removes_idle_only() {
            stays
                .filter(|(_, pod)| pod.ready && pod.tasks.is_empty())
                .min_by_key(|(id, pod)| (pod.pulling, usize::MAX - id))
        } else {
            stays.min_by_key(|(id, pod)| (pod.ready, usize::MAX - id))
        };
        let Some((id, _)) = chosen else { return false };
        let Some(pod) = &mut self.pods[id] else { return false };
        if pod.tasks.is_empty() {
            self.integrate(now);
            self.remove(id, now);
        } else {
            pod.draining = true;
            agenda.add(now + policy.grace(), self.stage, What::Killed { pod: id });
        }
        true
    }

    /// Lets the most busy pods pull, and rests the others.
    fn let_pull(&mut self, pulling: Option<u32>) {
        let mut ready: Vec<usize> =
            self.living.iter().copied().filter(|&id| self.pods[id].as_ref().is_some_and(|pod| pod.ready)).collect();
        let tasks = |id: usize| self.pods[id].as_ref().map_or(0, |pod| pod.tasks.len());
        ready.sort_by_key(|&id| (usize::MAX - tasks(id), id));
        let most = pulling.map_or(usize::MAX, |pulling| pulling as usize);
        for (rank, id) in ready.into_iter().enumerate() {
            if let Some(pod) = &mut self.pods[id] {
                pod.pulling = rank < most;
            }
        }
    }

    fn pods_that_stay(&self) -> u32 {
        self.living.iter().filter(|&&id| self.pods[id].as_ref().is_some_and(|pod| !pod.draining)).count() as u32
    }

    pub(crate) fn pods(&self) -> u32 {
        self.living.len() as u32
    }

    pub(crate) fn ready_pods(&self) -> u32 {
        self.living.iter().filter(|&&id| self.pods[id].as_ref().is_some_and(|pod| pod.ready)).count() as u32
    }

    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.queue.len() as u64, self.in_work)
    }

    /// For how long the tasks in work have been so: the longest and the shortest, in seconds.
    pub(crate) fn elapsed(&self, now: f64) -> (f64, f64) {
        let pods = self.living.iter().filter_map(|&id| self.pods[id].as_ref());
        let starts = || pods.clone().flat_map(|pod| &pod.tasks).map(|task| task.2);
        (now - starts().fold(now, f64::min), now - starts().fold(0.0, f64::max))
    }

    pub(crate) fn mean_service(&self) -> f64 {
        let count: f64 = self.classes.iter().map(|class| class.count).sum();
        if count == 0.0 {
            return 10.0;
        }
        self.classes.iter().map(|class| class.count * class.mean).sum::<f64>() / count
    }

    pub(crate) fn finish(mut self, end: f64, waits: &mut Vec<f64>) -> Finished {
        self.integrate(end);
        let living = self.living.iter().filter_map(|&id| self.pods[id].as_ref());
        self.pod_seconds += living.map(|pod| (end - pod.created).max(0.0)).sum::<f64>();
        waits.append(&mut self.waits);
        let unstarted = self.queue.iter().filter(|task| !self.begun.contains(&task.0));
        let before = waits.len();
        // How long they would have waited nobody knows; it is at least this.
        waits.extend(unstarted.map(|task| end - task.2));
        let unstarted = (waits.len() - before) as u64;
        Finished {
            pod_seconds: self.pod_seconds,
            cold_starts: self.pods.len() as f64,
            interrupted: self.interrupted as f64,
            time_at_zero: self.at_zero,
            unstarted,
            late: self.late + unstarted,
            steps: self.steps,
        }
    }
}

fn broker_of(counts: [u64; 6], load: f64, working: f64, oldest_wait: Option<f64>, classes: &[Class]) -> Broker<'_> {
    let [pending, in_work, arrivals, finished, started, late] = counts;
    Broker { pending, in_work, load, working, arrivals, finished, started, late, oldest_wait, classes }
}
