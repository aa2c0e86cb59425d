//! The queue: a work-queue stream a pool, a consumer a priority, a subject a message.
//!
//! A message is there once: it is published on the condition that its own subject is empty, which it is again when it was
//! acknowledged; and the broker remembers ids for the deduplication window, counted from when they were published.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};

use super::{
    Settings,
    broker::Broker,
    depth::Sampled,
    failure::{Failure, code},
    leases::Leases,
    names,
    pool::Pool,
    stash::{Handover, ID_HEADER, lock},
    woken::Woken,
};
use crate::{Delivery, Depth, Discarded, Message, Priority, Queue, Receipt, Result as PortResult};

/// Messages under way to the broker at once, a call: enough to hide the time of its disk, little enough to hold.
const UNDER_WAY: usize = 256;
/// Tries to publish a message while others publish and settle the same.
const TRIES: usize = 5;
/// Wait before such a try.
const PAUSE: Duration = Duration::from_millis(20);
/// Pools remembered before those that nobody uses are forgotten.
const POOLS: usize = 1024;

/// The queue of a broker.
pub(super) struct JetStreamQueue {
    broker: Arc<Broker>,
    settings: Settings,
    pools: Mutex<HashMap<String, Arc<Pool>>>,
    leases: Leases,
}

impl JetStreamQueue {
    pub(super) fn new(broker: Arc<Broker>, settings: Settings) -> Self {
        Self { broker, settings, pools: Mutex::default(), leases: Leases::default() }
    }

    fn pool(&self, name: &str) -> Arc<Pool> {
        let mut pools = lock(&self.pools);
        if let Some(pool) = pools.get(name) {
            return Arc::clone(pool);
        }
        if pools.len() >= POOLS {
            pools.retain(|_, pool| Arc::strong_count(pool) > 1);
        }
        let pool = Arc::new(Pool::new(Arc::clone(&self.broker), name, &self.settings));
        pools.insert(name.to_owned(), Arc::clone(&pool));
        pool
    }

    /// Makes what a pool needs, where it is missing.
    pub(super) async fn make_pool(&self, name: &str) -> Result<(), Failure> {
        let pool = self.pool(name);
        pool.doubt();
        pool.ensure().await
    }

    /// Removes a pool; removing nothing is no error.
    pub(super) async fn remove_pool(&self, name: &str) -> Result<(), Failure> {
        let pool = self.pool(name);
        pool.doubt();
        self.broker.drop_stream(&pool.stream).await
    }

    /// What waits in a pool, and some of it; `None` where the pool is not there.
    pub(super) async fn sample(&self, name: &str, most: usize) -> Result<Option<(Depth, Vec<Sampled>)>, Failure> {
        self.pool(name).depth(most).await
    }

    /// A way to wait for the next task of a pool.
    pub(super) async fn woken(&self, name: &str) -> Result<Woken, Failure> {
        self.pool(name).woken().await
    }

    async fn publish_all(&self, messages: Vec<Message>) -> Result<(), Failure> {
        let names: HashSet<&str> = messages.iter().map(|message| message.pool.as_str()).collect();
        let pools: HashMap<String, Arc<Pool>> =
            names.into_iter().map(|name| (name.to_owned(), self.pool(name))).collect();
        // Where others make the streams, publishing alone shows whether they are there.
        if self.broker.makes_streams {
            try_join_all(pools.values().map(|pool| pool.ensure())).await?;
        }
        let publishes = messages.into_iter().map(|message| {
            let pool = Arc::clone(&pools[&message.pool]);
            async move { publish(&pool, message).await }
        });
        stream::iter(publishes).buffered(UNDER_WAY).try_collect().await
    }

    async fn pull_from(&self, pool: &Arc<Pool>, max: usize, wait: Duration) -> Result<Handover, Failure> {
        pool.ensure().await?;
        let deadline = tokio::time::Instant::now() + wait;
        let mut pull = pool.begin();
        let mut found = pool.take_stashed(max);
        if found.len() < max {
            found.add(pool.look(max - found.len()).await?);
        }
        if found.len() > 0 || wait.is_zero() {
            return Ok(found);
        }
        pull.wait();
        let mut trouble = pool.trouble.load(Ordering::Acquire);
        let is_left = loop {
            let mut arrived = pin!(pool.arrived.notified());
            arrived.as_mut().enable();
            let is_left = pull.is_left();
            found.add(pool.take_stashed(max));
            let trouble_now = pool.trouble.load(Ordering::Acquire);
            if found.len() == 0 && trouble_now != trouble {
                trouble = trouble_now;
                pool.ensure().await?;
                found.add(pool.look(max).await?);
            }
            if found.len() > 0 || is_left {
                break is_left;
            }
            tokio::select! {
                () = arrived => {}
                () = tokio::time::sleep_until(deadline) => break false,
            }
        };
        pull.end();
        if found.len() == 0 {
            return Ok(found);
        }
        // The first of a burst: its companions are there by now. Who leaves has enough.
        if found.len() < max && !is_left {
            match pool.look(max - found.len()).await {
                Ok(more) => found.add(more),
                Err(failure) => tracing::warn!(pool = pool.name, %failure, "failed to fill a batch"),
            }
        }
        Ok(found)
    }

