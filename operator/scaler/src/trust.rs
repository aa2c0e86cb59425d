//! Whether an observation can be acted upon. Knows not what would be done with it.

use crate::{
    decision::Hold,
    history::{History, Reading},
    observation::Observation,
    settings::MOST_REPLICAS,
};

/// Numbers that are older than this say little about now; they are read every second.
const STALE_AFTER: f64 = 15.0;
/// Clocks of machines that are looked after differ by less.
const CLOCKS_DIFFER: f64 = 5.0;
/// A jump that lasts so long is the new truth, such as a queue that a person emptied.
const JUMP_BELIEVED_AFTER: f64 = 30.0;
/// So many tasks that should have been done are not late by chance: that has a chance of one in three thousand.
const MANY: f64 = 8.0;
/// Tasks of which none is done for so long hang, and are no reason to hold.
const STILL_BELIEVED_AFTER: f64 = 120.0;
/// No queue, rate or time that we can act on is larger.
const LARGEST: f64 = 1e12;

/// Says why the observation cannot be acted upon, and takes note of jumps so that lasting ones are believed.
pub(crate) fn doubt(observation: &Observation, history: &mut History, now: f64) -> Option<Hold> {
    if !now.is_finite() || !sound(observation) {
        return Some(Hold::Absurd);
    }
    let (Some(_), Some(_), Some(pods)) = (&observation.work, observation.arrivals, &observation.pods) else {
        return Some(Hold::Missing);
    };
    if pods.ready() > MOST_REPLICAS || pods.starting() > MOST_REPLICAS {
        return Some(Hold::Absurd);
    }
    let before = history.reading;
    if now - observation.at > STALE_AFTER || observation.at - now > CLOCKS_DIFFER {
        return Some(Hold::Stale);
    }
    if before.is_some_and(|before| observation.at < before.at - CLOCKS_DIFFER) {
        // An old number, or what was remembered is of one whose clock was ahead: that lasts.
        let since = *history.back_since.get_or_insert(now);
        if now >= since && now - since < JUMP_BELIEVED_AFTER {
            return Some(Hold::Stale);
        }
        history.back_since = None;
        history.set_back(now);
        return None;
    }
    history.back_since = None;
    if stands_still(observation, history, now) {
        return Some(Hold::Stale);
    }
    if !before.is_some_and(|before| jumped(observation, &before, history.rate)) {
        history.jumped_since = None;
        return None;
    }
    let since = *history.jumped_since.get_or_insert(now);
    if now - since < JUMP_BELIEVED_AFTER {
        return Some(Hold::Jumped);
    }
    history.jumped_since = None;
    history.reading = None;
    None
}

/// Whether nothing was counted for so long that the counters must be old, whatever time they bear.
///
/// Tasks in work are done after some time: when many should have been and none was, and none came either, the reader repeats
/// itself. Only for a while, as tasks may hang.
fn stands_still(observation: &Observation, history: &mut History, now: f64) -> bool {
    let counted = history.reading.is_some_and(|before| {
        (observation.arrivals, observation.finished) != (Some(before.arrivals), before.finished)
            || observation.finished.is_none()
    });
    if counted || observation.in_work() == 0 {
        history.still_since = None;
        return false;
    }
    let still = now - *history.still_since.get_or_insert(now);
    let Some((service, deviation)) = history.measured_service(observation) else { return false };
    let expected = observation.in_work() as f64 * still / service;
    expected > MANY && still > service + deviation && still < STILL_BELIEVED_AFTER.max(3.0 * (service + deviation))
}

/// Whether the backlog is not what arrivals and completions since the last reading make of the one before.
fn jumped(observation: &Observation, before: &Reading, rate: f64) -> bool {
    let arrivals = observation.arrivals.unwrap_or(before.arrivals);
    if arrivals < before.arrivals {
        return true;
    }
    let (Some(finished), Some(finished_before)) = (observation.finished, before.finished) else {
        return false;
    };
    if finished < finished_before {
        return true;
    }
    let backlog = observation.pending().saturating_add(observation.in_work()) as f64;
    let expected = before.backlog + (arrivals - before.arrivals) as f64 - (finished - finished_before) as f64;
    // The numbers are not read at one instant, and tasks are put back for a retry.
    (backlog - expected).abs() > 5.0 + 0.3 * backlog.max(expected) + 2.0 * rate
}

fn sound(observation: &Observation) -> bool {
    let number = |value: f64| value.is_finite() && (0.0..=LARGEST).contains(&value);
    let possible = |value: Option<f64>| value.is_none_or(number);
    let work = observation.work.iter().flatten().all(|work| {
        (work.pending as f64) < LARGEST
            && (work.in_work as f64) < LARGEST
            && work.service.is_none_or(|service| number(service.mean) && number(service.deviation))
    });
    work && number(observation.at)
        && number(observation.interactive)
        && possible(observation.oldest_wait)
        && possible(observation.latency_p95)
        && observation.cpu.is_none_or(|cpu| (0.0..=1.5).contains(&cpu))
        && observation.slots_per_pod > 0
        && observation.replicas <= MOST_REPLICAS
        && observation.waits.is_none_or(|waits| waits.late <= waits.started)
        && observation.pods.iter().all(|pods| pods.starting.iter().copied().all(number))
        && observation.cold_start.as_ref().is_none_or(crate::ColdStart::is_sound)
        && observation.foreseen.iter().all(|foreseen| {
            number(foreseen.at)
                && number(foreseen.over)
                && number(foreseen.tasks)
                && (0.0..=1.0).contains(&foreseen.probability)
        })
        && observation.deadlines.iter().all(|deadline| number(deadline.start_by) && number(deadline.tasks))
        && observation.deadlines_ahead.iter().all(|ahead| {
            number(ahead.at)
                && number(ahead.start_by)
                && number(ahead.tasks)
                && (0.0..=1.0).contains(&ahead.probability)
        })
}
