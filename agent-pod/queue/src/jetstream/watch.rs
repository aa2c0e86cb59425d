//! Waits for messages of a pool, for all pulls of this process together.
//!
//! While pulls wait, one request a priority lies at the server, each for one message. They expire by themselves soon after
//! the last pull went away; taking them back at once could lose a message that is under way, for as long as a lease.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    asking::{Answer, Ask, Asking, Patience},
    failure::Failure,
    pool::{Pool, class_name, class_of},
    stash::lock,
};
use crate::Priority;

/// How long a request lies at the server: the longer, the less traffic while nothing happens; the shorter, the fewer
/// messages come when nobody wants them any more.
const HELD: Duration = Duration::from_secs(2);
/// How much later than that the server's word must have come.
const LATE: Duration = Duration::from_secs(3);
/// Wait after trouble, so that a broker in trouble is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether somebody waits, and whether that is attended to.
#[derive(Default)]
pub(super) struct Watch {
    demand: usize,
    running: bool,
}

/// A pull that waits.
pub(super) struct Demand(Arc<Pool>);

impl Drop for Demand {
    fn drop(&mut self) {
        lock(&self.0.watch).demand -= 1;
        self.0.changed.notify_one();
    }
}

impl Pool {
    /// Has messages stashed for as long as the demand lives.
    pub(super) fn demand(self: &Arc<Self>) -> Demand {
        let mut watch = lock(&self.watch);
        watch.demand += 1;
        if !watch.running {
            watch.running = true;
            self.broker.runtime.spawn(Arc::clone(self).attend());
        }
        drop(watch);
        self.changed.notify_one();
        Demand(Arc::clone(self))
    }

    async fn attend(self: Arc<Self>) {
        loop {
            if let Err(failure) = self.listen().await {
                tracing::warn!(pool = self.name, %failure, "failed to wait for messages, trying again");
                self.trouble.fetch_add(1, Ordering::AcqRel);
                // They look for themselves, and report what they find.
                self.arrived.notify_waiters();
                tokio::time::sleep(PAUSE).await;
            }
            let mut watch = lock(&self.watch);
            if watch.demand == 0 {
                watch.running = false;
                return;
            }
        }
    }

    /// Listens until nobody waits any more.
    async fn listen(self: &Arc<Self>) -> Result<(), Failure> {
        let mut broken = pin!(self.broker.broken());
        let mut asking = Asking::begin(&self.broker, class_of).await?;
        let mut asked = [Instant::now(); 4];
        loop {
            let demand = lock(&self.watch).demand;
            if demand > lock(&self.stash).len() {
                for class in Priority::ALL {
                    if !asking.is_open(class as usize) {
                        let patience = Patience::UntilAll(HELD);
                        let ask = Ask { stream: &self.stream, consumer: class_name(class), count: 1, patience };
                        asking.ask(&self.broker, class as usize, ask).await?;
                        asked[class as usize] = Instant::now();
                    }
                }
            } else if demand == 0 && !asking.any_open() {
                return Ok(());
            }
            let open = (0..asked.len()).filter(|class| asking.is_open(*class));
            let overdue = open.map(|class| asked[class]).min().unwrap_or_else(Instant::now) + HELD + LATE;
            tokio::select! {
                answer = asking.next(), if asking.any_open() => match answer {
                    Answer::Message(class, message) => self.offer(self.read(class, message).into_iter().collect()),
                    Answer::Ended => {}
                    Answer::Interrupted(why) => return Err(Failure::Request(why.into())),
                    Answer::Missing => {
                        self.doubt();
                        return Err(Failure::Nobody { subject: self.stream.clone() });
                    }
                },
                failure = &mut broken => return Err(failure),
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(overdue.into()), if asking.any_open() => {
                    return Err(Failure::Silent(HELD + LATE));
                }
            }
        }
    }
}
