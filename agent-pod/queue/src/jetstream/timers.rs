//! Timers: messages that the server delivers at their time (message schedules, since server 2.12).
//!
//! ```text
//! PREFIX.timers.ID.set    the alarm as it was set; gone when its time has come
//! PREFIX.timers.ID.due    what the server makes of it then: a message that lies there until it is done
//! ```
//! The server's clock decides, and it looks four times a second. A due alarm that was set again is stale, which shows by a
//! newer one under `set`; it is dropped when it would be delivered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_nats::{
    HeaderMap, Message, Subject,
    jetstream::stream::{Config, RetentionPolicy},
};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::{sync::oneshot, time::timeout};

use super::{
    asking::{Answer, Ask, Asking, Patience},
    broker::Broker,
    failure::Failure,
    names, rfc3339,
    stash::lock,
    streams::Puller,
};
use crate::{Alarm, Millis, Result as PortResult, Timers};

const ID_HEADER: &str = "Docket-Id";
const AT_HEADER: &str = "Docket-At";
const CONSUMER: &str = "due";
/// Alarms that may be out for delivery at once.
const MAX_OUT: u32 = 10_000;
/// Alarms under way to the broker at once, a call.
const UNDER_WAY: usize = 256;
/// Tries to set an alarm while others set the same.
const TRIES: usize = 5;
/// How much later than asked for the server's word may come.
const LATE: Duration = Duration::from_secs(3);

/// The alarms of a broker.
pub(super) struct JetStreamTimers {
    shared: Arc<Shared>,
}

struct Shared {
    broker: Arc<Broker>,
    stream: String,
    subjects: String,
    redelivery: Duration,
    // Alarms that this process was given: where to say that they are done.
    out: Mutex<HashMap<String, Out>>,
}

struct Out {
    at: Millis,
    reply: Subject,
    until: Instant,
}

/// An alarm as it came.
struct Rung {
    alarm: Alarm,
    reply: Subject,
}

/// Alarms for a caller. What is left when it is dropped is handed back.
struct Handover {
    shared: Arc<Shared>,
    rung: Vec<Rung>,
}

impl JetStreamTimers {
    pub(super) async fn open(broker: Arc<Broker>, redelivery: Duration) -> Result<Self, Failure> {
        let stream = format!("{}-timers", broker.prefix);
        let subjects = format!("{}.timers", broker.prefix);
        let config = Config {
            retention: RetentionPolicy::WorkQueue,
            max_messages_per_subject: 1,
            // The server itself publishes with a rollup, to let a new alarm take the old one's place.
            allow_rollup: true,
            allow_message_schedules: true,
            ..broker.stream(&stream, &format!("{subjects}.*.*"))
        };
        broker.ensure_stream(&config).await?;
        let filter = format!("{subjects}.*.due");
        let puller = Puller { stream: &stream, name: CONSUMER, filter, ack_wait: redelivery, max_in_work: MAX_OUT };
        broker.ensure_puller(&puller).await?;
        let out = Mutex::default();
        Ok(Self { shared: Arc::new(Shared { broker, stream, subjects, redelivery, out }) })
    }
}

impl Shared {
    fn subject(&self, id: &str, kind: &str) -> String {
        format!("{}.{}.{kind}", self.subjects, names::digest(id))
    }

