//! One bucket of records: one message a key, changed on the condition of the key's last sequence. Must not know which keys
//! lie in which bucket.
//!
//! The stream has the name and the subjects of a bucket of the broker's own key-value store, so its tools can look inside.
//! Reads go to the stream's leader: a follower may answer with what was. Deleting leaves nothing behind; revisions are
//! sequences of the stream, so none is ever used again.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_nats::{HeaderMap, jetstream::stream::Config, jetstream::stream::DiscardPolicy};
use bytes::Bytes;
use serde_json::json;

use super::super::{
    broker::Broker,
    failure::{Failure, code},
    names,
};
use crate::{Error, Result as PortResult, Versioned};

/// Names a write, so that its writer finds it again when the answer was lost.
const ATTEMPT_HEADER: &str = "Docket-Attempt";
/// Tries of a write whose outcome stays unclear.
const TRIES: usize = 3;

/// When a bucket comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// When the store is opened; if it is gone later, that is a failure.
    AtOpen,
    /// When its first record is written; until then it is empty.
    OnFirstWrite,
}

/// The records of one bucket.
pub(super) struct Bucket {
    broker: Arc<Broker>,
    config: Config,
    subjects: String,
    made: Made,
    /// It was there, and as strong as it must be.
    ready: AtomicBool,
    making: tokio::sync::Mutex<()>,
    // Unique together: this store's token, and a count of its writes.
    token: String,
    writes: AtomicU64,
}

/// The stream of a bucket.
pub(super) fn stream_of(bucket: &str) -> String {
    format!("KV_{bucket}")
}

impl Bucket {
    /// The bucket of this name, whether it exists or not.
    pub(super) fn new(broker: Arc<Broker>, bucket: &str, made: Made) -> Self {
        let (stream, subjects) = (stream_of(bucket), format!("$KV.{bucket}"));
        let config = Config {
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: false,
            ..broker.stream(&stream, &format!("{subjects}.>"))
        };
        let token = broker.client.new_inbox();
        let (ready, making) = (AtomicBool::new(false), tokio::sync::Mutex::default());
        Self { broker, config, subjects, made, ready, making, token, writes: AtomicU64::new(0) }
    }

    /// Its stream.
    pub(super) fn stream(&self) -> &str {
        &self.config.name
    }

    /// Makes it where it does not exist.
    pub(super) async fn ensure(&self) -> Result<(), Failure> {
        self.broker.ensure_stream(&self.config).await?;
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether a record can be written, which a new one always can: it is no use to make a bucket for a change of a record
    /// that is not there. Asks the broker once.
    async fn is_ready_for(&self, expected: u64) -> Result<bool, Failure> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(true);
        }
        let _making = self.making.lock().await;
        if self.ready.load(Ordering::Acquire) {
            return Ok(true);
        }
        if expected > 0 {
            let found: Result<serde_json::Value, _> =
                self.broker.api(&format!("STREAM.INFO.{}", self.stream()), &json!(null)).await;
            if matches!(&found, Err(failure) if failure.is(code::STREAM_NOT_FOUND)) {
                return Ok(false);
            }
        }
        self.ensure().await.map(|()| true)
    }

    /// Removes it with all that is in it; removing nothing is no error.
    pub(super) async fn drop_all(&self) -> Result<(), Failure> {
        self.ready.store(false, Ordering::Release);
        self.broker.drop_stream(self.stream()).await
    }

    /// What a bucket that does not exist answers.
    fn or_nothing<T>(&self, outcome: Result<T, Failure>, nothing: T) -> Result<T, Failure> {
        match outcome {
            Err(failure) if self.made == Made::OnFirstWrite && failure.is(code::STREAM_NOT_FOUND) => Ok(nothing),
            outcome => outcome,
        }
    }

    fn subject(&self, key: &str) -> String {
        format!("{}.{}", self.subjects, names::path(key))
    }

    /// The newest bytes of a key.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Versioned>, Failure> {
        let message = self.or_nothing(self.broker.last(self.stream(), &self.subject(key)).await, None)?;
        Ok(message.map(|message| Versioned { revision: message.sequence, bytes: message.payload }))
    }

    /// Writes `key` if its revision is `expected` (0: if it does not exist).
    pub(super) async fn write(&self, key: &str, expected: u64, bytes: Bytes) -> PortResult<u64> {
        let failed = |failure: Failure| failure.during("write a record");
        let conflict = || Error::Conflict { key: key.to_owned() };
        let subject = self.subject(key);
        let attempt = format!("{}.{}", self.token, self.writes.fetch_add(1, Ordering::Relaxed));
        let mut headers = HeaderMap::new();
        headers.insert(ATTEMPT_HEADER, attempt.as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        let mut unclear = None;
        for _ in 0..TRIES {
            match self.is_ready_for(expected).await {
                Ok(true) => {}
                Ok(false) => return Err(conflict()),
                Err(failure) => return Err(failed(failure)),
            }
            match self.broker.publish(&subject, headers.clone(), bytes.clone()).await {
                Ok(revision) => return Ok(revision),
                Err(failure) if failure.is_conflict() && unclear.is_none() => return Err(conflict()),
                // The first try may have been written, and be what stands in the way now.
                Err(failure) if failure.is_conflict() => {}
                Err(failure) if failure.is_unclear() => unclear = Some(failure),
                // Somebody has removed the bucket.
                Err(failure @ Failure::Nobody { .. }) if self.made == Made::OnFirstWrite => {
                    self.ready.store(false, Ordering::Release);
                    unclear = Some(failure);
                    continue;
                }
                Err(failure) => return Err(failed(failure)),
            }
            let found = match self.broker.last(self.stream(), &subject).await {
                Ok(found) => found,
                Err(_) => continue,
            };
            let written = found.as_ref().and_then(|found| found.headers.get(ATTEMPT_HEADER));
            match found.as_ref().map_or(0, |found| found.sequence) {
                revision if written.is_some_and(|written| written.as_str() == attempt) => return Ok(revision),
                revision if revision != expected => return Err(conflict()),
                // Not written, or not yet: the next try decides.
                _ => {}
            }
        }
        Err(unclear.map_or_else(conflict, failed))
    }

    /// Adds the keys that begin with `prefix` and come after `after` to `keys`, of which the first `limit` stay.
    pub(super) async fn keys(
        &self,
        (prefix, after, limit): (&str, Option<&str>, usize),
        keys: &mut BTreeSet<String>,
        is_ours: impl Fn(&str) -> bool + Send + Sync,
    ) -> Result<(), Failure> {
        let start = self.subjects.len() + 1;
        let filter = format!("{}.{}", self.subjects, names::wildcard(prefix));
        let listed = self.broker.subjects(self.stream(), &filter, |subject| {
            let Some(key) = subject.get(start..).and_then(names::path_of) else { return };
            if key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after) && is_ours(&key) {
                keys.insert(key);
                if keys.len() > limit {
                    keys.pop_last();
                }
            }
        });
        let listed = listed.await;
        self.or_nothing(listed, ())
    }

    /// Removes a key.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.or_nothing(self.broker.purge(self.stream(), &self.subject(key), None).await, ())
    }

    /// Removes a key whose revision is `revision`; whether nothing newer is there.
    pub(super) async fn remove(&self, key: &str, revision: u64) -> Result<bool, Failure> {
        let subject = self.subject(key);
        // What is newer stays.
        let below = Some(revision.saturating_add(1));
        self.or_nothing(self.broker.purge(self.stream(), &subject, below).await, ())?;
        Ok(self.or_nothing(self.broker.last(self.stream(), &subject).await, None)?.is_none())
    }
}
