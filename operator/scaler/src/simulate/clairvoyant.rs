//! A plan that knows all arrivals and all cold starts, and meets every SLO. Knows no policy.
//!
//! Tasks are placed in the order of their arrival, each where it adds fewest pod-seconds: in a slot that is free anyway, in a
//! slot of a pod whose life is made longer, or in a new pod. A new pod is ready as late as the task allows, or a given part of
//! that, so that later tasks can share it. This is done for several such parts, and the cheapest plan counts. The plan is
//! feasible, so the least possible cost is at most its cost; it need not be the least.

use super::{
    outcome::{Outcome, Steps, quantile},
    random::Random,
    trace::{Job, Trace},
};
use crate::ColdStart;

/// Parts of the SLO by which a new pod's readiness is put off.
const PUT_OFF: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// How much longer than a cold start an idle pod may be kept, as a factor: what is dear for one task may help the next.
const KEPT: [f64; 4] = [0.5, 0.75, 1.0, 1.5];

/// A plan and what it costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Pod-seconds.
    pub pod_seconds: f64,
    /// Pods created.
    pub pods: usize,
    /// Start of each task, in the order of arrival.
    pub starts: Vec<f64>,
    /// (creation, removal) of each pod, cold start included.
    pub lives: Vec<(f64, f64)>,
}

/// What a plan must keep to.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Seconds that a task may wait.
    pub slo: f64,
    /// Tasks that one pod works on at once.
    pub slots: usize,
    /// Pods at most at once: where these are too few, tasks are late.
    pub max_replicas: usize,
    /// No pod is created before, in seconds of the trace.
    pub began: f64,
}

struct Pod {
    created: f64,
    ready: f64,
    /// When the last of its tasks is done.
    end: f64,
    /// When each slot is free.
    free: Vec<f64>,
}

/// The cheapest of the plans.
pub fn plan(jobs: &[Job], limits: &Limits, cold_start: &ColdStart, seed: u64) -> Plan {
    let mut random = Random::new(seed, 100);
    let starts: Vec<f64> = (0..jobs.len().min(100_000)).map(|_| cold_start.quantile(random.unit())).collect();
    let mut best: Option<Plan> = None;
    for put_off in PUT_OFF {
        for kept in KEPT {
            let plan = greedy(jobs, limits, &starts, put_off, kept);
            if best.as_ref().is_none_or(|best| plan.pod_seconds < best.pod_seconds) {
                best = Some(plan);
            }
        }
    }
    best.unwrap_or_default()
}

fn greedy(jobs: &[Job], limits: &Limits, cold_starts: &[f64], put_off: f64, kept: f64) -> Plan {
    let mut living: Vec<Pod> = Vec::new();
    let mut plan = Plan::default();
    let mut opened = 0;
    for job in jobs {
        let latest = job.arrival + limits.slo;
        let cold = cold_starts.get(opened).or(cold_starts.last()).copied().unwrap_or(0.0);
        // Pods that ended longer ago than any task would wait for them are over.
        living.retain(|pod| {
            let over = pod.end + (cold * kept).max(limits.slo) < job.arrival;
            if over {
                close(&mut plan, pod);
            }
            !over
        });
        let soonest = limits.began + cold;
        let ready = (job.arrival + limits.slo * put_off).max(soonest);
        let opening = cold * kept + job.service;
        let cheapest = living
            .iter()
            .enumerate()
            .filter_map(|(index, pod)| {
                let (slot, start) = earliest(pod, job.arrival);
                let longer = (start + job.service - pod.end).max(0.0);
                (start <= latest).then_some((longer, start, index, slot))
            })
            .min_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
        let ready = ready.min(latest.max(soonest));
        // Those that have ended by then may be over, if nobody goes on with them.
        let over = |pod: &Pod| pod.end <= ready - cold;
        let full = living.iter().filter(|pod| !over(pod)).count() >= limits.max_replicas;
        let place = match cheapest {
            Some((longer, start, index, slot)) if longer <= opening || full => (index, slot, start),
            None if full => soonest_of(&living, job.arrival),
            _ => {
                opened += 1;
                if living.len() >= limits.max_replicas {
                    living.retain(|pod| {
                        let over = over(pod);
                        if over {
                            close(&mut plan, pod);
                        }
                        !over
                    });
                }
                living.push(Pod { created: ready - cold, ready, end: ready, free: vec![ready; limits.slots] });
                (living.len() - 1, 0, ready.max(job.arrival))
            }
        };
        let (index, slot, start) = place;
        let pod = &mut living[index];
        pod.free[slot] = start + job.service;
        pod.end = pod.end.max(start + job.service);
        plan.starts.push(start);
    }
    living.iter().for_each(|pod| close(&mut plan, pod));
    plan.pods = opened;
    plan
}

