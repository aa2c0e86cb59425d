//! Works the tasks of one pool: pull by free slots, keep the lease, do the stage, write the record, acknowledge.
//!
//! The delivery is acknowledged after the record is written and its effects are published, never before; so a crash
//! repeats work and loses none. A worker that is asked to stop hands back what it cannot finish, and that does not count
//! against the document.

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use flow::{Cause, DocumentRecord, Event, Plan, Spent, Task};
use queue::{Delivery, Queue, Receipt};
use tokio::{
    sync::{RwLock, Semaphore},
    task::JoinSet,
};

use super::{
    adaptive::{self, Adaptive},
    driver::{self, Driver, Written},
    drivers::Drivers,
    faults::{self, Point},
    now,
    rest::Rest,
    services::Services,
    standing::Standing,
    stop::Stop,
};
use crate::{
    error::chain,
    results::Sinks,
    stages::{self, Executed, Failure},
};

/// Longest wait for work before the loop looks around again.
const WAIT: Duration = Duration::from_secs(2);
/// Wait before a task that the store refused to settle is pulled again.
const HAND_BACK: Duration = Duration::from_millis(200);
/// Wait of a worker that goes on after the system failed: long enough for a broker to come back.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often that wait is doubled for a task that fails again and again: up to a minute, within which the sweep has
/// looked at its document too.
const DOUBLINGS: u32 = 6;
/// How long finished work is kept whose record cannot be written: longer than a broker takes to change its leader or to
/// start again. A record that is refused for good must not hold a slot for ever.
const LONGEST_KEPT: Duration = Duration::from_secs(600);

/// Reason of an attempt that took too long.
const TIMEOUT: &str = "Timeout";

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

/// What a worker does when the system fails: its disk, its store, its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It stops: a person waits for the run and must know.
    Stop,
    /// It hands the task back and goes on: the broker of many workers comes back.
    GoOn,
}

/// What a worker works at.
pub enum Work {
    /// The stages of a pool.
    Stages(Arc<Services>),
    /// The implicit last stage: results into their sinks.
    Results(Arc<Sinks>),
}

impl Work {
    async fn execute(&self, plan: &Arc<Plan>, record: &DocumentRecord, task: &Task) -> Result<Executed, Failure> {
        match self {
            Self::Stages(services) => stages::execute(services, plan, record, task).await,
            Self::Results(sinks) => sinks.write(plan, record).await.map(Executed::Done),
        }
    }

    /// What is learned of how long attempts take, where stages may set their limits by it.
    fn adaptive(&self) -> Option<&Adaptive> {
        match self {
            Self::Stages(services) => Some(&services.adaptive),
            Self::Results(_) => None,
        }
    }
}

/// One pool's worker.
pub struct Worker {
    /// Who, in records.
    pub name: String,
    /// The pool's name.
    pub pool: String,
    /// Documents in work at once.
    pub concurrency: usize,
    /// Move documents on.
    pub drivers: Drivers,
    /// Does the work.
    pub work: Work,
    /// Shared by all workers of the process: a task that may have killed a worker is worked while no other is.
    pub alone: Arc<RwLock<()>>,
    /// What is done when the system fails.
    pub on_failure: OnFailure,
    /// Where its counts go, for its status.
    pub standing: Arc<Standing>,
    /// Whether it is to take tasks.
    pub rest: Rest,
}

/// A start that was entered in a record, and what takes it back.
struct Entered {
    driver: Arc<Driver>,
    document: String,
    taken_back_by: Event,
}

impl Worker {
    /// Works until it is cordoned, then finishes what it has in hand, unless it must hand that back.
    pub async fn run(self, stop: Stop) -> Result<(), Error> {
        let worker = Arc::new(self);
        worker.drivers.metrics().has_worker(&worker.pool);
        let slots = Arc::new(Semaphore::new(worker.concurrency));
        let mut in_work: JoinSet<Result<(), Error>> = JoinSet::new();
        let mut rests = false;
        loop {
            worker.in_work(in_work.len());
            if worker.rest.is_told() != rests {
                rests = !rests;
                worker.rests(rests);
            }
            let free = tokio::select! {
                () = stop.cordoned() => break,
                () = worker.rest.told(!rests) => continue,
                Some(done) = in_work.join_next(), if !in_work.is_empty() => {
                    worker.settle(done)?;
                    continue;
                }
                permit = slots.acquire(), if !rests => { drop(permit); slots.available_permits() }
            };
            let deliveries = worker.pull(free, &mut in_work, &stop).await?;
            for delivery in deliveries {
                let (worker, stop) = (Arc::clone(&worker), stop.clone());
                let permit = Arc::clone(&slots).try_acquire_owned();
                in_work.spawn(async move {
                    let _permit = permit;
                    worker.work(delivery, &stop).await
                });
            }
        }
        // What is handed back from now on must not come here again.
        worker.queue().leave(&worker.drivers.pool(&worker.pool));
        while let Some(done) = in_work.join_next().await {
            worker.settle(done)?;
            worker.in_work(in_work.len());
        }
        Ok(())
    }

