//! One pool: a stream, a consumer a priority, and what this process knows of them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Subject,
    jetstream::stream::{Config, RetentionPolicy},
};
use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;

use super::{
    Settings,
    broker::Broker,
    failure::{Failure, code},
    names,
    stash::Stash,
    streams::Puller,
    watch::Watch,
};
use crate::{Discarded, Priority, weights::WeightedChoice};

/// Where the priority stands in a task's subject: `PREFIX.tasks.POOL.PRIORITY.ID`.
const PRIORITY_TOKEN: usize = 3;

/// A pool of the broker.
pub(super) struct Pool {
    pub(super) broker: Arc<Broker>,
    pub(super) name: String,
    pub(super) stream: String,
    /// Whose turn it is, among the priorities.
    pub(super) choice: Mutex<WeightedChoice>,
    /// Messages that arrived and that nobody holds yet.
    pub(super) stash: Mutex<Stash>,
    pub(super) watch: Mutex<Watch>,
    /// Something was stashed, or there is trouble: waiting pulls look again.
    pub(super) arrived: Notify,
    /// The demand or the stash changed: the watch looks again.
    pub(super) changed: Notify,
    /// This process leaves the pool.
    pub(super) left: Notify,
    /// Counts failures of the watch.
    pub(super) trouble: AtomicU64,
    pub(super) subjects: String,
    lease: Duration,
    max_in_work: u32,
    window: Duration,
    ready: AtomicBool,
    /// Others make the stream and were waited for in vain: until it is there, each call looks once and waits no more.
    missed: AtomicBool,
    making: tokio::sync::Mutex<()>,
}

/// What the broker says of a consumer.
#[derive(Deserialize)]
pub(super) struct ConsumerState {
    /// Messages that were never delivered.
    pub(super) num_pending: u64,
    /// Messages that were delivered and not acknowledged.
    pub(super) num_ack_pending: u64,
    pub(super) delivered: Delivered,
}

#[derive(Deserialize)]
pub(super) struct Delivered {
    /// The newest message of the stream that was delivered.
    pub(super) stream_seq: u64,
}

/// Name of a priority's consumer, and its token in subjects.
pub(super) fn class_name(class: Priority) -> &'static str {
    match class {
        Priority::Critical => "critical",
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    }
}

/// The priority of a task's subject, as its place in [`Priority::ALL`].
pub(super) fn class_of(subject: &Subject) -> Option<usize> {
    let token = subject.split('.').nth(PRIORITY_TOKEN)?;
    Priority::ALL.iter().position(|class| class_name(*class) == token)
}

impl Pool {
    pub(super) fn new(broker: Arc<Broker>, name: &str, settings: &Settings) -> Self {
        let token = names::token(name);
        Self {
            stream: format!("{}-tasks-{token}", broker.prefix),
            subjects: format!("{}.tasks.{token}", broker.prefix),
            broker,
            name: name.to_owned(),
            choice: Mutex::default(),
            stash: Mutex::default(),
            watch: Mutex::default(),
            arrived: Notify::new(),
            changed: Notify::new(),
            left: Notify::new(),
            trouble: AtomicU64::new(0),
            lease: settings.lease,
            max_in_work: settings.max_in_work,
            window: settings.deduplication_window,
            ready: AtomicBool::new(false),
            missed: AtomicBool::new(false),
            making: tokio::sync::Mutex::default(),
        }
    }

    /// The subject of a message: its own, so that the broker can see whether it is there.
    pub(super) fn subject(&self, class: Priority, id: &str) -> String {
        format!("{}.{}.{}", self.subjects, class_name(class), names::digest(id))
    }

    /// Makes the stream and its consumers, once. Where others make them, the first call waits a while for them.
    pub(super) async fn ensure(&self) -> Result<(), Failure> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let _making = self.making.lock().await;
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let stream = Config {
            retention: RetentionPolicy::WorkQueue,
            duplicate_window: self.window,
            ..self.broker.stream(&self.stream, &format!("{}.*.*", self.subjects))
        };
        let patience = if self.missed.load(Ordering::Acquire) { Duration::ZERO } else { self.broker.timeout };
        let ensured = self.broker.ensure_stream_within(&stream, patience).await;
        if matches!(ensured, Err(Failure::NotMade { .. })) {
            self.missed.store(true, Ordering::Release);
        }
        ensured?;
        let pullers = Priority::ALL.map(|class| Puller {
            stream: &self.stream,
            name: class_name(class),
            filter: format!("{}.{}.*", self.subjects, class_name(class)),
            ack_wait: self.lease,
            max_in_work: self.max_in_work,
        });
        try_join_all(pullers.iter().map(|puller| self.broker.ensure_puller(puller))).await?;
        self.missed.store(false, Ordering::Release);
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Nobody answered for the pool: its stream or a consumer may have been removed, so the next call makes them again.
    pub(super) fn doubt(&self) {
        self.ready.store(false, Ordering::Release);
    }

    /// Whether the pool's consumers answer at all.
    pub(super) async fn is_there(&self) -> Result<(), Failure> {
        self.consumer(Priority::Normal).await.map(drop)
    }

    pub(super) async fn consumer(&self, class: Priority) -> Result<ConsumerState, Failure> {
        let name = format!("CONSUMER.INFO.{}.{}", self.stream, class_name(class));
        self.broker.api(&name, &json!(null)).await
    }

    /// Removes a message that was never delivered. A consumer delivers in the order of the stream, so all behind its last
    /// delivery were not; of the others nobody can say in whose hands they are.
    pub(super) async fn discard(&self, class: Priority, id: &str) -> Result<Discarded, Failure> {
        let subject = self.subject(class, id);
        let found = match self.broker.last(&self.stream, &subject).await {
            Ok(found) => found,
            Err(failure) if failure.is(code::STREAM_NOT_FOUND) => None,
            Err(failure) => return Err(failure),
        };
        let Some(message) = found else { return Ok(Discarded::Absent) };
        let delivered = match self.consumer(class).await {
            Ok(consumer) => consumer.delivered.stream_seq,
            Err(failure) if failure.is(code::CONSUMER_NOT_FOUND) => 0,
            Err(failure) => return Err(failure),
        };
        if message.sequence <= delivered {
            return Ok(Discarded::InWork);
        }
        self.broker.purge(&self.stream, &subject, Some(message.sequence + 1)).await?;
        Ok(Discarded::Removed)
    }
}