/// The pod and slot that are free first, and when that is.
fn soonest_of(living: &[Pod], from: f64) -> (usize, usize, f64) {
    let free = living.iter().enumerate().map(|(index, pod)| {
        let (slot, start) = earliest(pod, from);
        (index, slot, start)
    });
    free.min_by(|one, other| one.2.total_cmp(&other.2)).unwrap_or((0, 0, from))
}

/// The slot that is free first at or after that time, and when it is.
fn earliest(pod: &Pod, from: f64) -> (usize, f64) {
    // Of slots that are free in time, the one that was used last: the others stay free for longer tasks.
    let from = from.max(pod.ready);
    let in_time =
        pod.free.iter().enumerate().filter(|(_, free)| **free <= from).max_by(|one, other| one.1.total_cmp(other.1));
    let soonest = || pod.free.iter().enumerate().min_by(|one, other| one.1.total_cmp(other.1));
    in_time.or_else(soonest).map_or((0, from), |(slot, free)| (slot, free.max(from)))
}

fn close(plan: &mut Plan, pod: &Pod) {
    plan.pod_seconds += pod.end - pod.created;
    plan.lives.push((pod.created, pod.end));
}

/// Fewest pod-seconds with which any plan can do the work: every slot always used, every cold start shared by all.
pub fn floor(jobs: &[Job], slots: usize) -> f64 {
    jobs.iter().map(|job| job.service).sum::<f64>() / slots as f64
}

impl Plan {
    /// What comes of the plan for a trace, with that mean of cold starts.
    pub fn outcome(&self, trace: &Trace, slo: f64, cold_start: f64) -> Outcome {
        let mut waits: Vec<f64> = self.starts.iter().zip(&trace.jobs).map(|(start, job)| start - job.arrival).collect();
        waits.sort_by(f64::total_cmp);
        // Starts are sums of times, so a wait of exactly the SLO may come out a little above.
        let late = waits.iter().filter(|wait| **wait > slo + 1e-6).count() as f64;
        let quantile = |q: f64| quantile(&waits, q);
        let mut outcome = Outcome {
            slo_attainment: 1.0 - late / waits.len().max(1) as f64,
            wait_p50: quantile(0.5),
            wait_p95: quantile(0.95),
            wait_p99: quantile(0.99),
            pod_seconds: self.pod_seconds,
            cold_starts: self.pods as f64,
            late,
            ..Outcome::default()
        };
        self.count_changes(trace.began, cold_start, &mut outcome);
        outcome
    }

    /// Counts as the simulation does: changes in one second are one step, and the run is over with its last task.
    fn count_changes(&self, began: f64, cold_start: f64, outcome: &mut Outcome) {
        let mut changes: Vec<(f64, bool)> =
            self.lives.iter().flat_map(|&(created, removed)| [(created, true), (removed, false)]).collect();
        changes.sort_by(|one, other| one.0.total_cmp(&other.0));
        let end = changes.last().map_or(began, |last| last.0);
        let mut steps = Steps::default();
        let (mut pods, mut since) = (0_u32, began);
        for at_once in
            changes.chunk_by(|one, other| one.0.floor() == other.0.floor()).filter(|at_once| at_once[0].0 < end)
        {
            let at = at_once[0].0;
            if pods == 0 {
                outcome.time_at_zero += (at - since).max(0.0);
            }
            let created = at_once.iter().filter(|change| change.1).count();
            let after = pods + created as u32 - (at_once.len() - created) as u32;
            if after != pods {
                steps.changed(at, pods, after, cold_start);
            }
            (pods, since) = (after, at);
        }
        steps.describe(outcome, began, end);
    }

    /// (seconds, waiting tasks and tasks in work, pods) at each change.
    pub fn course(&self, jobs: &[Job]) -> Vec<(f64, u64, u32)> {
        let mut changes: Vec<(f64, i64, i64)> = Vec::new();
        for &(created, removed) in &self.lives {
            changes.extend([(created, 0, 1), (removed, 0, -1)]);
        }
        for (job, start) in jobs.iter().zip(&self.starts) {
            changes.extend([(job.arrival, 1, 0), (start + job.service, -1, 0)]);
        }
        changes.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (mut tasks, mut pods) = (0i64, 0i64);
        let step = |(at, more, created): (f64, i64, i64)| {
            tasks += more;
            pods += created;
            (at, tasks.max(0) as u64, pods.max(0) as u32)
        };
        changes.into_iter().map(step).collect()
    }
}
