//! Keeps account of effects: reads every change of every record as the broker stores it, and finds what took place twice.
//!
//! An effect of a stage is its completion in the record; tasks and the end follow from that. So it is enough to look at the
//! changes in their order: a stage that is done in a round stays done with the same completion, and nothing changes after
//! the end. The ledger may miss changes while the broker is away and never invents one; what it saw is in the verdict.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, pull},
};
use flow::{Completion, DocumentRecord, StageStatus};
use futures::StreamExt as _;
use tokio::task::JoinHandle;

use crate::{broker, documents::PIPELINE};

/// Begins the name of the pipeline's bucket.
const RECORDS: &str = "docket-records";
/// How long nothing comes before reading begins anew, where it was left off.
const SILENT: Duration = Duration::from_secs(2);
/// Wait before the broker is asked again after a failure.
const AGAIN: Duration = Duration::from_millis(200);

/// What is known of the effects on all documents. Pure.
#[derive(Debug, Default)]
pub struct Effects {
    documents: HashMap<String, Known>,
    repeated: BTreeSet<String>,
    last: u64,
    changes: u64,
    ended: usize,
}

#[derive(Debug, Default)]
struct Known {
    epoch: u32,
    /// The round and a digest of the completion of each stage that is done.
    done: BTreeMap<String, (u32, u64)>,
    /// Milliseconds from the submission to the end.
    ended_after: Option<u64>,
    /// When it last changed, by the broker's clock, in nanoseconds; and the times between its changes.
    changed: i128,
    steps: Vec<Duration>,
}

impl Effects {
    /// A change, by the broker's number for it and its clock in nanoseconds. One that was seen already says nothing.
    pub fn see(&mut self, sequence: u64, at: i128, record: &DocumentRecord) {
        if sequence <= self.last {
            return;
        }
        self.last = sequence;
        self.changes += 1;
        let id = &record.submission.document;
        let known = self.documents.entry(id.clone()).or_default();
        if record.epoch != known.epoch {
            // A replay begins anew, and may.
            self.ended -= usize::from(known.ended_after.is_some());
            *known = Known { epoch: record.epoch, ..Known::default() };
        }
        if known.changed > 0 {
            known.steps.push(Duration::from_nanos(u64::try_from(at - known.changed).unwrap_or_default()));
        }
        known.changed = at;
        let after_the_end = known.ended_after.is_some();
        let done: BTreeMap<String, (u32, u64)> = record.stages.iter().filter_map(done).collect();
        let kept = |(stage, before): (&String, &(u32, u64))| match done.get(stage) {
            Some(now) => now == before || now.0 > before.0,
            // Another round has begun.
            None => record.stages.get(stage).is_some_and(|state| state.round > before.0),
        };
        if after_the_end || !known.done.iter().all(kept) {
            self.repeated.insert(id.clone());
        }
        known.done = done;
        if let (None, Some(end)) = (known.ended_after, &record.end) {
            known.ended_after = Some(end.at.saturating_sub(record.submitted_at));
            self.ended += 1;
        }
    }

    /// Documents on which an effect was repeated.
    pub fn repeated(&self) -> impl Iterator<Item = &str> {
        self.repeated.iter().map(String::as_str)
    }

    /// Changes that were seen.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Documents whose end was seen.
    pub fn ended(&self) -> usize {
        self.ended
    }

    /// Whether a document's end was seen.
    pub fn has_ended(&self, document: &str) -> bool {
        self.documents.get(document).is_some_and(|known| known.ended_after.is_some())
    }

    /// The times between the changes of the documents whose ids begin so.
    pub fn steps(&self, begin: &str) -> Vec<Duration> {
        let of = self.documents.iter().filter(|(id, _)| id.starts_with(begin));
        of.flat_map(|(_, known)| known.steps.iter().copied()).collect()
    }

    /// Milliseconds from submission to end of the documents whose ids begin so, in order.
    pub fn latencies(&self, begin: &str) -> Vec<u64> {
        let of = self.documents.iter().filter(|(id, _)| id.starts_with(begin));
        let mut latencies: Vec<u64> = of.filter_map(|(_, known)| known.ended_after).collect();
        latencies.sort_unstable();
        latencies
    }
}

fn done((stage, state): (&String, &flow::StageState)) -> Option<(String, (u32, u64))> {
    match &state.status {
        StageStatus::Done(completion) => Some((stage.clone(), (state.round, digest(completion)))),
        _ => None,
    }
}

fn digest(completion: &Completion) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{completion:?}").hash(&mut hasher);
    hasher.finish()
}

/// Reads the changes of a broker's records until it is dropped.
pub struct Ledger {
    effects: Arc<Mutex<Effects>>,
    reader: JoinHandle<()>,
}

impl Ledger {
    /// Begins to read.
    pub fn start(servers: String) -> Self {
        let effects = Arc::new(Mutex::new(Effects::default()));
        let shared = Arc::clone(&effects);
        let reader = tokio::spawn(async move {
            loop {
                // The broker may be away; where it was left off is known.
                let _ = read(&servers, &shared).await;
                tokio::time::sleep(AGAIN).await;
            }
        });
        Self { effects, reader }
    }

    /// What was seen so far.
    pub fn effects(&self) -> MutexGuard<'_, Effects> {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(servers: &str, effects: &Mutex<Effects>) -> Result<()> {
    let context = jetstream::new(broker::connect(servers).await?);
    let stream = context.get_stream_no_info(format!("KV_{RECORDS}-{PIPELINE}")).await.context("find the records")?;
    let last = effects.lock().unwrap_or_else(PoisonError::into_inner).last;
    let consumer = stream
        .create_consumer(pull::OrderedConfig {
            filter_subject: format!("$KV.{RECORDS}-{PIPELINE}.documents.>"),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: last + 1 },
            ..pull::OrderedConfig::default()
        })
        .await
        .context("read the records")?;
    let mut messages = consumer.messages().await.context("read the records")?;
    loop {
        // A reader whose broker went away would wait for the second heartbeat that stays out, half a minute.
        let next = tokio::time::timeout(SILENT, messages.next()).await;
        let Ok(next) = next else { return Ok(()) };
        let message = next.context("the broker ended the reading")?.context("read a record")?;
        let info = message.info().map_err(|error| anyhow::anyhow!(error)).context("read a record")?;
        let (sequence, at) = (info.stream_sequence, info.published.unix_timestamp_nanos());
        // What is no record was put there by a case that wants to see it refused.
        if let Ok(record) = DocumentRecord::decode(&message.payload) {
            effects.lock().unwrap_or_else(PoisonError::into_inner).see(sequence, at, &record);
        }
    }
}
