//! How long tasks take, when the broker is not away meanwhile. Pure.
//!
//! Tasks that are in work while the broker changes its leader take as long as that, and for tasks of a hundredth of a second
//! a few such times make the mean a hundred times longer: the pool would be asked to grow to its maximum for what a few agents
//! do. So for a while after a gap in the numbers, what was known before it counts where it was less.

use std::collections::BTreeMap;

use scaler::{Observation, ServiceTime};

/// After a gap, for so long, in seconds: by then agents have forgotten quick tasks of the time of the gap for newer ones, and to
/// slow tasks a gap does little.
const DISTURBED: f64 = 60.0;
/// However many gaps there are, after so long, in seconds, what is measured is believed once: tasks may take longer since.
const LONGEST: f64 = 300.0;

/// Service times by stage and size, as they were before the last gap.
#[derive(Debug, Default)]
pub struct Undisturbed {
    known: BTreeMap<(String, u8), ServiceTime>,
    /// Until when what is measured is not believed where it is longer, in seconds since 1970.
    until: f64,
    /// Since when it is not, in seconds since 1970.
    since: f64,
    /// When anything was read last, in seconds since 1970.
    read_at: f64,
}

impl Undisturbed {
    /// Puts what was known before a gap in the place of what is measured after it, where that is longer.
    pub fn correct(&mut self, observation: &mut Observation) {
        let now = observation.at;
        if observation.work.is_none() || observation.pods.is_none() {
            self.until = now + DISTURBED;
        }
        if observation.work.is_none() {
            return;
        }
        // However long a gap was, it is over only now.
        if now - self.read_at > DISTURBED {
            self.since = now;
        }
        self.read_at = now;
        let is_disturbed = now < self.until && now - self.since < LONGEST;
        if !is_disturbed {
            self.since = now;
        }
        for work in observation.work.iter_mut().flatten() {
            let Some(measured) = &mut work.service else { continue };
            let kind = (work.stage.clone(), work.size);
            match self.known.get(&kind).filter(|known| is_disturbed && known.mean < measured.mean) {
                Some(known) => *measured = *known,
                None => drop(self.known.insert(kind, *measured)),
            }
        }
        // A sample need not show every kind; those of stages that are gone must not add up.
        if !is_disturbed && let Some(work) = &observation.work {
            self.known.retain(|(stage, size), _| work.iter().any(|work| work.stage == *stage && work.size == *size));
        }
    }
}
