//! Whether what stands in the statuses of pools was decided of late. The status has no time, as it is written only where a number
//! changes; but who leads decides all the time, and that somebody leads each process of the operator sees at the Lease.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::lease::Leadership;

/// Without a leader for longer, what was decided says nothing of now: within a minute tasks come and go, and agents start. Another
/// leader usually follows much sooner.
const OLD: Duration = Duration::from_secs(60);
/// So long may a leader that comes after that take to look at all pools: it lists pods first, for up to ten seconds.
const SETTLING: Duration = Duration::from_secs(15);
/// Whether somebody leads is looked at so often.
const LOOK: Duration = Duration::from_secs(1);

/// Since when and until when somebody was seen to lead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decided {
    since: Option<Instant>,
    until: Option<Instant>,
}

impl Decided {
    /// Takes note of whether somebody leads.
    pub fn saw(&mut self, is_led: bool, now: Instant) {
        if !is_led {
            return;
        }
        if self.is_old(now) {
            self.since = Some(now);
        }
        self.until = Some(now);
    }

    /// Whether what was decided is of now.
    pub fn is_of(&self, now: Instant) -> bool {
        !self.is_old(now) && self.since.is_some_and(|since| now - since >= SETTLING)
    }

    fn is_old(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now - until > OLD)
    }
}

/// Looks at the election for as long as there is one.
pub async fn follow(leadership: watch::Receiver<Leadership>, decided: watch::Sender<Decided>) {
    while leadership.has_changed().is_ok() {
        let now = Instant::now();
        let is_led = leadership.borrow().is_led_at(now);
        decided.send_modify(|decided| decided.saw(is_led, now));
        sleep(LOOK).await;
    }
}
