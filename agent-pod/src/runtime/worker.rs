//! Works the tasks of one pool: pull by free slots, keep the lease, do the stage, write the record, acknowledge.
//!
//! The delivery is acknowledged after the record is written and its effects are published, never before; so a crash
//! repeats work and loses none.

use std::{sync::Arc, time::Duration};

use flow::{Cause, DocumentRecord, Event, Task};
use queue::{Delivery, Queue, Receipt};
use tokio::{
    sync::{RwLock, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    driver::{self, Driver},
    services::Services,
};
use crate::stages::{self, Executed, Failure};

/// Longest wait for work before the loop looks around again.
const WAIT: Duration = Duration::from_secs(5);
/// Wait before a task that the store refused to settle is pulled again.
const HAND_BACK: Duration = Duration::from_millis(200);

/// Why a worker stops; the documents stay where they are and go on with the next worker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue failed.
    #[error("failed to {action}")]
    Queue {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: queue::Error,
    },
    /// A record could not be read or written.
    #[error("failed to move a document on")]
    Driver(#[source] driver::Error),
    /// A stage met a failure of the system, not of the document.
    #[error("failed to work stage \"{stage}\" of \"{document}\": {message}")]
    System {
        /// Which stage.
        stage: String,
        /// Which document.
        document: String,
        /// What failed.
        message: String,
    },
}

/// One pool's worker.
pub struct Worker {
    /// The pool's name.
    pub pool: String,
    /// Documents in work at once.
    pub concurrency: usize,
    /// Moves documents on.
    pub driver: Arc<Driver>,
    /// Does the work.
    pub services: Arc<Services>,
    /// Shared by all workers of the process: a task that may have killed a worker is worked while no other is.
    pub alone: Arc<RwLock<()>>,
}

impl Worker {
    /// Works until `shutdown`, then finishes what it has in hand.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let worker = Arc::new(self);
        let slots = Arc::new(Semaphore::new(worker.concurrency));
        let pool = worker.driver.pool(&worker.pool);
        let mut in_work: JoinSet<Result<(), Error>> = JoinSet::new();
        loop {
            let free = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(done) = in_work.join_next(), if !in_work.is_empty() => {
                    settle(done)?;
                    continue;
                }
                permit = slots.acquire() => { drop(permit); slots.available_permits() }
            };
            let deliveries = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(done) = in_work.join_next(), if !in_work.is_empty() => {
                    settle(done)?;
                    continue;
                }
                pulled = worker.queue().pull(&pool, free, WAIT) => {
                    pulled.map_err(|source| Error::Queue { action: "pull tasks", source })?
                }
            };
            for delivery in deliveries {
                let worker = Arc::clone(&worker);
                let permit = Arc::clone(&slots).try_acquire_owned();
                in_work.spawn(async move {
                    let _permit = permit;
                    worker.work(delivery).await
                });
            }
        }
        while let Some(done) = in_work.join_next().await {
            settle(done)?;
        }
        Ok(())
    }

    fn queue(&self) -> &dyn Queue {
        self.services.ports.queue.as_ref()
    }

    async fn work(&self, delivery: Delivery) -> Result<(), Error> {
        let keep_alive = keep_lease(Arc::clone(&self.services.ports.queue), delivery.receipt.clone());
        let worked = tokio::select! {
            worked = self.work_under_lease(&delivery) => worked,
            never = keep_alive => never,
        };
        match worked {
            Ok(()) => match self.queue().ack(&delivery.receipt).await {
                // Another worker has it: what it does again changes nothing.
                Ok(()) | Err(queue::Error::LeaseOver { .. }) => Ok(()),
                Err(source) => Err(Error::Queue { action: "acknowledge a task", source }),
            },
            Err(error) => {
                // Best effort: without it the lease ends by itself.
                let _ = self.queue().release(&delivery.receipt, HAND_BACK).await;
                Err(error)
            }
        }
    }

    async fn work_under_lease(&self, delivery: &Delivery) -> Result<(), Error> {
        let task = match Task::decode(&delivery.message.body) {
            Ok(task) => task,
            Err(error) => {
                tracing::error!(id = %delivery.message.id, %error, "a task cannot be read and is dropped");
                return Ok(());
            }
        };
        let mut record = match self.driver.get(&task.document).await {
            Ok(record) => record,
            Err(driver::Error::Unknown(document)) => {
                tracing::warn!(%document, "a task of a document that is gone is dropped");
                return Ok(());
            }
            Err(error) => return Err(Error::Driver(error)),
        };
        if record.is_stale(&task) {
            return self.driver.publish_outstanding(&record).await.map_err(Error::Driver);
        }
        if delivery.deliveries > 1 {
            let event = Event::AttemptStarted {
                stage: task.stage.clone(),
                round: task.round,
                epoch: task.epoch,
                attempt: task.attempt,
                worker: worker_name(),
            };
            record = self.driver.apply(&task.document, event).await.map_err(Error::Driver)?;
            if record.is_stale(&task) {
                return Ok(());
            }
            let _alone = self.alone.write().await;
            self.attempt(&task, &record).await
        } else {
            let _shared = self.alone.read().await;
            self.attempt(&task, &record).await
        }
    }

    async fn attempt(&self, task: &Task, record: &DocumentRecord) -> Result<(), Error> {
        let plan = self.driver.plan(record).await.map_err(Error::Driver)?;
        let limit = plan.stage(&task.stage).map_or(Duration::MAX, |stage| stage.timeout);
        let executed = stages::execute(&self.services, &plan, record, task);
        let executed = tokio::time::timeout(limit, executed).await.unwrap_or_else(|_| {
            let message = format!("the stage took longer than its time-out of {}", crds::Span(limit));
            Err(Failure::transient("Timeout", message))
        });
        let (stage, round, epoch, attempt) = (task.stage.clone(), task.round, task.epoch, task.attempt);
        let event = match executed {
            Ok(Executed::Done(mut completion)) => {
                completion.worker = worker_name();
                Event::StageCompleted { stage, round, epoch, attempt, completion }
            }
            Ok(Executed::Skipped) => Event::StageSkipped { stage, round, epoch },
            Err(Failure::Document { reason, message, transient, model }) => {
                let cause = Cause { reason: reason.to_owned(), message, worker: worker_name(), model };
                Event::StageFailed { stage, round, epoch, attempt, cause, transient }
            }
            Err(Failure::System(message)) => {
                return Err(Error::System { stage, document: task.document.clone(), message });
            }
        };
        self.driver.apply(&task.document, event).await.map(drop).map_err(Error::Driver)
    }
}

/// Starts the lease again every third of it; ends only by being dropped or by failing.
async fn keep_lease(queue: Arc<dyn Queue>, receipt: Receipt) -> Result<(), Error> {
    loop {
        tokio::time::sleep(queue.lease() / 3).await;
        match queue.extend(&receipt).await {
            // The work goes on: its result counts whoever reports it first.
            Ok(()) | Err(queue::Error::LeaseOver { .. }) => {}
            Err(source) => return Err(Error::Queue { action: "extend a lease", source }),
        }
    }
}

fn settle(done: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    match done {
        Ok(result) => result,
        // A panic in a stage is this program's fault: the task is not acknowledged, its lease ends, and the record
        // counts the attempts that never reported until the document is quarantined.
        Err(error) => {
            tracing::error!(%error, "a task panicked");
            Ok(())
        }
    }
}

fn worker_name() -> String {
    format!("local-{}", std::process::id())
}
