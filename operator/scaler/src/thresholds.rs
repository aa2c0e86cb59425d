//! Scaling by plain thresholds: so many more when one is reached, so many fewer when all are fallen below. Learns nothing.

use crate::{
    decision::{Term, TermValue},
    observation::Observation,
    settings::Thresholds,
};

/// What thresholds ask for: the replicas of the strongest and every term that asks for more. While pods that were asked for are
/// awaited, the queue does not say whether they are enough, so none asks for more than there are.
pub(crate) fn asked(thresholds: &Thresholds, observation: &Observation, awaited: bool) -> Vec<TermValue> {
    let now = observation.replicas;
    let waiting = observation.pending();
    let up = [
        (Term::Queue, waiting >= thresholds.up_at),
        (Term::Wait, waiting > 0 && observation.oldest_wait.is_some_and(|wait| wait >= thresholds.wait_up)),
        (Term::Cpu, observation.cpu.is_some_and(|cpu| cpu >= thresholds.cpu_up)),
    ];
    let more = if awaited { now } else { now.saturating_add(thresholds.step_up) };
    let mut terms: Vec<TermValue> =
        up.iter().filter(|(_, reached)| *reached).map(|&(term, _)| TermValue { term, replicas: more }).collect();
    if terms.is_empty() && waiting > 0 && now == 0 {
        terms.push(TermValue { term: Term::Queue, replicas: 1 });
    }
    if terms.is_empty() {
        let quiet = waiting <= thresholds.down_at
            && observation.oldest_wait.is_none_or(|wait| waiting == 0 || wait <= thresholds.wait_down)
            && observation.cpu.is_none_or(|cpu| cpu <= thresholds.cpu_down);
        let replicas = if quiet { now.saturating_sub(thresholds.step_down) } else { now };
        terms.push(TermValue { term: Term::Queue, replicas });
    }
    terms
}