    /// Pulls no more, or again. It says so when it is so: whoever counts on it must not be too early.
    fn rests(&self, rests: bool) {
        if rests {
            self.queue().leave(&self.drivers.pool(&self.pool));
        }
        self.standing.rests(rests);
    }

    /// Tells how many tasks are in work.
    fn in_work(&self, tasks: usize) {
        self.drivers.metrics().utilization(&self.pool, tasks, self.concurrency);
        self.standing.working(tasks);
    }

    /// Takes tasks for the free slots while those in work end.
    async fn pull(
        &self,
        free: usize,
        in_work: &mut JoinSet<Result<(), Error>>,
        stop: &Stop,
    ) -> Result<Vec<Delivery>, Error> {
        let pool = self.drivers.pool(&self.pool);
        let mut pull = pin!(self.queue().pull(&pool, free, WAIT));
        let mut resting = pin!(self.rest.told(true));
        let mut leaves = false;
        let pulled = loop {
            tokio::select! {
                pulled = &mut pull => break pulled,
                Some(done) = in_work.join_next(), if !in_work.is_empty() => {
                    self.settle(done)?;
                    self.in_work(in_work.len());
                }
                // What a broker has sent already, the queue hands back.
                () = stop.cordoned() => return Ok(Vec::new()),
                // The pull ends, with what was on its way here: that was never in other hands and must not be delivered twice.
                () = &mut resting, if !leaves => {
                    leaves = true;
                    self.queue().leave(&pool);
                }
            }
        };
        match pulled {
            Ok(deliveries) if stop.is_cordoned() => {
                self.queue().leave(&pool);
                for delivery in deliveries {
                    self.release(&delivery.receipt, Duration::ZERO).await;
                }
                Ok(Vec::new())
            }
            Ok(deliveries) => Ok(deliveries),
            Err(source) => {
                self.failed(Error::Queue { action: "pull tasks", source })?;
                tokio::select! {
                    () = stop.cordoned() => {}
                    () = tokio::time::sleep(AFTER_FAILURE) => {}
                }
                Ok(Vec::new())
            }
        }
    }

    fn queue(&self) -> &dyn Queue {
        self.drivers.ports().queue.as_ref()
    }

    async fn work(&self, delivery: Delivery, stop: &Stop) -> Result<(), Error> {
        faults::reach(Point::Pulled);
        if faults::acknowledges_first() {
            // What comes of it does not matter: this is what must not be done.
            let _ = self.queue().ack(&delivery.receipt).await;
        }
        let entered = OnceLock::new();
        let worked = tokio::select! {
            worked = self.work_under_lease(&delivery, &entered) => worked,
            error = self.keep_lease(&delivery.receipt) => Err(error),
            () = stop.handing_back() => {
                self.drivers.metrics().interrupted(&self.pool);
                self.standing.interrupted();
                tracing::info!(task = %delivery.message.id, "handed back unfinished");
                self.hand_back(&delivery.receipt, &entered, Duration::ZERO).await;
                return Ok(());
            }
        };
        match worked {
            Ok(()) => match self.acknowledge(&delivery.receipt).await {
                // Another worker has it: what it does again changes nothing.
                Ok(()) | Err(queue::Error::LeaseOver { .. }) => Ok(()),
                Err(source) => Err(Error::Queue { action: "acknowledge a task", source }),
            },
            Err(error) => {
                let delay = match self.on_failure {
                    OnFailure::Stop => HAND_BACK,
                    OnFailure::GoOn => after_failure(delivery.deliveries),
                };
                self.hand_back(&delivery.receipt, &entered, delay).await;
                Err(error)
            }
        }
    }

    async fn acknowledge(&self, receipt: &Receipt) -> queue::Result<()> {
        faults::reach(Point::Published);
        if faults::is_due(Point::Acknowledging) {
            // Sent, and with luck noted, but never confirmed.
            let _ = tokio::time::timeout(Duration::from_millis(1), self.queue().ack(receipt)).await;
            faults::die(Point::Acknowledging);
        }
        self.queue().ack(receipt).await
    }

