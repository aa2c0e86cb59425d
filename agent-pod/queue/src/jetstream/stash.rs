//! Messages on their way from the server to a worker. None gets lost on the way: one that arrives when nobody wants it
//! any more is offered to the next pull of this process for a moment, and then handed back to the server.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{Message, Subject, jetstream};
use bytes::Bytes;

use super::{broker::Broker, leases::Leases, names, pool::Pool};
use crate::{Delivery, Millis, Priority};

/// Header that holds a task's id, escaped as a token.
pub(super) const ID_HEADER: &str = "Docket-Id";

/// How long an unwanted message is offered here before it is handed back, which counts as a delivery.
const OFFERED: Duration = Duration::from_millis(500);

/// A message that the server has given to this process.
pub(super) struct Taken {
    id: String,
    body: Bytes,
    class: usize,
    reply: Subject,
    deliveries: u32,
    published_at: Millis,
    at: Instant,
}

/// Messages that nobody holds, by priority.
#[derive(Default)]
pub(super) struct Stash {
    classes: [VecDeque<Taken>; 4],
}

/// Messages for a caller. What is left when it is dropped goes back.
pub(super) struct Handover {
    pool: Arc<Pool>,
    taken: Vec<Taken>,
}

impl Taken {
    /// Reads a message; `None` if it is not one of ours.
    fn of(broker: &Broker, class: usize, message: Message) -> Option<Self> {
        let id = names::name(message.headers.as_ref()?.get(ID_HEADER)?.as_str())?;
        let (reply, body) = (message.reply.clone()?, message.payload.clone());
        let message = jetstream::Message { message, context: broker.context.clone() };
        let info = message.info().ok()?;
        Some(Self {
            id,
            body,
            class,
            reply,
            deliveries: u32::try_from(info.delivered).unwrap_or(u32::MAX),
            published_at: Millis::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or_default(),
            at: Instant::now(),
        })
    }

    fn deliver(self, pool: &str, leases: &Leases, lease: Duration) -> Delivery {
        let receipt = leases.grant(pool, &self.id, self.reply, self.at + lease);
        let priority = Priority::ALL[self.class];
        Delivery {
            message: crate::Message { id: self.id, pool: pool.to_owned(), priority, body: self.body },
            receipt,
            deliveries: self.deliveries,
            published_at: self.published_at,
        }
    }
}

impl Stash {
    pub(super) fn len(&self) -> usize {
        self.classes.iter().map(VecDeque::len).sum()
    }
}

impl Handover {
    pub(super) fn of(pool: &Arc<Pool>, taken: Vec<Taken>) -> Self {
        Self { pool: Arc::clone(pool), taken }
    }

    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    pub(super) fn add(&mut self, mut other: Self) {
        self.taken.append(&mut other.taken);
    }

    /// The messages are the caller's now.
    pub(super) fn accept(mut self, leases: &Leases, lease: Duration) -> Vec<Delivery> {
        let taken = std::mem::take(&mut self.taken);
        taken.into_iter().map(|taken| taken.deliver(&self.pool.name, leases, lease)).collect()
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        self.pool.offer(std::mem::take(&mut self.taken));
    }
}

impl Pool {
    /// What a message says. One that is not ours can never be worked: it is taken out of the way.
    pub(super) fn read(&self, class: usize, message: Message) -> Option<Taken> {
        let (subject, reply) = (message.subject.clone(), message.reply.clone());
        let taken = Taken::of(&self.broker, class, message);
        if taken.is_none() {
            tracing::error!(%subject, "removed a message that Docket has not written");
            if let Some(reply) = reply {
                let client = self.broker.client.clone();
                self.broker.runtime.spawn(async move { client.publish(reply, "+TERM".into()).await });
            }
        }
        taken
    }

    /// Offers messages to the pulls of this process, for a moment.
    pub(super) fn offer(self: &Arc<Self>, taken: Vec<Taken>) {
        if taken.is_empty() {
            return;
        }
        let replies: Vec<Subject> = taken.iter().map(|taken| taken.reply.clone()).collect();
        {
            let mut stash = lock(&self.stash);
            for taken in taken {
                stash.classes[taken.class].push_back(taken);
            }
        }
        self.arrived.notify_waiters();
        self.changed.notify_one();
        let pool = Arc::clone(self);
        self.broker.runtime.spawn(async move {
            tokio::time::sleep(OFFERED).await;
            pool.hand_back(&replies).await;
        });
    }

    /// Hands back what is still here of these.
    async fn hand_back(&self, replies: &[Subject]) {
        let mut unwanted = Vec::new();
        {
            let mut stash = lock(&self.stash);
            for class in &mut stash.classes {
                class.retain(|taken| {
                    let stays = !replies.contains(&taken.reply);
                    if !stays {
                        unwanted.push(taken.reply.clone());
                    }
                    stays
                });
            }
        }
        for reply in unwanted {
            // If this is lost too, the lease ends by itself.
            if let Err(error) = self.broker.client.publish(reply, "-NAK".into()).await {
                tracing::warn!(%error, "failed to hand a message back");
            }
            self.changed.notify_one();
        }
    }

    /// Up to `max` messages of the stash, the most urgent by weight.
    pub(super) fn take_stashed(self: &Arc<Self>, max: usize) -> Handover {
        let mut taken = Vec::new();
        {
            let mut stash = lock(&self.stash);
            if stash.len() > 0 {
                let mut choice = lock(&self.choice);
                while taken.len() < max {
                    let waiting = std::array::from_fn(|class| !stash.classes[class].is_empty());
                    let Some(class) = choice.choose(waiting) else { break };
                    taken.extend(stash.classes[class as usize].pop_front());
                }
            }
        }
        if !taken.is_empty() {
            self.changed.notify_one();
        }
        Handover::of(self, taken)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
