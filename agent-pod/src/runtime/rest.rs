//! Whether a worker is to rest: it takes no tasks, finishes what it has, and goes on when it is told.
//!
//! The orders of a pool are a status that whoever scales it says again and again. What is not said any more holds no longer,
//! so a pool whose operator is away works with all its agents.

use std::{sync::Arc, time::Duration};

use flow::{PoolOrders, keys::ORDERS};
use queue::{STATUS_TTL, Statuses};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::stop::Stop;
use crate::error::chain;

/// Wait before a broker is asked again that would not let us listen.
const AGAIN: Duration = Duration::from_secs(1);

/// What a worker was told; shared by who tells it and who does it.
#[derive(Clone)]
pub struct Rest(Arc<watch::Sender<bool>>);

impl Default for Rest {
    /// Nobody rests who was not told to.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Rest {
    /// Tells it.
    pub fn tell(&self, rests: bool) {
        self.0.send_if_modified(|now| std::mem::replace(now, rests) != rests);
    }

    /// Whether it is to rest.
    pub fn is_told(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is to rest, or when it is not.
    pub async fn told(&self, rests: bool) {
        // We hold the sender, so it cannot be gone.
        drop(self.0.subscribe().wait_for(|now| *now == rests).await);
    }

    /// Does what the orders of its pool say of this agent until the process is to stop. Without orders, and with ones that
    /// cannot be read, it pulls.
    pub async fn follow(&self, statuses: &dyn Statuses, (pool, name): (&str, &str), stop: &Stop) {
        let mut orders = Orders::new(self, (pool, name), STATUS_TTL);
        tokio::select! {
            () = stop.cordoned() => {}
            () = orders.hear(statuses) => {}
        }
    }
}

/// The orders of a pool, as one of its agents hears them.
pub struct Orders<'a> {
    rest: &'a Rest,
    pool: &'a str,
    name: &'a str,
    /// The highest that was seen.
    epoch: u64,
    /// How long they hold that are not said again.
    hold: Duration,
}

impl<'a> Orders<'a> {
    /// For an agent of a pool, by their names; an order that is not said again holds for this long.
    pub fn new(rest: &'a Rest, (pool, name): (&'a str, &'a str), hold: Duration) -> Self {
        Self { rest, pool, name, epoch: 0, hold }
    }

    /// Hears the pool's orders and obeys them, for ever.
    pub async fn hear(&mut self, statuses: &dyn Statuses) {
        loop {
            match statuses.watch(&format!("{ORDERS}{}", self.pool)).await {
                Ok(words) => self.obey(words).await,
                Err(error) => {
                    tracing::debug!(error = %chain(&error), pool = self.pool, "the pool's orders are not heard");
                }
            }
            self.say(false);
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Obeys what is said until nothing can be said any more.
    async fn obey(&mut self, mut words: watch::Receiver<Option<bytes::Bytes>>) {
        let mut holds_until = Instant::now();
        loop {
            let word = tokio::select! {
                changed = words.changed() => match changed {
                    Ok(()) => words.borrow_and_update().clone(),
                    Err(_) => return,
                },
                () = sleep_until(holds_until), if self.rest.is_told() => None,
            };
            match word.as_deref().map(PoolOrders::decode) {
                None => self.say(false),
                Some(Ok(orders)) if orders.epoch < self.epoch => {
                    tracing::debug!(pool = self.pool, epoch = orders.epoch, "orders of one who has been replaced");
                }
                Some(Ok(orders)) => {
                    self.epoch = orders.epoch;
                    holds_until = Instant::now() + self.hold;
                    self.say(orders.resting.iter().any(|name| name == self.name));
                }
                Some(Err(error)) => {
                    tracing::warn!(error = %chain(&error), pool = self.pool, "the pool's orders cannot be read");
                    self.say(false);
                }
            }
        }
    }

    fn say(&self, rests: bool) {
        if self.rest.is_told() != rests {
            tracing::info!(pool = self.pool, "{}", if rests { "told to rest" } else { "told to take tasks again" });
        }
        self.rest.tell(rests);
    }
}
