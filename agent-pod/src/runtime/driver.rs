//! Applies events to records by compare-and-set and publishes what follows.
//!
//! Order is the guarantee: the record is written first, its effects are published second, the delivery is acknowledged
//! last. A crash between any two steps repeats work, never effects: ids make repeats harmless, and what was not published
//! is outstanding in the record until a redelivery or [`Driver::publish_outstanding`] publishes it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use flow::{DocumentRecord, Effect, Event, Plan, Submission, Task, Timer, Transition};
use queue::{Alarm, Message, Ports};
use tokio::sync::mpsc;

use super::{
    faults::{self, Point},
    metrics::Metrics,
    now,
    plans::Plans,
    progress,
    state::Run,
};
use crate::error::chain;

/// What the driver could not do; the document stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("failed to {action}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: queue::Error,
    },
    /// The record cannot be read by this version.
    #[error("failed to read the record of \"{document}\"")]
    Decode {
        /// Whose.
        document: String,
        /// Why.
        #[source]
        source: flow::DecodeError,
    },
    /// There is no such document in the run or pipeline.
    #[error("there is no document \"{document}\" in {scope}")]
    Unknown {
        /// Its name.
        document: String,
        /// Where it was looked for, in words.
        scope: String,
    },
    /// The plan cannot be had.
    #[error("failed to get the document's plan: {0}")]
    Plan(String),
}

type Result<T> = std::result::Result<T, Error>;

/// Tries to write a new record while another write of it is not yet agreed on by the servers.
const CREATES: usize = 5;
/// Wait before such a try.
const PAUSE: Duration = Duration::from_millis(50);

pub use flow::keys::DOCUMENTS;

/// Whose records a driver moves.
#[derive(Clone, Debug)]
pub enum Scope {
    /// One run of one pipeline in one process.
    Run(Run),
    /// A pipeline by its name, served by many processes.
    Pipeline(String),
}

impl Scope {
    /// Whose a record is, by the key that it lies under, and its document's name.
    pub fn of_key<'a>(key: &'a str, record: &DocumentRecord) -> Option<(Self, &'a str)> {
        let (name, document) = key.strip_prefix(DOCUMENTS)?.split_once('/')?;
        let run = || Run { id: name.to_owned(), pipeline: record.pipeline.clone(), started_at: record.submitted_at };
        let scope = if name == record.pipeline { Self::Pipeline(name.to_owned()) } else { Self::Run(run()) };
        Some((scope, document))
    }

    /// What begins the names of everything that belongs to it.
    pub fn name(&self) -> &str {
        match self {
            Self::Run(run) => &run.id,
            Self::Pipeline(name) => name,
        }
    }

    /// The queue's name of a pool. Tasks of an earlier run are not taken by this one; pipelines share their pools.
    pub fn pool(&self, pool: &str) -> String {
        match self {
            Self::Run(run) => format!("{}/{pool}", run.id),
            Self::Pipeline(_) => pool.to_owned(),
        }
    }
}

/// What became of a document.
#[derive(Clone, Debug)]
pub enum News {
    /// It has ended.
    Ended(Box<DocumentRecord>),
    /// A person is asked something.
    Asks(Box<DocumentRecord>),
}

/// Who is told how documents go on.
pub enum Listener {
    /// This process alone: ends and questions only, none is lost.
    Process(mpsc::UnboundedSender<News>),
    /// Whoever watches the events: ends and every step, and some may be lost. The record tells the same.
    Watchers,
}

/// Applies events to the records of one scope.
pub struct Driver {
    /// Whose records.
    pub scope: Scope,
    /// The plans of its documents.
    pub plans: Arc<Plans>,
    /// Counts ends.
    pub metrics: Arc<Metrics>,
    pub(super) ports: Ports,
    listener: Listener,
}

/// A record that was written; what follows from it is not published yet.
pub struct Written {
    record: DocumentRecord,
    effects: Vec<Effect>,
    changed: bool,
}

/// What could not be reached in one sweep. Whatever else needs it is left to the next one: each try may take as long as
/// a broker's patience, and a sweep has many documents.
#[derive(Debug, Default)]
pub struct Unreached {
    pools: HashSet<String>,
    plans: HashSet<String>,
    timers: bool,
}

