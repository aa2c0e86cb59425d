//! Which alarms are out for delivery and when they are due again.
//!
//! Kept in memory alone: after a restart nobody holds an alarm, so every due one is delivered again at once.

use std::{collections::HashMap, time::Duration};

use crate::{Millis, clock::after};

/// How long a delivered alarm is given to be `done`; stated by the port.
pub(crate) const REDELIVERY: Duration = Duration::from_secs(30);

/// The alarms that were delivered and are not done.
#[derive(Default)]
pub(crate) struct OutForDelivery {
    held: HashMap<String, Held>,
}

struct Held {
    at: Millis,
    again_at: Millis,
}

impl OutForDelivery {
    /// Forgets alarms whose time to be done has passed: they may be delivered again, if they still exist.
    pub(crate) fn prune(&mut self, now: Millis) {
        self.held.retain(|_, held| held.again_at > now);
    }

    /// Whether the alarm `id`, set for `at`, may be delivered now; if so it counts as delivered. If not: when it may.
    pub(crate) fn deliver(&mut self, id: &str, at: Millis, now: Millis) -> Result<(), Millis> {
        match self.held.get(id) {
            Some(held) if held.at == at && held.again_at > now => Err(held.again_at),
            _ => {
                self.held.insert(id.to_owned(), Held { at, again_at: after(now, REDELIVERY) });
                Ok(())
            }
        }
    }

    /// Forgets an alarm that is done or cancelled, or whose body was replaced.
    pub(crate) fn forget(&mut self, id: &str) {
        self.held.remove(id);
    }
}
