//! The queue in tables of the state file.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use redb::{ReadTransaction, ReadableTable};

use super::{
    failure::Stop,
    leases::{self, Lease},
    schema::{Batch, DEPTHS, DepthRow, FINISHED, LATER, MESSAGES},
    writer::{Mailbox, Store},
};
use crate::{
    DEDUPLICATION_WINDOW, Delivery, Depth, Discarded, Message, Millis, Priority, Queue, Receipt, Result,
    clock::{Clock, after},
    waiting::{Attempt, until_found},
};

/// Forgotten ids an acknowledgement: more than the one that it adds, so that the table shrinks to the window's size.
const FORGET_AT_ONCE: usize = 4;

/// The queue of one folder.
pub(super) struct EmbeddedQueue {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    lease: Duration,
}

impl EmbeddedQueue {
    pub(super) fn new(store: Arc<Store>, clock: Arc<dyn Clock>, lease: Duration) -> Self {
        Self { store, clock, lease }
    }

    async fn look(&self, pool: &str, max: usize) -> Result<Attempt<Delivery>> {
        let (pool, clock, lease, mailbox) =
            (pool.to_owned(), Arc::clone(&self.clock), self.lease, self.store.mailbox());
        let pulled = move |batch: &mut Batch<'_>| {
            let now = clock.now();
            let found = pull(batch, &pool, max, Lease::granted(now, lease))?;
            let ready_at = leases::next_change(batch, &pool)?;
            Ok((Handover { deliveries: found, mailbox }, ready_at))
        };
        let (handover, ready_at) = self.store.write("pull messages", pulled).await?;
        Ok(Attempt { found: handover.accept(), ready_at })
    }
}

#[async_trait]
impl Queue for EmbeddedQueue {
    async fn publish(&self, messages: Vec<Message>) -> Result<()> {
        let clock = Arc::clone(&self.clock);
        self.store.write("publish messages", move |batch| publish(batch, &messages, clock.now())).await
    }

    async fn pull(&self, pool: &str, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let deadline = after(self.clock.now(), wait);
        let signal = self.store.signals().pools.of(pool);
        let look = || self.look(pool, max);
        signal.unless_left(until_found(self.clock.as_ref(), &signal.arrived, deadline, look)).await
    }

    fn leave(&self, pool: &str) {
        self.store.signals().pools.leave(pool);
    }

    async fn extend(&self, receipt: &Receipt) -> Result<()> {
        let (receipt, clock, lease) = (receipt.clone(), Arc::clone(&self.clock), self.lease);
        self.store
            .write("extend a lease", move |batch| {
                let now = clock.now();
                leases::extend(batch, &receipt, Lease::granted(now, lease))
            })
            .await
    }

    async fn ack(&self, receipt: &Receipt) -> Result<()> {
        let (receipt, clock) = (receipt.clone(), Arc::clone(&self.clock));
        self.store.write("acknowledge a message", move |batch| acknowledge(batch, &receipt, clock.now())).await
    }

    async fn release(&self, receipt: &Receipt, delay: Duration) -> Result<()> {
        let (receipt, clock) = (receipt.clone(), Arc::clone(&self.clock));
        self.store
            .write("release a message", move |batch| {
                let now = clock.now();
                leases::release(batch, &receipt, now, after(now, delay))
            })
            .await
    }

    async fn depth(&self, pool: &str) -> Result<Depth> {
        self.store.read("read the depth of a pool", |transaction| depth(transaction, pool, self.clock.now())).await
    }

    async fn discard(&self, pool: &str, _: Priority, id: &str) -> Result<Discarded> {
        let (pool, id, clock) = (pool.to_owned(), id.to_owned(), Arc::clone(&self.clock));
        let discard = move |batch: &mut Batch<'_>| Ok(leases::discard(batch, &pool, &id, clock.now())?);
        self.store.write("discard a message", discard).await
    }

    fn lease(&self) -> Duration {
        self.lease
    }
}

/// Deliveries on their way to the caller. If the caller is gone when they arrive, they go back as if never delivered.
struct Handover {
    deliveries: Vec<Delivery>,
    mailbox: Mailbox,
}

impl Handover {
    fn accept(mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        for delivery in self.deliveries.drain(..) {
            self.mailbox.post("return a message", move |batch| leases::give_back(batch, &delivery.receipt));
        }
    }
}

fn publish(batch: &mut Batch<'_>, messages: &[Message], now: Millis) -> std::result::Result<(), Stop> {
    let mut pools = BTreeSet::new();
    for message in messages {
        let known = batch.ids.get(message.id.as_str())?.map(|known| known.value().1);
        let swallowed = match known {
            None => false,
            Some(None) => true,
            Some(Some(acknowledged_at)) => after(acknowledged_at, DEDUPLICATION_WINDOW) > now,
        };
        if swallowed {
            continue;
        }
        let (sequence, class, pool) = (batch.next_number(), message.priority as u8, message.pool.as_str());
        batch.messages.insert((pool, sequence), (class, 0, now, None, None, message.id.as_str()))?;
        batch.bodies.insert(sequence, message.body.as_ref())?;
        batch.ids.insert(message.id.as_str(), (sequence, None))?;
        batch.ready.insert((pool, class, sequence), ())?;
        leases::change_depth(batch, pool, |depth| depth[usize::from(class)] += 1)?;
        pools.insert(pool);
    }
    batch.wake.pools.extend(pools.into_iter().map(str::to_owned));
    Ok(())
}

