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
        let mut orders = Orders { rest: self, pool, name, epoch: 0, hold: STATUS_TTL };
        tokio::select! {
            () = stop.cordoned() => {}
            () = orders.hear(statuses) => {}
        }
    }
}

/// The orders of a pool, as one of its agents hears them.
struct Orders<'a> {
    rest: &'a Rest,
    pool: &'a str,
    name: &'a str,
    /// The highest that was seen.
    epoch: u64,
    /// How long they hold that are not said again.
    hold: Duration,
}

impl Orders<'_> {
    async fn hear(&mut self, statuses: &dyn Statuses) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Says something, and has whoever hears it do what it means.
    async fn say(statuses: &dyn Statuses, word: Vec<u8>) {
        statuses.publish("_orders/readers", word.into()).await.expect("said");
        settle().await;
    }

    async fn order(statuses: &dyn Statuses, epoch: u64, resting: &[&str]) {
        let resting = resting.iter().map(|name| (*name).to_owned()).collect();
        say(statuses, PoolOrders { epoch, resting }.encode()).await;
    }

    /// On one thread, everybody has had several turns then.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_agent_rests_while_orders_name_it_that_can_be_read_and_are_not_overtaken() {
        let statuses = queue::memory::open().statuses;
        let (rest, stop) = (Rest::default(), Stop::default());
        let following = {
            let (rest, stop, statuses) = (rest.clone(), stop.clone(), Arc::clone(&statuses));
            tokio::spawn(async move { rest.follow(statuses.as_ref(), ("readers", "one"), &stop).await })
        };
        settle().await;
        let statuses = statuses.as_ref();
        order(statuses, 3, &["two"]).await;
        assert!(!rest.is_told(), "another is meant");
        order(statuses, 3, &["two", "one"]).await;
        assert!(rest.is_told());
        order(statuses, 2, &[]).await;
        assert!(rest.is_told(), "who is replaced orders nothing");
        order(statuses, 4, &["two"]).await;
        assert!(!rest.is_told());
        order(statuses, 5, &["one"]).await;
        assert!(rest.is_told());
        say(statuses, b"nonsense".to_vec()).await;
        assert!(!rest.is_told(), "they cannot be read");
        order(statuses, 5, &["one"]).await;
        assert!(rest.is_told());
        statuses.remove("_orders/readers").await.expect("taken back");
        settle().await;
        assert!(!rest.is_told(), "they were taken back");
        stop.cordon();
        following.await.expect("it ends with the process");
    }

    #[tokio::test]
    async fn orders_that_nobody_says_again_hold_no_longer() {
        let statuses = queue::memory::open().statuses;
        let rest = Rest::default();
        let mut orders =
            Orders { rest: &rest, pool: "readers", name: "one", epoch: 0, hold: Duration::from_millis(50) };
        let ordering = async {
            settle().await;
            order(statuses.as_ref(), 1, &["one"]).await;
            assert!(rest.is_told());
            tokio::time::timeout(Duration::from_secs(30), rest.told(false)).await
        };
        let ended = tokio::select! {
            ended = ordering => ended,
            () = orders.hear(statuses.as_ref()) => panic!("it never ends"),
        };
        ended.expect("it takes tasks again");
    }
}
