//! What a document that has ended may have left at the queue and among the timers.
//!
//! Both go away by themselves: a task that nobody waits for is acknowledged by the worker that gets it, an alarm rings in vain.
//! Whoever removes a document does not wait for that: there may be no worker, and an alarm may ring in a year.

use std::collections::BTreeSet;

use flow::{Alarm, DocumentRecord, Plan, Task, Timer};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use queue::{Discarded, Message, Ports, Result};

use super::driver::{Scope, message_id, priority, timer_id};

/// Most attempts of a stage that are looked for.
const ATTEMPTS: u32 = 100;
/// Calls of the store at once.
const AT_ONCE: usize = 16;

/// Names of what may be left.
#[derive(Debug, Default)]
pub struct Leftovers {
    tasks: Vec<Message>,
    timers: Vec<String>,
}

/// What became of the tasks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// How many were looked for.
    pub looked_for: u64,
    /// How many were there and are removed.
    pub removed: u64,
    /// Stages whose task a worker has.
    pub in_work: BTreeSet<String>,
}

impl Leftovers {
    /// Of a record. Without its plan, which tells the pools, tasks are not known.
    pub fn of(scope: &Scope, plan: Option<&Plan>, record: &DocumentRecord) -> Self {
        let mut left = Self::default();
        let timer = |alarm| {
            let (document, pipeline) = (record.submission.document.clone(), record.pipeline.clone());
            timer_id(scope, &Timer { document, pipeline, at: 0, alarm })
        };
        left.timers.extend((0..=record.epoch.min(ATTEMPTS)).map(|epoch| timer(Alarm::Deadline { epoch })));
        for (name, state) in &record.stages {
            let (round, epoch) = (state.round, record.epoch);
            left.timers.push(timer(Alarm::JoinTimeout { stage: name.clone(), round, epoch }));
            let pool = plan.and_then(|plan| plan.stage(name)).map(|stage| stage.spec.pool.clone());
            for attempt in 1..=state.attempt.min(ATTEMPTS) {
                left.timers.push(timer(Alarm::Retry { stage: name.clone(), round, epoch, attempt }));
                let Some(pool) = pool.clone() else { continue };
                let task = Task {
                    document: record.submission.document.clone(),
                    pipeline: record.pipeline.clone(),
                    plan: record.plan.clone(),
                    stage: name.clone(),
                    pool: pool.clone(),
                    round,
                    epoch,
                    attempt,
                    priority: record.submission.priority,
                    deadline: None,
                    bytes: None,
                };
                left.tasks.push(Message {
                    id: message_id(scope, record, &task),
                    pool: scope.pool(&pool),
                    priority: priority(task.priority),
                    // For people; the queue is asked by the id.
                    body: name.clone().into(),
                });
            }
        }
        left
    }

    /// Removes tasks that no worker has.
    pub async fn discard_tasks(&self, ports: &Ports) -> Result<Tasks> {
        let discards: Vec<_> =
            self.tasks.iter().map(|task| ports.queue.discard(&task.pool, task.priority, &task.id)).collect();
        let discarded: Vec<Discarded> = stream::iter(discards).buffered(AT_ONCE).try_collect().await?;
        let mut tasks = Tasks { looked_for: discarded.len() as u64, ..Tasks::default() };
        for (task, discarded) in self.tasks.iter().zip(discarded) {
            match discarded {
                Discarded::Absent => {}
                Discarded::Removed => tasks.removed += 1,
                Discarded::InWork => drop(tasks.in_work.insert(String::from_utf8_lossy(&task.body).into_owned())),
            }
        }
        Ok(tasks)
    }

    /// Cancels alarms; how many there may have been.
    pub async fn cancel_timers(&self, ports: &Ports) -> Result<u64> {
        let cancels: Vec<_> = self.timers.iter().map(|id| ports.timers.cancel(id)).collect();
        stream::iter(cancels).buffered(AT_ONCE).try_collect::<()>().await?;
        Ok(self.timers.len() as u64)
    }
}
