//! How much waits in a pool, and a sample of it. Everything is asked of the leaders, and no message is taken.
//!
//! The server counts by subject, and here each message has a subject of its own: what kinds of tasks wait it cannot say. So some
//! messages are read, evenly spread over the queue: at most so many, however long the queue is.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::json;

use super::{
    failure::{Failure, code},
    pool::{ConsumerState, Pool, class_name},
};
use crate::{Depth, Priority};

/// A message that waits, read without taking it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// Its class.
    pub priority: Priority,
    /// What it says.
    pub body: Bytes,
    /// How many of the waiting messages it stands for, itself among them.
    pub stands_for: f64,
    /// How long it has waited, by the server's clock.
    pub waited: Duration,
}

#[derive(Deserialize)]
struct StreamInfo {
    state: StreamState,
    ts: String,
}

#[derive(Deserialize)]
struct StreamState {
    messages: u64,
    last_seq: u64,
    first_ts: String,
}

impl Pool {
    /// What waits, and at most about `most` of the messages that nobody has pulled yet. `None`: there is no stream, because
    /// nothing was ever published to this pool, or because somebody has removed it.
    pub(super) async fn depth(&self, most: usize) -> Result<Option<(Depth, Vec<Sampled>)>, Failure> {
        match self.counted(most).await {
            Err(failure) if failure.is(code::STREAM_NOT_FOUND) => Ok(None),
            // Another process is just making the pool, or somebody removed a consumer.
            Err(failure) if failure.is(code::CONSUMER_NOT_FOUND) => {
                self.doubt();
                self.ensure().await?;
                self.counted(most).await.map(Some)
            }
            counted => counted.map(Some),
        }
    }

    async fn counted(&self, most: usize) -> Result<(Depth, Vec<Sampled>), Failure> {
        let info: StreamInfo = self.broker.api(&format!("STREAM.INFO.{}", self.stream), &json!(null)).await?;
        let consumers = try_join_all(Priority::ALL.map(|class| self.consumer(class))).await?;
        let mut depth = Depth {
            arrived: info.state.last_seq,
            finished: info.state.last_seq.saturating_sub(info.state.messages),
            ..Depth::default()
        };
        for (class, consumer) in consumers.iter().enumerate() {
            depth.pending[class] = consumer.num_pending;
            depth.in_work += consumer.num_ack_pending;
        }
        // All times are the server's: ours may go wrong.
        let now = nanoseconds(&info.ts);
        let age = |then: i128| since(now, then);
        if info.state.messages > 0 {
            depth.oldest = nanoseconds(&info.state.first_ts).and_then(age);
        }
        let all: u64 = depth.pending.iter().sum();
        let waiting = Priority::ALL.into_iter().zip(&consumers).filter(|(_, consumer)| consumer.num_pending > 0);
        let reads = waiting.map(|(class, consumer)| {
            // The first one is read in any case: its age is the longest wait.
            let share = (most as u128 * u128::from(consumer.num_pending)).div_ceil(u128::from(all));
            self.some_of(class, consumer, (info.state.last_seq, now), share.max(1) as u64)
        });
        let read = try_join_all(reads).await?;
        depth.oldest_wait = read.iter().filter_map(|some| age(some.first?)).max();
        let sample = if most == 0 { Vec::new() } else { read.into_iter().flat_map(|some| some.sampled).collect() };
        Ok((depth, sample))
    }

    /// The first message of a class that nobody has pulled, and others up to `most`, evenly spread up to the sequence `last`, as it
    /// was at `now`.
    async fn some_of(
        &self,
        class: Priority,
        consumer: &ConsumerState,
        (last, now): (u64, Option<i128>),
        most: u64,
    ) -> Result<SomeOfAClass, Failure> {
        let filter = format!("{}.{}.*", self.subjects, class_name(class));
        let behind = consumer.delivered.stream_seq;
        let places = u128::from(most.min(consumer.num_pending).max(1));
        let span = u128::from(last.saturating_sub(behind));
        let reads = (0..places).map(|place| {
            let from = behind + 1 + u64::try_from(span * place / places).unwrap_or_default();
            self.broker.next(&self.stream, &filter, from)
        });
        // Some may be the same, where those of other classes lie between. One that is missing was taken and finished meanwhile.
        let found: BTreeMap<u64, _> =
            try_join_all(reads).await?.into_iter().flatten().map(|message| (message.sequence, message)).collect();
        let stands_for = consumer.num_pending as f64 / found.len().max(1) as f64;
        Ok(SomeOfAClass {
            first: found.values().next().map(|message| message.time.unix_timestamp_nanos()),
            sampled: found
                .into_values()
                .map(|message| Sampled {
                    priority: class,
                    waited: since(now, message.time.unix_timestamp_nanos()).unwrap_or_default(),
                    body: message.payload,
                    stands_for,
                })
                .collect(),
        })
    }
}

struct SomeOfAClass {
    /// When the first was published, in nanoseconds since 1970.
    first: Option<i128>,
    sampled: Vec<Sampled>,
}

/// How long ago it was; nothing for what is newer than `now`.
fn since(now: Option<i128>, then: i128) -> Option<Duration> {
    Some(Duration::from_nanos(u64::try_from(now?.saturating_sub(then)).unwrap_or_default()))
}

fn nanoseconds(time: &str) -> Option<i128> {
    async_nats::datetime::parse_rfc3339(time).ok().map(|time| time.unix_timestamp_nanos())
}
