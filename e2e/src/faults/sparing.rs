//! How often a status may be written: whoever watches it, and the API server, need not hear of each agent that comes and goes.

use std::{collections::BTreeMap, time::Duration};

use super::Done;

/// Writes of a status that need not wait for anything: what is settled, and the numbers.
const AT_ONCE: usize = 2;
/// Any other waits so long, less what a clock may be wrong by.
const APART: Duration = Duration::from_millis(950);

/// Whether a write is of a status.
pub fn is_of_status(done: &Done) -> bool {
    done.call.subresource == "status"
}

/// The writes of each object's status, in their order.
pub fn statuses(writes: &[Done]) -> BTreeMap<(&str, &str), Vec<&Done>> {
    let mut statuses: BTreeMap<_, Vec<&Done>> = BTreeMap::new();
    for done in writes.iter().filter(|done| is_of_status(done)) {
        statuses.entry((done.call.resource.as_str(), done.call.name.as_str())).or_default().push(done);
    }
    statuses.values_mut().for_each(|writes| writes.sort_by_key(|done| done.at));
    statuses
}

/// Of one object's status and one change: a write that the change was seen, one that all is as it should be, and one for the
/// numbers, which are looked at by a clock of their own; beyond these one a second, while agents come and go. So at most two
/// follow another one within a second: the settled one and the numbers.
pub fn is_sparing(writes: &[&Done]) -> bool {
    let (Some(first), Some(last)) = (writes.first(), writes.last()) else { return true };
    let hasty = writes.windows(2).filter(|pair| hastens(pair[0], pair[1])).count();
    let moving = last.at.duration_since(first.at).as_secs_f64().ceil() as usize;
    hasty <= AT_ONCE && writes.len() <= AT_ONCE + 1 + moving
}

/// Whether a write follows another one too soon. The operator waits from when it knew that one to be done.
fn hastens(before: &Done, after: &Done) -> bool {
    after.at.saturating_duration_since(before.ended) < APART
}
