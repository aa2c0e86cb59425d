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
pub(super) struct Tally {
    at: Millis,
    done: u64,
    dead_letters: u64,
    /// When a document ended and how long it took, the newest.
    newest: VecDeque<(Millis, Millis)>,
}

impl Tally {
    pub(super) fn at(at: Millis) -> Self {
        Self { at, done: 0, dead_letters: 0, newest: VecDeque::new() }
    }

    pub(super) fn count(&mut self, record: &DocumentRecord) {
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

    pub(super) fn finish(self, pipeline: &str) -> PipelineTally {
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
pub(super) struct Tallies(Mutex<BTreeMap<String, PipelineTally>>);

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

#[cfg(test)]
mod tests {
    use crds::Priority;
    use flow::{End, Submission};

    use super::*;

    fn ended(at: Millis, took: Millis, outcome: Outcome) -> DocumentRecord {
        let submission = Submission {
            document: "d".to_owned(),
            tenant: "t".to_owned(),
            source: "d".to_owned(),
            payload: "00".to_owned(),
            metadata: None,
            priority: Priority::Normal,
            deadline: None,
            bytes: None,
        };
        let spec = serde_json::json!({"stages": [{"name": "a", "pool": "p", "parse": {}}]});
        let pools = BTreeMap::from([("p".to_owned(), serde_json::from_str("{}").expect("a pool"))]);
        let plan = flow::compile("x", 1, &serde_json::from_value(spec).expect("a pipeline"), &pools).expect("a plan");
        let mut record = flow::submit(&plan, submission, at - took).record;
        record.end = Some(End { outcome, at, dead_letter: None });
        record
    }

    #[test]
    fn ends_are_counted_by_age_and_outcome_and_percentiles_are_of_the_newest() {
        let now = 10_000_000;
        let mut tally = Tally::at(now);
        for number in 0..1_000 {
            // The older half took long; only a few of it are among the newest.
            let (age, took) = if number % 2 == 0 { (90_000 + number, 50_000) } else { (number, 2_000) };
            tally.count(&ended(now - age, took, if number == 2 { Outcome::DeadLettered } else { Outcome::Succeeded }));
        }
        let tally = tally.finish("x");
        assert_eq!((tally.done_per_minute, tally.dead_letters), (500, 1));
        assert_eq!((tally.p50, tally.p95), (Some(2.0), Some(2.0)));
        let nothing = Tally::at(now).finish("x");
        assert_eq!((nothing.done_per_minute, nothing.p50), (0, None));
    }
}
