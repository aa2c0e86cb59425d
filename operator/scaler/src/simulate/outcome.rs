//! What came of a run. Knows not how it was run.

use serde::Serialize;

/// What came of one policy on one trace with one seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// Share of tasks that started within the SLO.
    pub slo_attainment: f64,
    /// Median wait, in seconds.
    pub wait_p50: f64,
    /// Wait that 95 of 100 tasks did not exceed, in seconds.
    pub wait_p95: f64,
    /// Wait that 99 of 100 tasks did not exceed, in seconds.
    pub wait_p99: f64,
    /// Seconds from the creation of a pod to its removal, over all pods.
    pub pod_seconds: f64,
    /// Pods created.
    pub cold_starts: f64,
    /// Changes of the number of pods asked for.
    pub changes: f64,
    /// Changes of direction an hour, over the whole run.
    pub reversals_per_hour: f64,
    /// Tasks whose pod was taken away while they were in work.
    pub interrupted: f64,
    /// Seconds without any pod.
    pub time_at_zero: f64,
    /// Changes of direction an hour, in the median hour.
    #[serde(skip)]
    pub reversals_median_hour: f64,
    /// Changes of direction within one mean cold start of the step before.
    #[serde(skip)]
    pub hasty_reversals: f64,
    /// Tasks that started late, or not at all.
    #[serde(skip)]
    pub late: f64,
    /// Tasks that had not started when the run was cut off; their waits count as long as they had lasted by then.
    #[serde(skip)]
    pub unstarted: f64,
}

/// The wait that the share `q` of waits does not exceed; waits are sorted.
pub fn quantile(waits: &[f64], q: f64) -> f64 {
    let place = ((waits.len() as f64 * q).ceil() as usize).clamp(1, waits.len().max(1)) - 1;
    waits.get(place).copied().unwrap_or(0.0)
}

/// The mean of outcomes, field by field.
pub fn mean(outcomes: &[Outcome]) -> Outcome {
    let of = |field: fn(&Outcome) -> f64| outcomes.iter().map(field).sum::<f64>() / outcomes.len().max(1) as f64;
    Outcome {
        slo_attainment: of(|outcome| outcome.slo_attainment),
        wait_p50: of(|outcome| outcome.wait_p50),
        wait_p95: of(|outcome| outcome.wait_p95),
        wait_p99: of(|outcome| outcome.wait_p99),
        pod_seconds: of(|outcome| outcome.pod_seconds),
        cold_starts: of(|outcome| outcome.cold_starts),
        changes: of(|outcome| outcome.changes),
        reversals_per_hour: of(|outcome| outcome.reversals_per_hour),
        interrupted: of(|outcome| outcome.interrupted),
        time_at_zero: of(|outcome| outcome.time_at_zero),
        reversals_median_hour: of(|outcome| outcome.reversals_median_hour),
        hasty_reversals: of(|outcome| outcome.hasty_reversals),
        late: of(|outcome| outcome.late),
        unstarted: of(|outcome| outcome.unstarted),
    }
}

/// Steps of a number of pods, and how often they changed direction.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    pub(crate) changes: u64,
    turns: Vec<f64>,
    hasty: u64,
    last: Option<(f64, bool)>,
}

impl Steps {
    /// The number of pods asked for went from one to another.
    pub fn changed(&mut self, now: f64, from: u32, to: u32, cold_start: f64) {
        let up = to > from;
        self.changes += 1;
        if let Some((before, was_up)) = self.last
            && was_up != up
        {
            self.turns.push(now);
            self.hasty += u64::from(now - before < cold_start);
        }
        self.last = Some((now, up));
    }

    /// Of a run from one time to another.
    pub(crate) fn describe(&self, outcome: &mut Outcome, began: f64, end: f64) {
        let hours = (end - began) / 3_600.0;
        outcome.changes = self.changes as f64;
        outcome.hasty_reversals = self.hasty as f64;
        outcome.reversals_per_hour = self.turns.len() as f64 / hours.max(1e-9);
        let mut hourly = vec![0.0; (hours.ceil() as usize).max(1)];
        for turn in &self.turns {
            let hour = (((turn - began) / 3_600.0) as usize).min(hourly.len() - 1);
            hourly[hour] += 1.0;
        }
        hourly.sort_by(f64::total_cmp);
        outcome.reversals_median_hour = quantile(&hourly, 0.5);
    }
}