/// What became of a submission.
#[derive(Debug, PartialEq)]
pub enum Submitted {
    /// It is a new document.
    New,
    /// The document was there already, with the same bytes.
    Known {
        /// Whether it has ended.
        ended: bool,
    },
    /// Another document has this id.
    OtherPayload,
}

impl Driver {
    /// A driver of one run and the documents that end under it.
    pub fn new(run: Run, ports: Ports) -> (Arc<Self>, mpsc::UnboundedReceiver<News>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let plans = Arc::new(Plans::new(Arc::clone(&ports.records)));
        let (metrics, listener) = (Arc::new(Metrics::default()), Listener::Process(sender));
        (Arc::new(Self { scope: Scope::Run(run), plans, metrics, ports, listener }), receiver)
    }

    /// A driver of a pipeline's documents.
    pub fn of_pipeline(pipeline: &str, ports: Ports, plans: Arc<Plans>, metrics: Arc<Metrics>) -> Self {
        Self { scope: Scope::Pipeline(pipeline.to_owned()), plans, metrics, ports, listener: Listener::Watchers }
    }

    fn key(&self, document: &str) -> String {
        format!("{DOCUMENTS}{}/{document}", self.scope.name())
    }

    fn unknown(&self, document: &str) -> Error {
        let scope = match &self.scope {
            Scope::Run(_) => "this run".to_owned(),
            Scope::Pipeline(name) => format!("pipeline \"{name}\""),
        };
        Error::Unknown { document: document.to_owned(), scope }
    }

