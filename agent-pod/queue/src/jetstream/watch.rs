//! Waits for messages of a pool, for all pulls of this process together.
//!
//! While pulls wait, one request a priority lies at the server, each for one message. When the last pull got what it waited
//! for, they stay until their time is over, since the next pull is near. When it was given up, or nobody is to pull any more,
//! they are withdrawn: what the server would still send goes to others. Pulls that wait when their process leaves end when
//! that is done, so that they take along what came until then.
//!
//! Withdrawing loses no message of a single server: one that it was just about to send it puts back at once, and counts as
//! delivered. Of several, one that another server has passed on just then is delivered again only after its lease; so it is not
//! done after each pull.

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
/// How long nobody pulls before the requests of a pull that was given up are withdrawn: who gives up and pulls again at once
/// finds them where they were.
const MOMENT: Duration = Duration::from_millis(50);
/// Wait after trouble, so that a broker in trouble is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether somebody waits, and whether that is attended to.
#[derive(Default)]
pub(super) struct Watch {
    /// Pulls that look or wait.
    pulls: usize,
    /// Pulls that wait.
    demand: usize,
    running: bool,
    /// When the requests are withdrawn, unless somebody pulls then.
    withdraw_at: Option<Instant>,
    /// Subscriptions that may still bring what was asked for.
    expected: usize,
    /// How often this process left the pool.
    left: u64,
    /// Up to which time of these all has come that was asked for before it.
    settled: u64,
}

/// A subscription that may still bring messages. Dropping it says that it does not.
pub(super) struct Expected(Arc<Pool>);

impl Drop for Expected {
    fn drop(&mut self) {
        let mut watch = lock(&self.0.watch);
        watch.expected -= 1;
        if watch.expected == 0 && watch.settled != watch.left {
            watch.settled = watch.left;
            self.0.arrived.notify_waiters();
        }
    }
}

/// A pull. Dropping it gives it up.
pub(super) struct Pull {
    pool: Arc<Pool>,
    waits: bool,
    over: bool,
    /// How often the process had left when it began.
    left: u64,
}

impl Pull {
    /// Has messages stashed from now on, until the pull ends or the process leaves.
    pub(super) fn wait(&mut self) {
        let pool = &self.pool;
        let mut watch = lock(&pool.watch);
        if self.left == watch.left {
            self.waits = true;
            watch.demand += 1;
            watch.withdraw_at = None;
            if !watch.running {
                watch.running = true;
                pool.broker.runtime.spawn(Arc::clone(pool).attend());
            }
        }
        drop(watch);
        pool.changed.notify_one();
    }

    /// The pull ends as pulls do.
    pub(super) fn end(mut self) {
        self.over = true;
    }

    /// Whether the process has left since, and all that still came is stashed.
    pub(super) fn is_left(&self) -> bool {
        self.left < lock(&self.pool.watch).settled
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        {
            let mut watch = lock(&self.pool.watch);
            // Leaving has ended it already.
            if self.left < watch.left {
                return;
            }
            watch.pulls -= 1;
            if self.waits {
                watch.demand -= 1;
                watch.withdraw_at = (!self.over).then(|| Instant::now() + MOMENT);
            }
        }
        self.pool.changed.notify_one();
    }
}

impl Pool {
    /// How often this process has left the pool.
    pub(super) fn times_left(&self) -> u64 {
        lock(&self.watch).left
    }

    /// Begins a pull. Requests of one that was given up stay for it, also while it looks: a server that has two requests for its
    /// last message may give it to either, and what it gives to one that is withdrawn counts as delivered.
    pub(super) fn begin(self: &Arc<Self>) -> Pull {
        let mut watch = lock(&self.watch);
        watch.pulls += 1;
        if watch.withdraw_at.is_some() {
            self.changed.notify_one();
        }
        Pull { pool: Arc::clone(self), waits: false, over: false, left: watch.left }
    }

    /// Ends the demand there is, and withdraws the requests at once.
    pub(super) fn leave(&self) {
        {
            let mut watch = lock(&self.watch);
            watch.pulls = 0;
            watch.demand = 0;
            watch.left += 1;
            if watch.expected == 0 {
                watch.settled = watch.left;
                self.arrived.notify_waiters();
            }
        }
        self.left.notify_waiters();
        self.changed.notify_one();
    }

    /// Notes that a subscription may bring messages for as long as this lives.
    pub(super) fn expect(self: &Arc<Self>) -> Expected {
        lock(&self.watch).expected += 1;
        Expected(Arc::clone(self))
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
        let _expected = self.expect();
        let mut broken = pin!(self.broker.broken());
        let mut asking = Asking::begin(&self.broker, class_of).await?;
        let mut asked = [Instant::now(); 4];
        let begun = self.times_left();
        loop {
            let (demand, withdraw_at, is_left) = {
                let watch = lock(&self.watch);
                let is_left = watch.left > begun;
                let at = watch.withdraw_at.filter(|_| watch.pulls == 0);
                (watch.demand, if is_left { Some(Instant::now()) } else { at }, is_left)
            };
            if asking.is_withdrawn() {
                // Who waits by now is served by requests of their own.
                if !asking.any_open() {
                    return Ok(());
                }
            } else if is_left && !asking.any_open() {
                return Ok(());
            } else if !is_left && demand > lock(&self.stash).len() {
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
                () = tokio::time::sleep_until(withdraw_at.unwrap_or_else(Instant::now).into()),
                    if withdraw_at.is_some() && !asking.is_withdrawn() => asking.withdraw(&self.broker).await?,
                () = tokio::time::sleep_until(overdue.into()), if asking.any_open() => {
                    return Err(Failure::Silent(HELD + LATE));
                }
            }
        }
    }
}
