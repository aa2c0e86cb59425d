//! The documents of the pipelines, counted while their records are swept, and what the gateway says of that: the operator
//! puts it into the pipelines' status.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use flow::{DocumentRecord, GatewayStatus, Millis, Outcome, PipelineTally, keys::GATEWAYS};

use super::api::Api;
use crate::{
    error::chain,
    runtime::{now, sweeper},
};

/// How often it is said: a word counts for five seconds.
const EVERY: Duration = Duration::from_secs(2);
/// Percentiles are of so many of the documents that ended last.
const NEWEST: usize = 512;
const MINUTE: Millis = 60_000;

/// What is counted during one sweep of one pipeline.
pub struct Tally {
    at: Millis,
    done: u64,
    dead_letters: u64,
    /// When a document ended and how long it took, the newest.
    newest: VecDeque<(Millis, Millis)>,
}

impl Tally {
    /// Nothing is counted yet; `at` is now.
    pub fn at(at: Millis) -> Self {
        Self { at, done: 0, dead_letters: 0, newest: VecDeque::new() }
    }

    /// Counts a document.
    pub fn count(&mut self, record: &DocumentRecord) {
        let Some(end) = &record.end else { return };
        self.done += u64::from(end.at + MINUTE > self.at);
        self.dead_letters += u64::from(end.outcome == Outcome::DeadLettered);
        if self.newest.len() == NEWEST && self.newest.front().is_some_and(|(oldest, _)| *oldest >= end.at) {
            return;
        }
        let place = self.newest.partition_point(|(at, _)| *at <= end.at);
        self.newest.insert(place, (end.at, end.at.saturating_sub(record.started_at)));
        if self.newest.len() > NEWEST {
            self.newest.pop_front();
        }
    }

    /// What the gateway says of a pipeline by all that was counted.
    pub fn finish(self, pipeline: &str) -> PipelineTally {
        let mut took: Vec<Millis> = self.newest.iter().map(|(_, took)| *took).collect();
        took.sort_unstable();
        let at = |share: f64| {
            let index = (took.len() as f64 * share).ceil() as usize;
            took.get(index.saturating_sub(1)).map(|millis| *millis as f64 / 1_000.0)
        };
        PipelineTally {
            pipeline: pipeline.to_owned(),
            open: 0,
            done_per_minute: self.done,
            dead_letters: self.dead_letters,
            p50: at(0.5),
            p95: at(0.95),
        }
    }
}

/// The last counts, by pipeline.
#[derive(Default)]
pub struct Tallies(Mutex<BTreeMap<String, PipelineTally>>);

impl Tallies {
    pub(super) fn set(&self, tally: PipelineTally) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(tally.pipeline.clone(), tally);
    }

    fn all(&self) -> Vec<PipelineTally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Says every few seconds how the pipelines stand, until the gateway stops. A word that is lost is made up for by the next.
pub(super) async fn speak(api: &Api, name: &str) {
    let key = format!("{GATEWAYS}{name}");
    loop {
        let mut pipelines = api.tallies.all();
        for tally in &mut pipelines {
            // Credits know of each document that was let in since.
            tally.open = api.credits.open(&tally.pipeline, None) as u64;
        }
        let status = GatewayStatus { name: name.to_owned(), pipelines, at: now() };
        if let Err(error) = api.ports.statuses.publish(&key, Bytes::from(status.encode())).await {
            tracing::debug!(error = %chain(&error), "a status was not said");
        }
        if !sweeper::rest(EVERY, &api.stop).await {
            break;
        }
    }
    drop(api.ports.statuses.remove(&key).await);
}
