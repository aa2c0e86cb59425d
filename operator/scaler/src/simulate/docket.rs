//! Docket's own decision in the simulation: turns what is seen into an observation and calls the very same `decide`.

use super::policy::{Broker, Command, Policy, View};
use crate::{Foreseen, History, Observation, Pods, ServiceTime, Settings, Waits, Work, decide};

/// The simulation's time 0: a Monday, in seconds since 1970.
const EPOCH: f64 = 1_767_571_200.0;
/// The operator decides every second for pools with work.
const EVERY: f64 = 1.0;
/// It looks at a pool that sleeps as well, so that nothing that it was not woken for waits for ever.
const ASLEEP: f64 = 30.0;
/// It keeps what it has learned this often, when the number of pods changes, and when the pool falls asleep.
const KEEP_EVERY: f64 = 10.0;

/// Docket's autoscaler.
pub struct Docket {
    settings: Settings,
    history: History,
    /// What a restart finds, and when it was kept; `None` before it was.
    kept: History,
    kept_at: Option<f64>,
    slept: bool,
}

impl Docket {
    /// With these settings, which must be sound, and nothing remembered.
    pub fn new(settings: Settings) -> Self {
        Self { settings, history: History::default(), kept: History::default(), kept_at: None, slept: false }
    }

    /// What is remembered.
    pub fn history(&self) -> &History {
        &self.history
    }

    fn keep(&mut self, now: f64, changed: bool, quiet: bool) {
        let falls_asleep = quiet && !self.slept;
        self.slept = quiet;
        if changed || falls_asleep || self.kept_at.is_none_or(|at| now - at >= KEEP_EVERY) {
            self.kept_at = Some(now);
            self.kept.clone_from(&self.history);
        }
    }
}

impl Policy for Docket {
    fn tick(&mut self, view: &View) -> Command {
        let now = EPOCH + view.now;
        let observation = observation(view, now);
        let decision = decide(&self.settings, &mut self.history, &observation, now);
        // Pools with work, or with work to come, are looked at every second.
        let quiet = view.broker.is_some_and(|broker| broker.pending + broker.in_work == 0)
            && view.starting.is_empty()
            && view.foreseen.is_empty();
        self.keep(view.now, decision.replicas != view.desired, quiet);
        let again_at =
            if quiet { decision.next_change_at.map_or(f64::INFINITY, |at| at - EPOCH) } else { view.now + EVERY };
        let again_at = again_at.min(view.now + ASLEEP);
        Command {
            replicas: decision.replicas,
            pulling: Some(decision.pulling.max(1)),
            again_at: again_at.max(view.now + EVERY),
            wakes: quiet,
        }
    }

    fn restart(&mut self) {
        // The operator reads its state back from where it keeps it; what is not in it, or came later, is gone.
        let kept = serde_json::to_string(&self.kept).ok();
        self.history = kept.and_then(|kept| serde_json::from_str(&kept).ok()).unwrap_or_default();
        self.kept_at = None;
        self.slept = false;
    }

    fn removes_idle_only(&self) -> bool {
        true
    }
}

fn observation(view: &View, now: f64) -> Observation {
    let mut observation = Observation::empty_at(now, view.slots);
    observation.replicas = view.desired;
    observation.pods =
        Some(Pods { busy: view.busy, idle: view.idle, starting: view.starting.to_vec(), draining: view.draining });
    observation.cold_start = view.started_in.cloned();
    observation.foreseen = view
        .foreseen
        .iter()
        .map(|&(at, over, tasks, probability)| Foreseen { at: EPOCH + at, over, tasks, probability })
        .collect();
    let Some(broker) = &view.broker else {
        observation.work = None;
        observation.arrivals = None;
        return observation;
    };
    observation.work = Some(work(broker));
    observation.arrivals = Some(broker.arrivals);
    observation.finished = Some(broker.finished);
    observation.waits = Some(Waits { started: broker.started, late: broker.late });
    observation.oldest_wait = broker.oldest_wait;
    observation
}

fn work(broker: &Broker) -> Vec<Work> {
    let seen =
        broker.classes.iter().enumerate().filter(|(_, class)| class.pending + class.in_work > 0 || class.count > 0.0);
    seen.map(|(size, class)| Work {
        stage: "stage".to_owned(),
        size: size as u8,
        pending: class.pending,
        in_work: class.in_work,
        share: (class.share > 0.0).then_some(class.share),
        service: (class.count > 0.0).then(|| ServiceTime {
            mean: class.mean,
            deviation: class.variance.max(0.0).sqrt(),
            count: class.count as u64,
        }),
    })
    .collect()
}
