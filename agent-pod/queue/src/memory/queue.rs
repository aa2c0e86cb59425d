//! The queue in maps, one set a pool.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::count_write;
use crate::{
    DEDUPLICATION_WINDOW, Delivery, Depth, Discarded, Error, Faults, Message, Millis, Priority, Queue, Receipt, Result,
    clock::{Clock, after},
    signals::PoolSignals,
    waiting::{Attempt, until_found},
    weights::WeightedChoice,
};

/// The queue of one process.
pub(super) struct MemoryQueue {
    state: Mutex<State>,
    signals: PoolSignals,
    clock: Arc<dyn Clock>,
    lease: Duration,
    faults: Faults,
}

#[derive(Default)]
struct State {
    pools: HashMap<String, Pool>,
    ids: HashMap<String, Known>,
    acknowledged: VecDeque<(Millis, String)>,
    count: u64,
}

/// Why an id is known.
enum Known {
    Live { sequence: u64 },
    Acknowledged { at: Millis },
}

#[derive(Default)]
struct Pool {
    entries: BTreeMap<u64, Entry>,
    ready: [BTreeSet<u64>; 4],
    later: BTreeSet<(Millis, u64)>,
    choice: WeightedChoice,
    arrived: u64,
}

struct Entry {
    message: Message,
    deliveries: u32,
    published_at: Millis,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Ready,
    Delayed { until: Millis },
    Leased { until: Millis, lease: u64 },
}

impl MemoryQueue {
    pub(super) fn new(clock: Arc<dyn Clock>, lease: Duration, faults: Faults) -> Self {
        Self { state: Mutex::default(), signals: PoolSignals::default(), clock, lease, faults }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn publish(&mut self, message: Message, now: Millis) {
        let swallowed = match self.ids.get(&message.id) {
            Some(Known::Live { .. }) => true,
            Some(Known::Acknowledged { at }) => after(*at, DEDUPLICATION_WINDOW) > now,
            None => false,
        };
        if swallowed {
            return;
        }
        self.count += 1;
        let sequence = self.count;
        self.ids.insert(message.id.clone(), Known::Live { sequence });
        let pool = self.pools.entry(message.pool.clone()).or_default();
        pool.arrived += 1;
        pool.ready[message.priority as usize].insert(sequence);
        pool.entries.insert(sequence, Entry { message, deliveries: 0, published_at: now, place: Place::Ready });
    }

    /// The pool and sequence of a delivery whose lease still runs.
    fn leased(&mut self, receipt: &Receipt, now: Millis) -> Result<(&mut Pool, u64)> {
        let over = || Error::LeaseOver { id: receipt.id.clone() };
        let Some(Known::Live { sequence }) = self.ids.get(&receipt.id) else { return Err(over()) };
        let pool = self.pools.get_mut(&receipt.pool).ok_or_else(over)?;
        match pool.entries.get(sequence).map(|entry| entry.place) {
            Some(Place::Leased { until, lease }) if lease == receipt.lease && until > now => Ok((pool, *sequence)),
            _ => Err(over()),
        }
    }

    fn acknowledge(&mut self, receipt: &Receipt, now: Millis) -> Result<()> {
        let (pool, sequence) = self.leased(receipt, now)?;
        pool.remove(sequence);
        self.ids.insert(receipt.id.clone(), Known::Acknowledged { at: now });
        self.acknowledged.push_back((now, receipt.id.clone()));
        while let Some((at, id)) = self.acknowledged.pop_front_if(|(at, _)| after(*at, DEDUPLICATION_WINDOW) <= now) {
            if matches!(self.ids.get(&id), Some(Known::Acknowledged { at: newest }) if *newest == at) {
                self.ids.remove(&id);
            }
        }
        Ok(())
    }
}

impl State {
    fn discard(&mut self, pool: &str, id: &str, now: Millis) -> Result<Discarded> {
        let Some(Known::Live { sequence }) = self.ids.get(id) else {
            self.ids.remove(id);
            return Ok(Discarded::Absent);
        };
        let Some(pool) = self.pools.get_mut(pool).filter(|pool| pool.entries.contains_key(sequence)) else {
            return Ok(Discarded::Absent);
        };
        let place = pool.entries.get(sequence).map(|entry| entry.place);
        if matches!(place, Some(Place::Leased { until, .. }) if until > now) {
            return Ok(Discarded::InWork);
        }
        pool.remove(*sequence);
        self.ids.remove(id);
        Ok(Discarded::Removed)
    }
}

impl Pool {
    /// Takes an entry out of wherever it waits and puts it elsewhere.
    fn put(&mut self, sequence: u64, place: Place) {
        let Some(entry) = self.entries.get_mut(&sequence) else { return };
        let class = entry.message.priority as usize;
        match std::mem::replace(&mut entry.place, place) {
            Place::Ready => self.ready[class].remove(&sequence),
            Place::Delayed { until } | Place::Leased { until, .. } => self.later.remove(&(until, sequence)),
        };
        match place {
            Place::Ready => self.ready[class].insert(sequence),
            Place::Delayed { until } | Place::Leased { until, .. } => self.later.insert((until, sequence)),
        };
    }

