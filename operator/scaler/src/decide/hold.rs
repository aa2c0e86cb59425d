//! What is done while numbers cannot be trusted: nothing, but for what is known without them.

use super::{REACTION, Seen};
use crate::{
    decision::{Decision, Hold, Reason, Term, TermValue},
    demand::order,
    history::History,
    observation::{Observation, Pods, Work},
    settings::Settings,
};

/// As many replicas as there are.
pub(super) fn held(settings: &Settings, observation: &Observation, hold: Hold, now: f64) -> Decision {
    let replicas = if hold == Hold::Settings || !now.is_finite() {
        observation.replicas
    } else {
        // A minimum is the user's word, not a measurement.
        observation.replicas.max(settings.bounds_at(now).0)
    };
    let pulling = observation.pods.as_ref().map_or(replicas, Pods::ready);
    Decision { replicas, pulling, reason: Reason::Held(hold), terms: Vec::new(), clamp: None, next_change_at: None }
}

/// The first pods for tasks that waited when numbers were read last: while there is no pod they still do, whatever the broker
/// fails to say. A start that was put off for them is not put off until it can be read again.
///
/// `None` where that is not so, or where they can wait for longer.
pub(super) fn without_pods(
    settings: &Settings,
    history: &mut History,
    observation: &Observation,
    hold: Hold,
    now: f64,
) -> Option<Decision> {
    let unread = matches!(hold, Hold::Missing | Hold::Stale);
    let reading = history.reading.filter(|reading| reading.unattended > 0 && reading.at <= now)?;
    if !unread || !observation.has_nobody() || settings.queue.is_some() {
        return None;
    }
    // Of which kinds they are does not matter enough to be remembered.
    let work =
        Work { stage: String::new(), size: 0, pending: reading.unattended, in_work: 0, service: None, share: None };
    let known = Observation {
        work: Some(vec![work]),
        oldest_wait: reading.oldest_since.map(|since| now - since),
        pods: Some(Pods::default()),
        cold_start: observation.cold_start.clone(),
        ..Observation::empty_at(now, observation.slots_per_pod)
    };
    let nothing = Pods::default();
    let seen = Seen::new(settings, history, &known, &nothing, now);
    // No start is put off for longer: what is read no more by then is not there.
    if now - reading.at > settings.target.wait + seen.cold_start.quantile(1.0) {
        return None;
    }
    let asked = order(&seen.demand(history, Term::Backlog), &seen.supply(), &seen.weights(history));
    let (min, ..) = settings.bounds_at(now);
    let replicas = asked.max(min);
    if asked == 0 || seen.damped(history, 0, replicas, asked, min, 0.0).is_some() {
        return None;
    }
    let late = seen.too_late(settings.target.wait - REACTION);
    history.decided(0, replicas, late, None, now);
    let term = Term::Backlog;
    let terms = vec![TermValue { term, replicas }];
    Some(Decision { replicas, pulling: 0, reason: Reason::Up(term), terms, clamp: None, next_change_at: None })
}
