//! Group commit: one thread applies all operations that wait in one transaction and commits them with one sync.
//!
//! Flow: a caller hands in an operation and waits; the thread applies every waiting operation in order, each seeing what
//! those before it changed, commits, and answers all. An operation whose condition fails changes nothing and does not
//! disturb its companions. If the file fails, nothing of the transaction takes effect and every caller is told; the file
//! is opened again at once, or before the next transaction, so that work goes on when the disk has room again.
//!
//! One case stays open: if the very last write of a commit fails and the file cannot be opened again at once, callers
//! are told of the failure although the change may turn out to have taken effect. Repeats are harmless by then, because
//! publishing is deduplicated and records are compared before they are set.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, oneshot};

use super::{
    failure::{CommitFailure, OpenState, Stop},
    schema::{Batch, Wake},
    state_file::{StateFile, begin_write},
};
use crate::{Result, payloads::blocking, signals::PoolSignals, weights::WeightedChoice};

/// Operations in one transaction: bounds its memory and how long its first caller waits for the last operation.
const MAX_BATCH: usize = 256;

/// Longest wait for companions of a first operation; always much less than a commit takes.
const MAX_PATIENCE: Duration = Duration::from_micros(500);

/// Waits between attempts to open the file again before callers are told that it failed.
const REOPEN_PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(200)];

/// What the ports of one folder share. Dropping it finishes what was handed in and closes the file.
pub(super) struct Store {
    jobs: Option<Sender<Box<dyn Job>>>,
    writer: Option<JoinHandle<()>>,
    file: Arc<StateFile>,
    signals: Arc<Signals>,
}

/// Who waits for what the writer commits.
#[derive(Default)]
pub(super) struct Signals {
    pub(super) pools: PoolSignals,
    pub(super) timers: Notify,
}

impl Store {
    pub(super) fn start(file: StateFile) -> std::result::Result<Self, OpenState> {
        let file = Arc::new(file);
        let signals = Arc::new(Signals::default());
        let (sender, jobs) = channel();
        let writer = Writer {
            jobs,
            file: Arc::clone(&file),
            signals: Arc::clone(&signals),
            choices: HashMap::new(),
            last_batch: 0,
            last_commit: Duration::ZERO,
        };
        let writer = thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenState::StartWriter { source })?;
        Ok(Self { jobs: Some(sender), writer: Some(writer), file, signals })
    }

    pub(super) fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Applies an operation; returns when it is durable. `action` completes "failed to …".
    pub(super) async fn write<T, Operation>(&self, action: &'static str, operation: Operation) -> Result<T>
    where
        T: Send + 'static,
        Operation: FnOnce(&mut Batch<'_>) -> std::result::Result<T, Stop> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Request { action, operation: Some(operation), answer: None, reply };
        let jobs = self.jobs.as_ref().expect("present until the store is dropped");
        jobs.send(Box::new(job)).map_err(|_| CommitFailure::Stopped.during(action))?;
        answer.await.map_err(|_| CommitFailure::Stopped.during(action))?
    }

    /// Writes the file anew without what was removed from it; others wait meanwhile.
    pub(super) async fn scrub(&self) -> Result<()> {
        let action = "write the state file anew";
        let file = Arc::clone(&self.file);
        let written = blocking(action, move || file.rewrite()).await?;
        written.map_err(|error| CommitFailure::Reopen(Arc::new(error)).during(action))
    }

    /// A way to hand in operations whose outcome nobody waits for.
    pub(super) fn mailbox(&self) -> Mailbox {
        Mailbox(self.jobs.as_ref().expect("present until the store is dropped").clone())
    }

    /// Reads what is committed. If the file had failed, it is opened again and read once more.
    pub(super) async fn read<T>(
        &self,
        action: &'static str,
        read: impl Fn(&redb::ReadTransaction) -> std::result::Result<T, redb::Error>,
    ) -> Result<T> {
        if let Ok(value) = self.file.read(&read) {
            return Ok(value);
        }
        // An operation without changes: the writer opens a failed file before it begins a transaction.
        self.write(action, |_| Ok(())).await?;
        self.file.read(&read).map_err(|error| CommitFailure::from(error).during(action))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the state file panicked");
        }
    }
}

/// Takes operations without a caller.
pub(super) struct Mailbox(Sender<Box<dyn Job>>);

