//! Timers in tables of the state file.

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable};

use super::{
    failure::Stop,
    schema::{ALARM_TIMES, ALARMS, Batch},
    writer::Store,
};
use crate::{
    Alarm, Millis, Result, Timers,
    clock::{Clock, after},
    redelivery::OutForDelivery,
    waiting::{Attempt, until_found},
};

/// Timers of one folder.
pub(super) struct EmbeddedTimers {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    out: Mutex<OutForDelivery>,
}

impl EmbeddedTimers {
    pub(super) fn new(store: Arc<Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, out: Mutex::default() }
    }

    fn out(&self) -> MutexGuard<'_, OutForDelivery> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Timers for EmbeddedTimers {
    async fn set(&self, alarms: Vec<Alarm>) -> Result<()> {
        let replaced = self.store.write("set timers", move |batch| set(batch, &alarms)).await?;
        let mut out = self.out();
        replaced.iter().for_each(|id| out.forget(id));
        Ok(())
    }

    async fn due(&self, now: Millis, max: usize, wait: Duration) -> Result<Vec<Alarm>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let started = self.clock.now();
        until_found(self.clock.as_ref(), &self.store.signals().timers, after(started, wait), || async {
            // The caller's clock need not agree with ours: what passes here is added to what the caller said.
            let passed = self.clock.now().saturating_sub(started);
            let now_there = now.saturating_add(passed);
            let look = |transaction: &ReadTransaction| due(transaction, &mut self.out(), now_there, max);
            let mut attempt = self.store.read("read the timers", look).await?;
            attempt.ready_at = attempt.ready_at.map(|at| started.saturating_add(at.saturating_sub(now)));
            Ok(attempt)
        })
        .await
    }

    async fn done(&self, alarm: &Alarm) -> Result<()> {
        let (id, at) = (alarm.id.clone(), alarm.at);
        let removed = self.store.write("end a timer", move |batch| remove(batch, &id, at..=at)).await?;
        if removed {
            self.out().forget(&alarm.id);
        }
        Ok(())
    }

    async fn cancel(&self, id: &str) -> Result<()> {
        let key = id.to_owned();
        self.store.write("cancel a timer", move |batch| remove(batch, &key, 0..=Millis::MAX)).await?;
        self.out().forget(id);
        Ok(())
    }
}

/// Sets alarms. Returns those that existed with another body: if one is out for delivery, its new body is not.
fn set(batch: &mut Batch<'_>, alarms: &[Alarm]) -> std::result::Result<Vec<String>, Stop> {
    let mut replaced = Vec::new();
    for alarm in alarms {
        let id = alarm.id.as_str();
        let before = batch.alarms.insert(id, (alarm.at, alarm.body.as_ref()))?.map(|row| {
            let (at, body) = row.value();
            (at, body != alarm.body.as_ref())
        });
        if let Some((at, other_body)) = before {
            batch.alarm_times.remove((at, id))?;
            if other_body {
                replaced.push(alarm.id.clone());
            }
        }
        batch.alarm_times.insert((alarm.at, id), ())?;
        batch.mark_changed();
        batch.wake.timers = true;
    }
    Ok(replaced)
}

/// Removes an alarm that is set for one of these times.
fn remove(batch: &mut Batch<'_>, id: &str, times: RangeInclusive<Millis>) -> std::result::Result<bool, Stop> {
    let Some(at) = batch.alarms.get(id)?.map(|row| row.value().0).filter(|at| times.contains(at)) else {
        return Ok(false);
    };
    batch.alarms.remove(id)?;
    batch.alarm_times.remove((at, id))?;
    batch.mark_changed();
    Ok(true)
}

fn due(
    transaction: &ReadTransaction,
    out: &mut OutForDelivery,
    now: Millis,
    max: usize,
) -> std::result::Result<Attempt<Alarm>, redb::Error> {
    out.prune(now);
    let (times, alarms) = (transaction.open_table(ALARM_TIMES)?, transaction.open_table(ALARMS)?);
    let mut attempt = Attempt { found: Vec::new(), ready_at: None };
    for time in times.iter()? {
        let time = time?.0;
        let (at, id) = time.value();
        if at > now {
            attempt.ready_within(at);
            break;
        }
        if attempt.found.len() == max {
            break;
        }
        // Read before it counts as delivered: a failed read must not hold the alarm back.
        let body = alarms.get(id)?.map_or_else(Bytes::new, |row| Bytes::copy_from_slice(row.value().1));
        match out.deliver(id, at, now) {
            Ok(()) => attempt.found.push(Alarm { id: id.to_owned(), at, body }),
            Err(again_at) => attempt.ready_within(again_at),
        }
    }
    Ok(attempt)
}