    /// Accepts a document. `refusal` ends it at once at its first stage: nothing that a person submits is dropped silently.
    pub async fn submit(&self, plan: &Plan, submission: Submission, refusal: Option<flow::Cause>) -> Result<Submitted> {
        let document = submission.document.clone();
        let payload = submission.payload.clone();
        let first = match refusal {
            Some(cause) => flow::refuse(plan, submission, cause, now()),
            None => flow::submit(plan, submission, now()),
        };
        let (key, bytes) = (self.key(&document), Bytes::from(first.record.encode()));
        let mut tries = 0;
        loop {
            let refused = match self.ports.records.create(&key, bytes.clone()).await {
                Ok(_) => {
                    faults::reach(Point::Recorded);
                    self.publish(&first.record, first.effects).await?;
                    self.tell(&first.record).await;
                    return Ok(Submitted::New);
                }
                Err(refused) => refused,
            };
            tries += 1;
            if matches!(refused, queue::Error::Conflict { .. }) {
                match self.get(&document).await {
                    Ok(record) if record.submission.payload != payload => return Ok(Submitted::OtherPayload),
                    Ok(record) => return Ok(Submitted::Known { ended: record.end.is_some() }),
                    // Another's write stood in the way that cannot be read yet, or the record has gone since.
                    Err(Error::Unknown { .. }) if tries < CREATES => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    Err(Error::Unknown { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            return Err(Error::Store { action: "write a new record", source: refused });
        }
    }

    /// The record of a document.
    pub async fn get(&self, document: &str) -> Result<DocumentRecord> {
        let stored = self.ports.records.get(&self.key(document)).await;
        let stored = stored.map_err(|source| Error::Store { action: "read a record", source })?;
        let stored = stored.ok_or_else(|| self.unknown(document))?;
        decode(document, &stored.bytes)
    }

    /// Applies an event; writes and publishes where it changes the record. The record after it.
    pub async fn apply(&self, document: &str, event: Event) -> Result<DocumentRecord> {
        let written = self.write(document, &event).await?;
        self.publish_written(written).await
    }

    /// As [`Driver::apply`], past what is `unreached`: what is left out the record owes, and a later sweep publishes
    /// it.
    pub async fn apply_past(&self, document: &str, event: &Event, unreached: &mut Unreached) -> Result<DocumentRecord> {
        let Written { record, effects, changed } = self.write(document, event).await?;
        self.publish_past(&record, effects, unreached).await?;
        if changed {
            self.tell_of_change(&record).await;
        }
        Ok(record)
    }

    /// The first half of [`Driver::apply`]: the record alone. [`Driver::publish_written`] is the other half.
    pub async fn write(&self, document: &str, event: &Event) -> Result<Written> {
        let key = self.key(document);
        loop {
            let stored = self.ports.records.get(&key).await;
            let stored = stored.map_err(|source| Error::Store { action: "read a record", source })?;
            let stored = stored.ok_or_else(|| self.unknown(document))?;
            let record = decode(document, &stored.bytes)?;
            let plan = self.plan(&record).await?;
            let Transition { mut record, effects, changed } = flow::transition(&plan, &record, event.clone(), now());
            // What is stored is written down although it does not count, so that an erasure finds it.
            let late = match event {
                Event::StageCompleted { completion, .. } if !changed => record.note_late(completion),
                _ => false,
            };
            if !changed && !late {
                // Whoever changed it may have died before publishing.
                return Ok(Written { effects: record.outbox(&plan), record, changed });
            }
            match self.ports.records.update(&key, stored.revision, Bytes::from(record.encode())).await {
                Ok(_) if late => return Ok(Written { effects: record.outbox(&plan), record, changed }),
                Ok(_) => {
                    faults::reach(Point::Recorded);
                    return Ok(Written { record, effects, changed });
                }
                Err(queue::Error::Conflict { .. }) => {}
                Err(source) => return Err(Error::Store { action: "write a record", source }),
            }
        }
    }

    /// Publishes what follows from what was written, and tells of it. The record.
    pub async fn publish_written(&self, written: Written) -> Result<DocumentRecord> {
        let Written { record, effects, changed } = written;
        self.publish(&record, effects).await?;
        if changed {
            self.tell_of_change(&record).await;
        }
        Ok(record)
    }

    async fn tell_of_change(&self, record: &DocumentRecord) {
        if record.end.is_some() {
            self.metrics.document(record);
        }
        self.tell(record).await;
    }

    /// Publishes everything that a record still owes: after a crash, a redelivery or by the sweeper.
    pub async fn publish_outstanding(&self, record: &DocumentRecord) -> Result<()> {
        let plan = self.plan(record).await?;
        self.publish(record, record.outbox(&plan)).await
    }

    /// As [`Driver::publish_outstanding`], past what is `unreached`; whether that was everything. The first failure
    /// comes back when the rest is published.
    pub async fn publish_outstanding_past(&self, record: &DocumentRecord, unreached: &mut Unreached) -> Result<bool> {
        if unreached.plans.contains(&record.plan) {
            return Ok(false);
        }
        match self.plan(record).await {
            Ok(plan) => self.publish_past(record, record.outbox(&plan), unreached).await,
            Err(error) => {
                unreached.plans.insert(record.plan.clone());
                Err(error)
            }
        }
    }

    /// The plan that a record keeps.
    pub async fn plan(&self, record: &DocumentRecord) -> Result<Arc<Plan>> {
        self.plans.get(&record.plan).await.map_err(|error| Error::Plan(chain(&error)))
    }

    /// All records of the scope, page by page. One that cannot be read, of a newer version for example, is left out: it must
    /// not stand in the way of the others.
    pub async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<DocumentRecord>> {
        let prefix = self.key("");
        let mut after = after.map(|document| self.key(document));
        loop {
            let page = self.ports.records.scan(&prefix, after.as_deref(), limit).await;
            let page = page.map_err(|source| Error::Store { action: "read the records", source })?;
            let Some((last, _)) = page.last() else { return Ok(Vec::new()) };
            after = Some(last.clone());
            let read = |(key, stored): &(String, queue::Versioned)| {
                let read = decode(key.strip_prefix(&prefix).unwrap_or(key), &stored.bytes);
                read.inspect_err(|error| tracing::error!(error = %chain(error), "a record is left out")).ok()
            };
            let records: Vec<DocumentRecord> = page.iter().filter_map(read).collect();
            // No record at all would mean that there are no more.
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }

    async fn publish(&self, record: &DocumentRecord, effects: Vec<Effect>) -> Result<()> {
        let (mut messages, alarms) = self.messages_and_alarms(record, effects);
        self.set(alarms).await?;
        let dies_half_way = messages.len() > 1 && faults::is_due(Point::HalfPublished);
        if dies_half_way {
            messages.truncate(1);
        }
        self.send(messages).await?;
        if dies_half_way {
            faults::die(Point::HalfPublished);
        }
        Ok(())
    }

    /// Publishes each pool by itself: one that is gone must not keep tasks from another.
    async fn publish_past(
        &self,
        record: &DocumentRecord,
        effects: Vec<Effect>,
        unreached: &mut Unreached,
    ) -> Result<bool> {
        let (messages, alarms) = self.messages_and_alarms(record, effects);
        let (mut all, mut failure) = (true, None);
        if unreached.timers {
            all = alarms.is_empty();
        } else if let Err(error) = self.set(alarms).await {
            unreached.timers = true;
            failure = Some(error);
        }
        let mut pools: BTreeMap<String, Vec<Message>> = BTreeMap::new();
        for message in messages {
            pools.entry(message.pool.clone()).or_default().push(message);
        }
        for (pool, messages) in pools {
            if unreached.pools.contains(&pool) {
                all = false;
            } else if let Err(error) = self.send(messages).await {
                unreached.pools.insert(pool);
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(all), Err)
    }

    /// What is to be sent and to be set; reports are on their way then.
    fn messages_and_alarms(&self, record: &DocumentRecord, effects: Vec<Effect>) -> (Vec<Message>, Vec<Alarm>) {
        let mut messages = Vec::new();
        let mut alarms = Vec::new();
        for effect in effects {
            match (effect, &self.listener) {
                (Effect::Publish(task), _) => messages.push(self.message(record, &task)),
                (Effect::SetTimer(timer), _) => alarms.push(self.alarm(&timer)),
                // The listener is gone only when the process is ending; the next one finds the end in the record.
                (Effect::Report(_), Listener::Process(news)) => drop(news.send(News::Ended(Box::new(record.clone())))),
                (Effect::Report(_), Listener::Watchers) => {}
            }
        }
        (messages, alarms)
    }

    async fn set(&self, alarms: Vec<Alarm>) -> Result<()> {
        if alarms.is_empty() {
            return Ok(());
        }
        self.ports.timers.set(alarms).await.map_err(|source| Error::Store { action: "set a timer", source })
    }

    async fn send(&self, messages: Vec<Message>) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        self.ports.queue.publish(messages).await.map_err(|source| Error::Store { action: "publish a task", source })
    }

    /// Tells whoever listens where the document stands. To watchers it may be lost: who must know reads the record.
    async fn tell(&self, record: &DocumentRecord) {
        if let Listener::Process(news) = &self.listener {
            if !record.asking().is_empty() {
                let _ = news.send(News::Asks(Box::new(record.clone())));
            }
            return;
        }
        let subject = progress::subject(&record.pipeline, &record.submission.document);
        let body = Bytes::from(progress::body(record).to_string());
        if let Err(error) = self.ports.events.publish(&subject, body).await {
            tracing::debug!(%error, "an event was not passed on");
        }
    }

    fn message(&self, record: &DocumentRecord, task: &Task) -> Message {
        Message {
            id: message_id(&self.scope, record, task),
            pool: self.scope.pool(&task.pool),
            priority: priority(task.priority),
            body: Bytes::from(task.encode()),
        }
    }

    fn alarm(&self, timer: &Timer) -> Alarm {
        Alarm { id: timer_id(&self.scope, timer), at: timer.at, body: Bytes::from(timer.encode()) }
    }
}

/// The id at the queue of a record's task. It tells a document from one that had its name before it and was removed:
/// the queue remembers ids for a while, and would take the new one's task for a repeat.
pub fn message_id(scope: &Scope, record: &DocumentRecord, task: &Task) -> String {
    format!("{}/{}/{}", scope.name(), task.id(), record.submitted_at)
}

/// A timer's id among the alarms.
pub fn timer_id(scope: &Scope, timer: &Timer) -> String {
    format!("{}/{}", scope.name(), timer.id())
}

fn decode(document: &str, bytes: &[u8]) -> Result<DocumentRecord> {
    DocumentRecord::decode(bytes).map_err(|source| Error::Decode { document: document.to_owned(), source })
}

/// The queue's word for a priority.
pub(super) fn priority(priority: crds::Priority) -> queue::Priority {
    match priority {
        crds::Priority::Critical => queue::Priority::Critical,
        crds::Priority::High => queue::Priority::High,
        crds::Priority::Normal => queue::Priority::Normal,
        crds::Priority::Low => queue::Priority::Low,
    }
}