fn pull(batch: &mut Batch<'_>, pool: &str, max: usize, lease: Lease) -> std::result::Result<Vec<Delivery>, Stop> {
    leases::end_overdue(batch, pool, lease.now)?;
    let mut next = [None; 4];
    for class in Priority::ALL {
        next[class as usize] = first_ready(batch, pool, class)?;
    }
    let mut found = Vec::new();
    while found.len() < max {
        let waiting = next.map(|sequence| sequence.is_some());
        if waiting == [false; 4] {
            break;
        }
        if !batch.choices.contains_key(pool) {
            batch.choices.insert(pool.to_owned(), Default::default());
        }
        let Some(class) = batch.choices.get_mut(pool).and_then(|choice| choice.choose(waiting)) else { break };
        let Some(sequence) = next[class as usize] else { break };
        if let Some(delivery) = leases::grant(batch, pool, sequence, class, lease)? {
            found.push(delivery);
        }
        next[class as usize] = first_ready(batch, pool, class)?;
    }
    Ok(found)
}

fn first_ready(batch: &Batch<'_>, pool: &str, class: Priority) -> std::result::Result<Option<u64>, redb::Error> {
    let class = class as u8;
    let first = batch.ready.range((pool, class, 0)..=(pool, class, u64::MAX))?.next().transpose()?;
    Ok(first.map(|(key, _)| key.value().2))
}

fn acknowledge(batch: &mut Batch<'_>, receipt: &Receipt, now: Millis) -> std::result::Result<(), Stop> {
    let (sequence, row) = leases::running(batch, receipt, now)?;
    let pool = receipt.pool.as_str();
    leases::leave_place(batch, pool, sequence, &row)?;
    batch.messages.remove((pool, sequence))?;
    batch.bodies.remove(sequence)?;
    batch.ids.insert(receipt.id.as_str(), (sequence, Some(now)))?;
    batch.acknowledged.insert((now, receipt.id.as_str()), ())?;
    leases::change_depth(batch, pool, |depth| depth[leases::IN_WORK] -= 1)?;
    leases::finish(batch, pool)?;
    forget_old_ids(batch, now)?;
    Ok(())
}

fn forget_old_ids(batch: &mut Batch<'_>, now: Millis) -> std::result::Result<(), redb::Error> {
    for _ in 0..FORGET_AT_ONCE {
        let Some((at, id)) = batch.acknowledged.first()?.map(|(key, _)| (key.value().0, key.value().1.to_owned()))
        else {
            break;
        };
        if after(at, DEDUPLICATION_WINDOW) > now {
            break;
        }
        batch.acknowledged.remove((at, id.as_str()))?;
        // The id may have been published again since, or acknowledged again: then a later entry stands for it.
        let stands = batch.ids.get(id.as_str())?.is_some_and(|known| known.value().1 == Some(at));
        if stands {
            batch.ids.remove(id.as_str())?;
        }
    }
    Ok(())
}

/// Makes ready what the process before had in work, keeping the count of deliveries.
pub(super) fn end_all_leases(batch: &mut Batch<'_>) -> std::result::Result<(), redb::Error> {
    let mut pools: Vec<String> = Vec::new();
    for row in batch.depths.iter()? {
        pools.push(row?.0.value().to_owned());
    }
    for pool in pools {
        leases::end_every_lease(batch, &pool)?;
    }
    Ok(())
}

fn depth(transaction: &ReadTransaction, pool: &str, now: Millis) -> std::result::Result<Depth, redb::Error> {
    let counts: DepthRow = transaction.open_table(DEPTHS)?.get(pool)?.map_or([0; 5], |row| row.value());
    let finished = transaction.open_table(FINISHED)?.get(pool)?.map_or(0, |count| count.value());
    let mut depth = Depth {
        pending: std::array::from_fn(|class| counts[class]),
        in_work: counts[leases::IN_WORK],
        finished,
        arrived: finished + counts.iter().sum::<u64>(),
        ..Depth::default()
    };
    let messages = transaction.open_table(MESSAGES)?;
    // Those under a lease are few, so the first that nobody holds is near.
    for message in messages.range((pool, 0)..=(pool, u64::MAX))? {
        let (_, _, published_at, lease, until, _) = message?.1.value();
        let age = Some(Duration::from_millis(now.saturating_sub(published_at)));
        depth.oldest = depth.oldest.or(age);
        if lease.is_none() || until.is_none_or(|until| until <= now) {
            depth.oldest_wait = age;
            break;
        }
    }
    // Leases that have run out are counted as in work until a pull finds them; they are few.
    for overdue in transaction.open_table(LATER)?.range((pool, 0, 0)..=(pool, now, u64::MAX))? {
        let sequence = overdue?.0.value().2;
        if let Some(row) = messages.get((pool, sequence))?
            && row.value().3.is_some()
        {
            depth.in_work -= 1;
            depth.pending[usize::from(row.value().0)] += 1;
        }
    }
    Ok(depth)
}
