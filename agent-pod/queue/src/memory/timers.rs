//! Timers in two maps: by id, and by time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use super::count_write;
use crate::{
    Alarm, Faults, Millis, Result, Timers,
    clock::{Clock, after},
    redelivery::OutForDelivery,
    waiting::{Attempt, until_found},
};

/// Timers of one process.
pub(super) struct MemoryTimers {
    state: Mutex<State>,
    changed: Notify,
    clock: Arc<dyn Clock>,
    faults: Faults,
}

#[derive(Default)]
struct State {
    alarms: BTreeMap<String, (Millis, Bytes)>,
    by_time: BTreeSet<(Millis, String)>,
    out: OutForDelivery,
}

impl MemoryTimers {
    pub(super) fn new(clock: Arc<dyn Clock>, faults: Faults) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), clock, faults }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set(&mut self, alarm: Alarm) {
        if let Some((at, body)) = self.alarms.insert(alarm.id.clone(), (alarm.at, alarm.body.clone())) {
            self.by_time.remove(&(at, alarm.id.clone()));
            if body != alarm.body {
                self.out.forget(&alarm.id);
            }
        }
        self.by_time.insert((alarm.at, alarm.id));
    }

    fn remove(&mut self, id: &str) {
        if let Some((at, _)) = self.alarms.remove(id) {
            self.by_time.remove(&(at, id.to_owned()));
        }
        self.out.forget(id);
    }

    fn due(&mut self, now: Millis, max: usize) -> Attempt<Alarm> {
        self.out.prune(now);
        let mut attempt = Attempt { found: Vec::new(), ready_at: None };
        for (at, id) in &self.by_time {
            if *at > now {
                attempt.ready_within(*at);
                break;
            }
            if attempt.found.len() == max {
                break;
            }
            match self.out.deliver(id, *at, now) {
                Ok(()) => {
                    let body = self.alarms.get(id).map(|(_, body)| body.clone()).unwrap_or_default();
                    attempt.found.push(Alarm { id: id.clone(), at: *at, body });
                }
                Err(again_at) => attempt.ready_within(again_at),
            }
        }
        attempt
    }
}

#[async_trait]
impl Timers for MemoryTimers {
    async fn set(&self, alarms: Vec<Alarm>) -> Result<()> {
        {
            let mut state = self.lock();
            count_write(&self.faults, "set timers")?;
            alarms.into_iter().for_each(|alarm| state.set(alarm));
        }
        self.changed.notify_waiters();
        Ok(())
    }

    async fn due(&self, now: Millis, max: usize, wait: Duration) -> Result<Vec<Alarm>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let started = self.clock.now();
        until_found(self.clock.as_ref(), &self.changed, after(started, wait), || async {
            // The caller's clock need not agree with ours: what passes here is added to what the caller said.
            let passed = self.clock.now().saturating_sub(started);
            let mut attempt = self.lock().due(now.saturating_add(passed), max);
            attempt.ready_at = attempt.ready_at.map(|at| started.saturating_add(at.saturating_sub(now)));
            Ok(attempt)
        })
        .await
    }

    async fn done(&self, alarm: &Alarm) -> Result<()> {
        let mut state = self.lock();
        count_write(&self.faults, "end a timer")?;
        if state.alarms.get(&alarm.id).is_some_and(|(at, _)| *at == alarm.at) {
            state.remove(&alarm.id);
        }
        Ok(())
    }

    async fn cancel(&self, id: &str) -> Result<()> {
        let mut state = self.lock();
        count_write(&self.faults, "cancel a timer")?;
        state.remove(id);
        Ok(())
    }
}