impl Mailbox {
    pub(super) fn post<Operation>(&self, action: &'static str, operation: Operation)
    where
        Operation: FnOnce(&mut Batch<'_>) -> std::result::Result<(), Stop> + Send + 'static,
    {
        let (reply, _) = oneshot::channel();
        // A writer that has ended takes nothing any more, and nobody is there to be told.
        drop(self.0.send(Box::new(Request { action, operation: Some(operation), answer: None, reply })));
    }
}

/// An operation with its caller.
trait Job: Send {
    /// Applies the operation; fails only if the file failed.
    fn apply(&mut self, batch: &mut Batch<'_>) -> std::result::Result<(), redb::Error>;
    /// Tells the caller.
    fn finish(self: Box<Self>, committed: &std::result::Result<(), CommitFailure>);
}

struct Request<T, Operation> {
    action: &'static str,
    operation: Option<Operation>,
    answer: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, Operation> Job for Request<T, Operation>
where
    T: Send,
    Operation: FnOnce(&mut Batch<'_>) -> std::result::Result<T, Stop> + Send,
{
    fn apply(&mut self, batch: &mut Batch<'_>) -> std::result::Result<(), redb::Error> {
        let Some(operation) = self.operation.take() else { return Ok(()) };
        self.answer = match operation(batch) {
            Ok(value) => Some(Ok(value)),
            Err(Stop::Refused(error)) => Some(Err(error)),
            Err(Stop::Broken(error)) => return Err(error),
        };
        Ok(())
    }

    fn finish(self: Box<Self>, committed: &std::result::Result<(), CommitFailure>) {
        let answer = match (committed, self.answer) {
            (Ok(()), Some(answer)) => answer,
            (Err(failure), _) => Err(failure.clone().during(self.action)),
            (Ok(()), None) => Err(CommitFailure::Stopped.during(self.action)),
        };
        // A caller who has gone away does not need the answer.
        drop(self.reply.send(answer));
    }
}

struct Writer {
    jobs: Receiver<Box<dyn Job>>,
    file: Arc<StateFile>,
    signals: Arc<Signals>,
    choices: HashMap<String, WeightedChoice>,
    last_batch: usize,
    last_commit: Duration,
}

/// How far a transaction came that failed.
#[derive(Clone, Copy)]
enum Reached {
    /// No operation was applied: the file had failed before, as a read can make it.
    Nothing,
    /// Operations were applied, in vain.
    Operations,
    /// The commit failed; if it took effect after all, the file bears this number.
    Commit(u64),
}

impl Writer {
    fn run(mut self) {
        while let Ok(first) = self.jobs.recv() {
            let mut jobs = self.gather(first);
            self.last_batch = jobs.len();
            let mut wake = Wake::default();
            let started = Instant::now();
            let committed = self.commit(&mut jobs, &mut wake);
            self.last_commit = started.elapsed();
            for job in jobs {
                job.finish(&committed);
            }
            for pool in &wake.pools {
                self.signals.pools.wake(pool);
            }
            if wake.timers {
                self.signals.timers.notify_waiters();
            }
        }
    }

    /// The operations for the next transaction: those that wait, and those that are about to come. Callers who were
    /// answered together come back together; without a moment's patience the fastest of them would get a commit of its
    /// own, and the others would wait for two.
    fn gather(&self, first: Box<dyn Job>) -> Vec<Box<dyn Job>> {
        let mut jobs = vec![first];
        let patience = Instant::now() + MAX_PATIENCE.min(self.last_commit / 4);
        while jobs.len() < MAX_BATCH {
            let job = match self.jobs.try_recv() {
                Ok(job) => Some(job),
                Err(_) if jobs.len() >= self.last_batch => None,
                Err(_) => self.jobs.recv_timeout(patience.saturating_duration_since(Instant::now())).ok(),
            };
            match job {
                Some(job) => jobs.push(job),
                None => break,
            }
        }
        jobs
    }

    fn commit(&mut self, jobs: &mut [Box<dyn Job>], wake: &mut Wake) -> std::result::Result<(), CommitFailure> {
        let mut tried = self.transact(jobs, wake);
        if let Err((Reached::Nothing, _)) = tried {
            self.reopen()?;
            tried = self.transact(jobs, wake);
        }
        let Err((reached, error)) = tried else { return Ok(()) };
        tracing::warn!(%error, "failed to commit to the state file, opening it again");
        self.reopen()?;
        match reached {
            Reached::Commit(number) if self.file.committed_number()? == number => Ok(()),
            _ => Err(CommitFailure::from(error)),
        }
    }

    fn transact(
        &mut self,
        jobs: &mut [Box<dyn Job>],
        wake: &mut Wake,
    ) -> std::result::Result<(), (Reached, redb::Error)> {
        let choices = &mut self.choices;
        let mut reached = Reached::Nothing;
        let done = self.file.with_database(|database| {
            let transaction = begin_write(database)?;
            let mut batch = Batch::open(&transaction, choices, wake)?;
            reached = Reached::Operations;
            for job in jobs.iter_mut() {
                job.apply(&mut batch)?;
            }
            match batch.seal()? {
                None => transaction.abort()?,
                Some(number) => {
                    reached = Reached::Commit(number);
                    transaction.commit()?;
                }
            }
            Ok(())
        });
        done.map_err(|error| (reached, error))
    }

    fn reopen(&self) -> std::result::Result<(), CommitFailure> {
        let mut last = None;
        for pause in REOPEN_PAUSES {
            thread::sleep(pause);
            match self.file.reopen() {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or(CommitFailure::Stopped, |error| CommitFailure::Reopen(Arc::new(error))))
    }
}