    /// Tells the server what became of a delivery; returns when it has noted it.
    async fn settle(&self, receipt: &Receipt, word: Bytes) -> PortResult<Result<(), Failure>> {
        let reply = self.leases.running(receipt)?;
        Ok(self.broker.request(&reply, word).await.map(drop))
    }
}

#[async_trait]
impl Queue for JetStreamQueue {
    async fn publish(&self, messages: Vec<Message>) -> PortResult<()> {
        self.publish_all(messages).await.map_err(|failure| failure.during("publish messages"))
    }

    async fn pull(&self, pool: &str, max: usize, wait: Duration) -> PortResult<Vec<Delivery>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let pool = self.pool(pool);
        match self.pull_from(&pool, max, wait).await {
            Ok(found) => Ok(found.accept(&self.leases, self.settings.lease)),
            Err(failure) => Err(failure.during("pull messages")),
        }
    }

    fn leave(&self, pool: &str) {
        if let Some(pool) = lock(&self.pools).get(pool) {
            pool.leave();
        }
    }

    async fn extend(&self, receipt: &Receipt) -> PortResult<()> {
        let start = Instant::now();
        let noted = self.settle(receipt, "+WPI".into()).await?;
        noted.map_err(|failure| failure.during("extend a lease"))?;
        self.leases.extend(receipt, start, self.settings.lease);
        Ok(())
    }

    async fn ack(&self, receipt: &Receipt) -> PortResult<()> {
        let noted = self.settle(receipt, "+ACK".into()).await?;
        noted.map_err(|failure| failure.during("acknowledge a message"))?;
        self.leases.end(receipt);
        Ok(())
    }

    async fn release(&self, receipt: &Receipt, delay: Duration) -> PortResult<()> {
        let word = match delay.as_nanos() {
            0 => "-NAK".into(),
            delay => format!("-NAK {{\"delay\":{}}}", i64::try_from(delay).unwrap_or(i64::MAX)).into(),
        };
        let noted = self.settle(receipt, word).await?;
        noted.map_err(|failure| failure.during("release a message"))?;
        self.leases.end(receipt);
        Ok(())
    }

    async fn depth(&self, pool: &str) -> PortResult<Depth> {
        let read = self.pool(pool).depth(0).await;
        read.map(|read| read.unwrap_or_default().0).map_err(|failure| failure.during("read the depth of a pool"))
    }

    async fn discard(&self, pool: &str, priority: Priority, id: &str) -> PortResult<Discarded> {
        let discarded = self.pool(pool).discard(priority, id).await;
        discarded.map_err(|failure| failure.during("discard a message"))
    }

    fn lease(&self) -> Duration {
        self.settings.lease
    }
}

/// Publishes a message, unless it is there.
async fn publish(pool: &Pool, message: Message) -> Result<(), Failure> {
    let subject = pool.subject(message.priority, &message.id);
    let mut headers = HeaderMap::new();
    headers.insert(ID_HEADER, names::token(&message.id));
    headers.insert("Nats-Msg-Id", names::digest(&message.id));
    headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
    let mut tries = 0;
    loop {
        let Err(failure) = pool.broker.publish(&subject, headers.clone(), message.body.clone()).await else {
            return Ok(());
        };
        tries += 1;
        if failure.is_conflict() {
            // "Refused, for it is there" may speak of a message that the servers do not agree on after all, or that was
            // acknowledged since: only what can be read is there.
            if pool.broker.last(&pool.stream, &subject).await?.is_some() {
                return Ok(());
            }
        } else if matches!(failure, Failure::Nobody { .. }) {
            pool.doubt();
            pool.ensure().await?;
        } else if !failure.is(code::DUPLICATE_IN_FLIGHT) {
            return Err(failure);
        }
        if tries == TRIES {
            return Err(failure);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