    /// Gives a task up unfinished; that it was started does not count against its document.
    async fn hand_back(&self, receipt: &Receipt, entered: &OnceLock<Entered>, delay: Duration) {
        if let Some(entered) = entered.get() {
            let taken_back = entered.driver.apply(&entered.document, entered.taken_back_by.clone()).await;
            if let Err(error) = taken_back {
                tracing::warn!(error = %chain(&error), document = %entered.document, "a start stays counted");
            }
        }
        self.release(receipt, delay).await;
    }

    /// Best effort: without it the lease ends by itself.
    async fn release(&self, receipt: &Receipt, delay: Duration) {
        if let Err(error) = self.queue().release(receipt, delay).await {
            tracing::debug!(error = %chain(&error), task = %receipt.id, "a task could not be handed back");
        }
    }

    async fn work_under_lease(&self, delivery: &Delivery, entered: &OnceLock<Entered>) -> Result<(), Error> {
        let task = match Task::decode(&delivery.message.body) {
            Ok(task) => task,
            Err(error) => {
                tracing::error!(id = %delivery.message.id, error = %chain(&error), "a task cannot be read and is dropped");
                self.drivers.metrics().unreadable(&self.pool);
                return Ok(());
            }
        };
        let driver = self.drivers.of(&task.pipeline);
        let mut record = match driver.get(&task.document).await {
            Ok(record) => record,
            Err(driver::Error::Unknown { document, .. }) => {
                tracing::warn!(%document, "a task of a document that is gone is dropped");
                return Ok(());
            }
            Err(error) => return Err(Error::Driver(error)),
        };
        if record.is_stale(&task) {
            return driver.publish_outstanding(&record).await.map_err(Error::Driver);
        }
        if delivery.deliveries > 1 {
            // Alone first and entered then: a start that was still waiting when another document took the process down
            // must not count against this one.
            let _alone = self.alone.write().await;
            let (stage, round, epoch, attempt) = (task.stage.clone(), task.round, task.epoch, task.attempt);
            let worker = self.name.clone();
            let event = Event::AttemptStarted { stage: stage.clone(), round, epoch, attempt, worker };
            record = driver.apply(&task.document, event).await.map_err(Error::Driver)?;
            if record.is_stale(&task) {
                return Ok(());
            }
            let taken_back_by = Event::AttemptInterrupted { stage, round, epoch, attempt };
            let (driver, document) = (Arc::clone(&driver), task.document.clone());
            let _ = entered.set(Entered { driver, document, taken_back_by });
            self.attempt(&self.drivers.of(&task.pipeline), &task, &record).await
        } else {
            let _shared = self.alone.read().await;
            // The broker's clock may go otherwise than ours; a wait is never less than none.
            let waited = Duration::from_millis(now().saturating_sub(delivery.published_at));
            self.standing.started(waited);
            self.drivers.metrics().waited(&self.pool, waited);
            self.attempt(&driver, &task, &record).await
        }
    }