    fn remove(&mut self, sequence: u64) {
        self.put(sequence, Place::Ready);
        if let Some(entry) = self.entries.remove(&sequence) {
            self.ready[entry.message.priority as usize].remove(&sequence);
        }
    }

    /// Makes ready what was leased or delayed until now.
    fn return_overdue(&mut self, now: Millis) {
        while let Some((until, sequence)) = self.later.first().copied() {
            if until > now {
                break;
            }
            self.put(sequence, Place::Ready);
        }
    }

    fn take(&mut self, now: Millis, until: Millis, lease: u64) -> Option<Delivery> {
        let class = self.choice.choose(std::array::from_fn(|class| !self.ready[class].is_empty()))?;
        let sequence = *self.ready[class as usize].first()?;
        // A lease of no length must not be found overdue by the pull that grants it.
        self.put(sequence, Place::Leased { until: until.max(now + 1), lease });
        let entry = self.entries.get_mut(&sequence)?;
        entry.deliveries = entry.deliveries.saturating_add(1);
        Some(Delivery {
            message: entry.message.clone(),
            receipt: Receipt { id: entry.message.id.clone(), pool: entry.message.pool.clone(), lease },
            deliveries: entry.deliveries,
            published_at: entry.published_at,
        })
    }

    fn depth(&self, now: Millis) -> Depth {
        let age = |entry: &Entry| Duration::from_millis(now.saturating_sub(entry.published_at));
        let mut depth = Depth {
            oldest: self.entries.first_key_value().map(|(_, entry)| age(entry)),
            arrived: self.arrived,
            finished: self.arrived - self.entries.len() as u64,
            ..Depth::default()
        };
        for entry in self.entries.values() {
            match entry.place {
                Place::Leased { until, .. } if until > now => depth.in_work += 1,
                _ => {
                    depth.pending[entry.message.priority as usize] += 1;
                    depth.oldest_wait.get_or_insert_with(|| age(entry));
                }
            }
        }
        depth
    }
}

impl MemoryQueue {
    fn look(&self, pool: &str, max: usize) -> Result<Attempt<Delivery>> {
        let now = self.clock.now();
        let mut state = self.lock();
        let state = &mut *state;
        let Some(pool) = state.pools.get_mut(pool) else {
            return Ok(Attempt { found: Vec::new(), ready_at: None });
        };
        pool.return_overdue(now);
        if pool.ready.iter().any(|class| !class.is_empty()) {
            count_write(&self.faults, "pull messages")?;
        }
        let mut found = Vec::new();
        while found.len() < max {
            state.count += 1;
            match pool.take(now, after(now, self.lease), state.count) {
                Some(delivery) => found.push(delivery),
                None => break,
            }
        }
        Ok(Attempt { found, ready_at: pool.later.first().map(|(until, _)| *until) })
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn publish(&self, messages: Vec<Message>) -> Result<()> {
        let now = self.clock.now();
        let pools: BTreeSet<String> = messages.iter().map(|message| message.pool.clone()).collect();
        {
            let mut state = self.lock();
            count_write(&self.faults, "publish messages")?;
            messages.into_iter().for_each(|message| state.publish(message, now));
        }
        pools.iter().for_each(|pool| self.signals.wake(pool));
        Ok(())
    }

    async fn pull(&self, pool: &str, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let deadline = after(self.clock.now(), wait);
        let signal = self.signals.of(pool);
        let look = || async { self.look(pool, max) };
        signal.unless_left(until_found(self.clock.as_ref(), &signal.arrived, deadline, look)).await
    }

    fn leave(&self, pool: &str) {
        self.signals.leave(pool);
    }

    async fn extend(&self, receipt: &Receipt) -> Result<()> {
        let now = self.clock.now();
        {
            let mut state = self.lock();
            count_write(&self.faults, "extend a lease")?;
            let (pool, sequence) = state.leased(receipt, now)?;
            pool.put(sequence, Place::Leased { until: after(now, self.lease).max(now + 1), lease: receipt.lease });
        }
        Ok(())
    }

    async fn ack(&self, receipt: &Receipt) -> Result<()> {
        let now = self.clock.now();
        let mut state = self.lock();
        count_write(&self.faults, "acknowledge a message")?;
        state.acknowledge(receipt, now)
    }

    async fn release(&self, receipt: &Receipt, delay: Duration) -> Result<()> {
        let now = self.clock.now();
        {
            let mut state = self.lock();
            count_write(&self.faults, "release a message")?;
            let (pool, sequence) = state.leased(receipt, now)?;
            let until = after(now, delay);
            pool.put(sequence, if until > now { Place::Delayed { until } } else { Place::Ready });
        }
        self.signals.wake(&receipt.pool);
        Ok(())
    }

    async fn depth(&self, pool: &str) -> Result<Depth> {
        let now = self.clock.now();
        Ok(self.lock().pools.get(pool).map(|pool| pool.depth(now)).unwrap_or_default())
    }

    async fn discard(&self, pool: &str, _: Priority, id: &str) -> Result<Discarded> {
        let now = self.clock.now();
        let mut state = self.lock();
        count_write(&self.faults, "discard a message")?;
        state.discard(pool, id, now)
    }

    fn lease(&self) -> Duration {
        self.lease
    }
}