    async fn set(&self, alarm: Alarm) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Schedule", format!("@at {}", rfc3339::from_millis(alarm.at)));
        headers.insert("Nats-Schedule-Target", self.subject(&alarm.id, "due"));
        headers.insert(ID_HEADER, names::token(&alarm.id));
        headers.insert(AT_HEADER, alarm.at.to_string());
        // Never in place of an alarm that may be ringing: what the server makes of it then removes whatever lies on the
        // subject, also what came after it. An alarm that is gone before the new one comes can do that no more.
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        let subject = self.subject(&alarm.id, "set");
        let mut tries = 0;
        loop {
            let published = self.broker.publish(&subject, headers.clone(), alarm.body.clone()).await;
            let Err(failure) = published else { return Ok(()) };
            tries += 1;
            if !failure.is_conflict() || tries == TRIES {
                return Err(failure);
            }
            let Some(before) = self.broker.last(&self.stream, &subject).await? else { continue };
            let at = before.headers.get(AT_HEADER).and_then(|at| at.as_str().parse().ok());
            if at == Some(alarm.at) && before.payload == alarm.body {
                return Ok(());
            }
            self.broker.purge(&self.stream, &subject, Some(before.sequence + 1)).await?;
        }
    }

    /// Up to `max` alarms that are due, waiting for the first.
    async fn collect(self: &Arc<Self>, max: usize, wait: Duration) -> Result<Handover, Failure> {
        let ended = Instant::now() + wait;
        let mut found = Handover { shared: Arc::clone(self), rung: Vec::new() };
        let mut asking = Asking::begin(&self.broker, |_| Some(0)).await?;
        let mut patience = (Patience::None, self.broker.silence);
        loop {
            let ask = Ask { stream: &self.stream, consumer: CONSUMER, count: max, patience: patience.0 };
            asking.ask(&self.broker, 0, ask).await?;
            let mut silent = true;
            while asking.any_open() {
                let limit = if found.rung.is_empty() { patience.1 } else { self.broker.silence };
                let Ok(answer) = timeout(limit, asking.next()).await else { break };
                silent = false;
                match answer {
                    Answer::Message(_, message) => found.rung.extend(self.read(message)),
                    Answer::Ended => {}
                    Answer::Interrupted(why) => return Err(Failure::Request(why.into())),
                    Answer::Missing => return Err(Failure::Nobody { subject: self.stream.clone() }),
                }
            }
            found.drop_stale().await?;
            if !found.rung.is_empty() {
                return Ok(found);
            }
            if silent {
                // Silence is an answer only of a broker that answers otherwise.
                let name = format!("CONSUMER.INFO.{}.{CONSUMER}", self.stream);
                let _: serde_json::Value = self.broker.api(&name, &serde_json::Value::Null).await?;
                asking = Asking::begin(&self.broker, |_| Some(0)).await?;
            }
            let left = ended.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(found);
            }
            patience = (Patience::UntilFirst(left), left + LATE);
        }
    }

    fn read(&self, message: Message) -> Option<Rung> {
        let headers = message.headers.as_ref();
        let header = |name| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
        let alarm = header(ID_HEADER).and_then(names::name).zip(header(AT_HEADER).and_then(|at| at.parse().ok()));
        match (alarm, message.reply) {
            (Some((id, at)), Some(reply)) => Some(Rung { alarm: Alarm { id, at, body: message.payload }, reply }),
            (_, reply) => {
                tracing::error!(subject = %message.subject, "removed an alarm that Docket has not set");
                if let Some(reply) = reply {
                    let client = self.broker.client.clone();
                    self.broker.runtime.spawn(async move { client.publish(reply, "+TERM".into()).await });
                }
                None
            }
        }
    }

    /// Whether the alarm was set again since its time came; then this delivery is over.
    async fn drop_if_stale(self: Arc<Self>, id: String, reply: Subject) -> Result<bool, Failure> {
        let newer = self.broker.last(&self.stream, &self.subject(&id, "set")).await?.is_some();
        if newer {
            self.broker.request(&reply, "+ACK".into()).await?;
        }
        Ok(newer)
    }

    async fn done(&self, alarm: &Alarm) -> Result<(), Failure> {
        let reply = {
            let out = lock(&self.out);
            out.get(&alarm.id).filter(|out| out.at == alarm.at).map(|out| out.reply.clone())
        };
        match reply {
            Some(reply) => {
                self.broker.request(&reply, "+ACK".into()).await?;
                lock(&self.out).remove(&alarm.id);
                Ok(())
            }
            // Another process was given it, or it was given too long ago.
            None => {
                let subject = self.subject(&alarm.id, "due");
                let Some(found) = self.broker.last(&self.stream, &subject).await? else { return Ok(()) };
                let at = found.headers.get(AT_HEADER).and_then(|at| at.as_str().parse().ok());
                if at == Some(alarm.at) {
                    self.broker.purge(&self.stream, &subject, Some(found.sequence + 1)).await?;
                }
                Ok(())
            }
        }
    }
}

impl Handover {
    /// Drops alarms that were set again since their time came.
    async fn drop_stale(&mut self) -> Result<(), Failure> {
        let checks: Vec<_> = self
            .rung
            .iter()
            .map(|rung| Arc::clone(&self.shared).drop_if_stale(rung.alarm.id.clone(), rung.reply.clone()))
            .collect();
        let stale: Vec<bool> = stream::iter(checks).buffered(UNDER_WAY).try_collect().await?;
        let mut stale = stale.into_iter();
        self.rung.retain(|_| !stale.next().unwrap_or(false));
        Ok(())
    }

    fn accept(mut self) -> Vec<Alarm> {
        let mut rung = std::mem::take(&mut self.rung);
        rung.sort_by(|one, other| (one.alarm.at, &one.alarm.id).cmp(&(other.alarm.at, &other.alarm.id)));
        let now = Instant::now();
        let mut out = lock(&self.shared.out);
        out.retain(|_, out| out.until > now);
        let until = now + self.shared.redelivery;
        for Rung { alarm, reply } in &rung {
            out.insert(alarm.id.clone(), Out { at: alarm.at, reply: reply.clone(), until });
        }
        rung.into_iter().map(|rung| rung.alarm).collect()
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        let replies: Vec<Subject> = self.rung.drain(..).map(|rung| rung.reply).collect();
        if replies.is_empty() {
            return;
        }
        let client = self.shared.broker.client.clone();
        self.shared.broker.runtime.spawn(async move {
            for reply in replies {
                // If this is lost too, the alarm is delivered again when its time to be done is over.
                drop(client.publish(reply, "-NAK".into()).await);
            }
        });
    }
}

#[async_trait]
impl Timers for JetStreamTimers {
    async fn set(&self, alarms: Vec<Alarm>) -> PortResult<()> {
        let sets = alarms.into_iter().map(|alarm| self.shared.set(alarm));
        let set: Result<(), Failure> = stream::iter(sets).buffered(UNDER_WAY).try_collect().await;
        set.map_err(|failure| failure.during("set timers"))
    }

    async fn due(&self, _now: Millis, max: usize, wait: Duration) -> PortResult<Vec<Alarm>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        self.shared.broker.runtime.spawn(async move {
            let mut sender = sender;
            let found = tokio::select! {
                found = shared.collect(max, wait) => found,
                // Nobody waits any more; what is under way is delivered again.
                () = sender.closed() => return,
            };
            drop(sender.send(found));
        });
        let found = receiver.await.map_err(|error| Failure::Request(Box::new(error))).and_then(|found| found);
        found.map(Handover::accept).map_err(|failure| failure.during("read the timers"))
    }

    async fn done(&self, alarm: &Alarm) -> PortResult<()> {
        self.shared.done(alarm).await.map_err(|failure| failure.during("end a timer"))
    }

    async fn cancel(&self, id: &str) -> PortResult<()> {
        lock(&self.shared.out).remove(id);
        let purged = self.shared.broker.purge(&self.shared.stream, &self.shared.subject(id, "*"), None).await;
        purged.map_err(|failure| failure.during("cancel a timer"))
    }
}