    async fn attempt(&self, driver: &Driver, task: &Task, record: &DocumentRecord) -> Result<(), Error> {
        let plan = driver.plan(record).await.map_err(Error::Driver)?;
        let (fixed, adaptive) =
            plan.stage(&task.stage).map_or((Duration::MAX, false), |stage| (stage.timeout, stage.adaptive));
        let key = || adaptive::Key { pipeline: task.pipeline.clone(), stage: task.stage.clone() };
        let adaptive = self.work.adaptive().filter(|_| adaptive);
        let limit = adaptive.map_or(fixed, |adaptive| adaptive.limit(&key(), task.attempt, fixed));
        let begun = Instant::now();
        // Told until the attempt ends, however it ends.
        let _due = task.deadline.map(|deadline| self.standing.works_until(&task.pipeline, &task.stage, deadline));
        faults::reach(Point::Working);
        let executed = async {
            faults::suffer(&task.document).await;
            self.work.execute(&plan, record, task).await
        };
        let executed = tokio::time::timeout(limit, executed).await.unwrap_or_else(|_| {
            let message = format!("the stage took longer than its time-out of {}", crds::Span(limit));
            Err(Failure::transient(TIMEOUT, message))
        });
        // What the cache answers or what fails in its own way says nothing of how long the work takes.
        let worked = match &executed {
            Ok(Executed::Done(completion)) => !completion.cached,
            Err(Failure::Document { reason, .. }) => *reason == TIMEOUT,
            _ => false,
        };
        if let Some(adaptive) = adaptive.filter(|_| worked) {
            adaptive.took(key(), begun.elapsed().min(limit));
        }
        let (stage, round, epoch, attempt) = (task.stage.clone(), task.round, task.epoch, task.attempt);
        let tokens = match &executed {
            Ok(Executed::Done(completion)) => Some(completion.prompt_tokens),
            _ => None,
        };
        let event = match executed {
            Ok(Executed::Done(mut completion)) => {
                completion.worker.clone_from(&self.name);
                self.drivers.metrics().stage(&task.pipeline, &stage, &completion);
                self.spent(&task.pipeline, completion.model.as_deref(), &completion.spent());
                Event::StageCompleted { stage, round, epoch, attempt, completion }
            }
            Ok(Executed::Skipped) => Event::StageSkipped { stage, round, epoch },
            Ok(Executed::Asks { request, unanswered }) => {
                Event::ApprovalRequested { stage, round, epoch, attempt, request, unanswered }
            }
            Err(Failure::Document { reason, message, transient, model, spent, after }) => {
                self.drivers.metrics().stage_failed(&task.pipeline, &stage, reason);
                self.spent(&task.pipeline, model.as_deref(), &spent);
                let cause = Cause { reason: reason.to_owned(), message, worker: self.name.clone(), model };
                // The tokens of an answer that never came are not known.
                let spent = Spent { seconds: begun.elapsed().as_secs_f64(), ..spent };
                let after = after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
                Event::StageFailed { stage, round, epoch, attempt, cause, transient, spent, after }
            }
            Err(Failure::System(message)) => {
                return Err(Error::System { stage, document: task.document.clone(), message });
            }
        };
        faults::reach(Point::Worked);
        let written = self.write(driver, &task.document, &event).await?;
        driver.publish_written(written).await.map_err(Error::Driver)?;
        if let Some(tokens) = tokens {
            let size = flow::size_class(record.submission.bytes);
            self.standing.done(&task.pipeline, &task.stage, (tokens, size), begun.elapsed());
        }
        Ok(())
    }

    /// Writes what was worked. Where the worker goes on, it keeps that while the store is away: minutes of work are not
    /// done again because a broker is away for seconds. What is written and cannot be published is handed back, for its
    /// record is safe.
    async fn write(&self, driver: &Driver, document: &str, event: &Event) -> Result<Written, Error> {
        let begun = Instant::now();
        loop {
            match driver.write(document, event).await {
                Err(error @ driver::Error::Store { .. })
                    if self.on_failure == OnFailure::GoOn && begun.elapsed() < LONGEST_KEPT =>
                {
                    tracing::warn!(error = %chain(&error), document, "finished work waits for the store");
                    self.drivers.metrics().error(&self.pool);
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
                written => return written.map_err(Error::Driver),
            }
        }
    }

    fn spent(&self, pipeline: &str, model: Option<&str>, spent: &Spent) {
        self.drivers.metrics().spent(pipeline, model, spent);
        self.standing.spent(spent);
    }

    /// Starts the lease again every third of it; ends only by being dropped or by failing.
    async fn keep_lease(&self, receipt: &Receipt) -> Error {
        loop {
            tokio::time::sleep(self.queue().lease() / 3).await;
            match self.queue().extend(receipt).await {
                // The work goes on: its result counts whoever reports it first.
                Ok(()) | Err(queue::Error::LeaseOver { .. }) => {}
                Err(source) if self.on_failure == OnFailure::Stop => {
                    return Error::Queue { action: "extend a lease", source };
                }
                Err(error) => tracing::warn!(error = %chain(&error), task = %receipt.id, "a lease was not extended"),
            }
        }
    }

    fn settle(&self, done: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => self.failed(error),
            // A panic in a stage is this program's fault: the task is not acknowledged, its lease ends, and the record
            // counts the attempts that never reported until the document is quarantined.
            Err(error) => {
                tracing::error!(%error, "a task panicked");
                Ok(())
            }
        }
    }

    /// The error back, unless the worker goes on after it.
    fn failed(&self, error: Error) -> Result<(), Error> {
        match self.on_failure {
            OnFailure::Stop => Err(error),
            OnFailure::GoOn => {
                tracing::error!(error = %chain(&error), pool = %self.pool, "the worker goes on");
                self.drivers.metrics().error(&self.pool);
                Ok(())
            }
        }
    }
}

/// How long a task waits after it failed through no fault of its document: the longer the more often it was delivered.
/// What fails in the same way each time, as where the next stage's pool takes no tasks, must not use up the slots of
/// others.
fn after_failure(deliveries: u32) -> Duration {
    AFTER_FAILURE * 2_u32.pow(deliveries.saturating_sub(1).min(DOUBLINGS))
}
