//! Applies events to records by compare-and-set and publishes what follows.
//!
//! Order is the guarantee: the record is written first, its effects are published second, the delivery is acknowledged
//! last. A crash between any two steps repeats work, never effects: ids make repeats harmless, and what was not published
//! is outstanding in the record until a redelivery or [`Driver::publish_outstanding`] publishes it.

use std::sync::Arc;

use bytes::Bytes;
use flow::{DeadLetter, DocumentRecord, Effect, End, Event, Outcome, Plan, Submission, Task, Timer, Transition};
use queue::{Alarm, Message, Ports};
use tokio::sync::mpsc;

use super::{now, plans::Plans, state::Run};
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
    /// There is no such document in the run.
    #[error("there is no document \"{0}\" in this run")]
    Unknown(String),
    /// The plan cannot be had.
    #[error("failed to get the document's plan: {0}")]
    Plan(String),
}

type Result<T> = std::result::Result<T, Error>;

/// A document that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its record.
    pub record: DocumentRecord,
}

/// Applies events to the records of one run.
pub struct Driver {
    /// The run.
    pub run: Run,
    /// The plans of its documents.
    pub plans: Plans,
    ports: Ports,
    ended: mpsc::UnboundedSender<Ended>,
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
    /// A driver and the documents that end under it.
    pub fn new(run: Run, ports: Ports) -> (Arc<Self>, mpsc::UnboundedReceiver<Ended>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let plans = Plans::new(Arc::clone(&ports.records));
        (Arc::new(Self { run, plans, ports, ended: sender }), receiver)
    }

    /// The queue's name of a pool: tasks of an earlier run are not taken by this one.
    pub fn pool(&self, pool: &str) -> String {
        format!("{}/{pool}", self.run.id)
    }

    fn key(&self, document: &str) -> String {
        format!("documents/{}/{document}", self.run.id)
    }

    /// Accepts a document. `refusal` ends it at once at its first stage: nothing that a person submits is dropped silently.
    pub async fn submit(&self, plan: &Plan, submission: Submission, refusal: Option<flow::Cause>) -> Result<Submitted> {
        let document = submission.document.clone();
        let payload = submission.payload.clone();
        let mut first = flow::submit(plan, submission, now());
        if let Some(cause) = refusal {
            // Whatever the first stage may tolerate: there are no bytes to work on.
            let mut record = first.record;
            let stage = plan.stages().first().map(|stage| stage.name.clone());
            let dead_letter = Some(DeadLetter { stage, attempts: 0, cause });
            record.end = Some(End { outcome: Outcome::DeadLettered, at: now(), dead_letter });
            first = Transition { effects: record.outbox(plan), record, changed: true };
        }
        match self.ports.records.create(&self.key(&document), Bytes::from(first.record.encode())).await {
            Ok(_) => {
                self.publish(&first.record, first.effects).await?;
                Ok(Submitted::New)
            }
            Err(queue::Error::Conflict { .. }) => {
                let record = self.get(&document).await?;
                if record.submission.payload != payload {
                    return Ok(Submitted::OtherPayload);
                }
                Ok(Submitted::Known { ended: record.end.is_some() })
            }
            Err(source) => Err(Error::Store { action: "write a new record", source }),
        }
    }

    /// The record of a document.
    pub async fn get(&self, document: &str) -> Result<DocumentRecord> {
        let stored = self.ports.records.get(&self.key(document)).await;
        let stored = stored.map_err(|source| Error::Store { action: "read a record", source })?;
        let stored = stored.ok_or_else(|| Error::Unknown(document.to_owned()))?;
        decode(document, &stored.bytes)
    }

    /// Applies an event; writes and publishes where it changes the record. The record after it.
    pub async fn apply(&self, document: &str, event: Event) -> Result<DocumentRecord> {
        let key = self.key(document);
        loop {
            let stored = self.ports.records.get(&key).await;
            let stored = stored.map_err(|source| Error::Store { action: "read a record", source })?;
            let stored = stored.ok_or_else(|| Error::Unknown(document.to_owned()))?;
            let record = decode(document, &stored.bytes)?;
            let plan = self.plan(&record).await?;
            let Transition { record, effects, changed } = flow::transition(&plan, &record, event.clone(), now());
            if !changed {
                // Whoever changed it may have died before publishing.
                self.publish_outstanding(&record).await?;
                return Ok(record);
            }
            match self.ports.records.update(&key, stored.revision, Bytes::from(record.encode())).await {
                Ok(_) => {
                    self.publish(&record, effects).await?;
                    return Ok(record);
                }
                Err(queue::Error::Conflict { .. }) => {}
                Err(source) => return Err(Error::Store { action: "write a record", source }),
            }
        }
    }

    /// Publishes everything that a record still owes: after a crash, a redelivery or by the sweeper.
    pub async fn publish_outstanding(&self, record: &DocumentRecord) -> Result<()> {
        let plan = self.plan(record).await?;
        self.publish(record, record.outbox(&plan)).await
    }

    /// The plan that a record keeps.
    pub async fn plan(&self, record: &DocumentRecord) -> Result<Arc<Plan>> {
        self.plans.get(&record.plan).await.map_err(|error| Error::Plan(chain(&error)))
    }

    /// All records of the run, page by page.
    pub async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<DocumentRecord>> {
        let prefix = self.key("");
        let after = after.map(|document| self.key(document));
        let page = self.ports.records.scan(&prefix, after.as_deref(), limit).await;
        let page = page.map_err(|source| Error::Store { action: "read the records", source })?;
        page.iter().map(|(key, stored)| decode(key.trim_start_matches(&prefix), &stored.bytes)).collect()
    }

    async fn publish(&self, record: &DocumentRecord, effects: Vec<Effect>) -> Result<()> {
        let mut messages = Vec::new();
        let mut alarms = Vec::new();
        for effect in effects {
            match effect {
                Effect::Publish(task) => messages.push(self.message(&task)),
                Effect::SetTimer(timer) => alarms.push(self.alarm(&timer)),
                // The listener is gone only when the process is ending; the next one finds the end in the record.
                Effect::Report(_) => drop(self.ended.send(Ended { record: record.clone() })),
            }
        }
        if !alarms.is_empty() {
            self.ports.timers.set(alarms).await.map_err(|source| Error::Store { action: "set a timer", source })?;
        }
        if !messages.is_empty() {
            self.ports
                .queue
                .publish(messages)
                .await
                .map_err(|source| Error::Store { action: "publish a task", source })?;
        }
        Ok(())
    }

    fn message(&self, task: &Task) -> Message {
        Message {
            id: format!("{}/{}", self.run.id, task.id()),
            pool: self.pool(&task.pool),
            priority: priority(task.priority),
            body: Bytes::from(task.encode()),
        }
    }

    fn alarm(&self, timer: &Timer) -> Alarm {
        Alarm { id: format!("{}/{}", self.run.id, timer.id()), at: timer.at, body: Bytes::from(timer.encode()) }
    }
}

fn decode(document: &str, bytes: &[u8]) -> Result<DocumentRecord> {
    DocumentRecord::decode(bytes).map_err(|source| Error::Decode { document: document.to_owned(), source })
}

fn priority(priority: crds::Priority) -> queue::Priority {
    match priority {
        crds::Priority::Critical => queue::Priority::Critical,
        crds::Priority::High => queue::Priority::High,
        crds::Priority::Normal => queue::Priority::Normal,
        crds::Priority::Low => queue::Priority::Low,
    }
}
