//! By when tasks that wait must start, so that their documents end in time. Pure.
//!
//! What a document may still wait altogether is split over this stage and those after it on the longest path, each by the time
//! that it takes.

use crds::{PipelineSpec, Stage};
use scaler::{Deadline, start_by};

use super::kinds::Waiting;

/// The latest starts of what waits. `service` says how many seconds a stage of a pipeline takes; `now` is in seconds since 1970.
/// A document whose deadline is over is left out: nothing helps it.
pub fn deadlines(
    waiting: &[Waiting],
    pipelines: &[(String, &PipelineSpec)],
    service: &dyn Fn(&str, &Stage) -> f64,
    now: f64,
) -> Vec<Deadline> {
    let due = waiting.iter().filter_map(|one| {
        let deadline = one.deadline? as f64 / 1_000.0;
        let (name, spec) = pipelines.iter().find(|(name, _)| *name == one.pipeline)?;
        let stage = spec.stages.iter().position(|stage| stage.name == one.stage)?;
        let path = longest_path(spec, stage, &|stage| service(name, stage));
        (deadline > now).then(|| Deadline { start_by: start_by(deadline, now, &path), tasks: one.tasks })
    });
    due.collect()
}

/// The seconds of a stage and of those after it, on the path that takes longest. Of a graph with a cycle, which no accepted
/// pipeline has, the cycle is walked once.
fn longest_path(spec: &PipelineSpec, from: usize, service: &dyn Fn(&Stage) -> f64) -> Vec<f64> {
    let mut known: Vec<Option<Longest>> = vec![None; spec.stages.len()];
    measure(spec, from, service, &mut known);
    let mut path = Vec::new();
    let mut next = Some(from);
    while let Some(stage) = next.filter(|_| path.len() < spec.stages.len()) {
        path.push(service(&spec.stages[stage]));
        next = known[stage].and_then(|longest| longest.next);
    }
    path
}

/// What is after a stage.
#[derive(Clone, Copy)]
struct Longest {
    /// Its own seconds and those of the longest path behind it.
    seconds: f64,
    /// The next stage on it.
    next: Option<usize>,
}

fn measure(
    spec: &PipelineSpec,
    stage: usize,
    service: &dyn Fn(&Stage) -> f64,
    known: &mut Vec<Option<Longest>>,
) -> f64 {
    if let Some(longest) = known[stage] {
        return longest.seconds;
    }
    let own = service(&spec.stages[stage]).max(0.0);
    known[stage] = Some(Longest { seconds: own, next: None });
    let mut behind = (0.0, None);
    for (after, candidate) in spec.stages.iter().enumerate() {
        if candidate.after.contains(&spec.stages[stage].name) {
            let seconds = measure(spec, after, service, known);
            if behind.1.is_none() || seconds > behind.0 {
                behind = (seconds, Some(after));
            }
        }
    }
    known[stage] = Some(Longest { seconds: own + behind.0, next: behind.1 });
    own + behind.0
}
