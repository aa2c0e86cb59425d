//! The plan that knows all, against every plan that there is, on cases small enough to try them all.

use scaler::{
    ColdStart,
    simulate::{
        clairvoyant::{Limits, plan},
        random::Random,
        trace::Job,
    },
};

const COLD: f64 = 4.0;

fn small(seed: u64) -> (Vec<Job>, Limits) {
    let mut random = Random::new(seed, 1);
    let mut arrival = 10.0;
    let jobs = (0..4)
        .map(|_| {
            arrival += random.index(8) as f64;
            Job { arrival, service: 1.0 + random.index(6) as f64, size: 0 }
        })
        .collect();
    (jobs, Limits { slo: random.index(6) as f64, slots: 1 + random.index(2), max_replicas: 4, began: 0.0 })
}

/// The least pod-seconds over all starts and all ways to part the tasks among pods.
fn least(jobs: &[Job], limits: &Limits) -> f64 {
    let mut best = f64::MAX;
    let choices = limits.slo as usize + 1;
    for code in 0..choices.pow(jobs.len() as u32) {
        let delay = |index: usize| (code / choices.pow(index as u32) % choices) as f64;
        let spans: Vec<(f64, f64)> = jobs
            .iter()
            .enumerate()
            .map(|(index, job)| (job.arrival + delay(index), job.arrival + delay(index) + job.service))
            .collect();
        part(&spans, &mut Vec::new(), limits.slots, &mut best);
    }
    best
}

fn part(spans: &[(f64, f64)], pods: &mut Vec<Vec<(f64, f64)>>, slots: usize, best: &mut f64) {
    let Some((&first, rest)) = spans.split_first() else {
        let cost = |pod: &Vec<(f64, f64)>| {
            let begin = pod.iter().map(|span| span.0).fold(f64::MAX, f64::min);
            pod.iter().map(|span| span.1).fold(0.0, f64::max) - begin + COLD
        };
        *best = best.min(pods.iter().map(cost).sum());
        return;
    };
    for place in 0..=pods.len() {
        if place == pods.len() {
            pods.push(Vec::new());
        }
        pods[place].push(first);
        let fits = pods[place]
            .iter()
            .all(|at| pods[place].iter().filter(|other| other.0 <= at.0 && at.0 < other.1).count() <= slots);
        if fits {
            part(rest, pods, slots, best);
        }
        pods[place].pop();
        if pods[place].is_empty() {
            pods.pop();
        }
    }
}

#[test]
fn the_plan_is_feasible_and_close_to_the_least_possible() {
    let mut excess = Vec::new();
    for seed in 0..200 {
        let (jobs, limits) = small(seed);
        let plan = plan(&jobs, &limits, &ColdStart::constant(COLD), 1);
        let least = least(&jobs, &limits);
        for (job, start) in jobs.iter().zip(&plan.starts) {
            assert!(*start >= job.arrival && *start <= job.arrival + limits.slo + 1e-9, "seed {seed}: {start}");
        }
        assert!(plan.pod_seconds >= least - 1e-9, "seed {seed}: {} is below the least, {least}", plan.pod_seconds);
        excess.push(plan.pod_seconds / least - 1.0);
    }
    let mean = excess.iter().sum::<f64>() / excess.len() as f64;
    let most = excess.iter().copied().fold(0.0, f64::max);
    let exact = excess.iter().filter(|excess| **excess < 1e-9).count();
    println!(
        "exact in {exact} of {}, {:.2} % above on average, {:.1} % at most",
        excess.len(),
        mean * 100.0,
        most * 100.0
    );
    assert!(exact > 120 && mean < 0.03, "exact in {exact}, {mean} above on average");
}

#[test]
fn there_are_never_more_pods_than_there_may_be() {
    let cold = ColdStart::known(vec![COLD]);
    for seed in 0..200 {
        let (jobs, limits) = small(seed);
        let limits = Limits { max_replicas: 1 + seed as usize % 2, ..limits };
        let plan = plan(&jobs, &limits, &cold, seed);
        assert_eq!(plan.starts.len(), jobs.len());
        for (created, _) in &plan.lives {
            let there = plan.lives.iter().filter(|life| life.0 <= *created && *created < life.1).count();
            assert!(there <= limits.max_replicas, "seed {seed}: {:?}", plan.lives);
        }
    }
    let crowd = vec![Job { arrival: 0.0, service: 100.0, size: 0 }; 20];
    let limits = Limits { slo: 60.0, slots: 1, max_replicas: 2, began: -50.0 };
    let plan = plan(&crowd, &limits, &cold, 1);
    assert_eq!(plan.lives.len(), 2);
    assert_eq!(plan.starts.iter().filter(|start| **start <= 60.0).count(), 2, "the others are late");
}

#[test]
fn no_pod_is_created_before_the_replay_begins() {
    let jobs = [Job { arrival: 1e9, service: 5.0, size: 0 }];
    let limits = Limits { slo: 1.0, slots: 1, max_replicas: 4, began: 1e9 };
    let plan = plan(&jobs, &limits, &ColdStart::known(vec![COLD]), 1);
    assert_eq!((plan.lives[0].0, plan.starts[0]), (1e9, 1e9 + COLD));
}
