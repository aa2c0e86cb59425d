//! Pull requests to consumers, and what the server answers to them.
//!
//! All requests of one [`Asking`] share a subscription. A message comes under its own subject, so who asks says which
//! request a subject belongs to; at most one request of a kind is open at a time.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;

use super::{broker::Broker, failure::Failure};

/// Kinds of requests that can be open at once: the four priorities, or just one.
const KINDS: usize = 4;

/// What may come beside the answers to open requests while the interest in them ends: late words about earlier ones.
const SPARE: u64 = 8;
/// Ends the subject of our own messages that end a subscription.
const END: &str = ".end";

/// Open requests.
pub(super) struct Asking {
    inbox: String,
    subscriber: Subscriber,
    number: u64,
    /// Messages of all kinds that have come.
    came: u64,
    withdrawn: bool,
    open: [Option<Open>; KINDS],
    kind_of: fn(&Subject) -> Option<usize>,
}

#[derive(Clone, Copy)]
struct Open {
    number: u64,
    remaining: usize,
}

/// What is asked of a consumer.
pub(super) struct Ask<'a> {
    pub(super) stream: &'a str,
    pub(super) consumer: &'a str,
    pub(super) count: usize,
    pub(super) patience: Patience,
}

/// How long the server keeps a request that it cannot fulfil yet.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// Not at all, as a rule. A request that meets others in a race, or a consumer whose limit of messages in work is
    /// reached, stays open without a word: whoever asks must not wait for an answer for ever.
    None,
    /// Until the first messages come, at most this long.
    UntilFirst(Duration),
    /// Until all messages came, at most this long.
    UntilAll(Duration),
}

/// What came.
pub(super) enum Answer {
    /// A message for a request of this kind.
    Message(usize, Message),
    /// A request got what there is.
    Ended,
    /// The server gave the request up: a new leader, a consumer that was deleted, too many requests.
    Interrupted(String),
    /// Nobody serves this consumer.
    Missing,
}

impl Asking {
    /// Begins to listen. `kind_of` finds the kind of a message's subject.
    pub(super) async fn begin(broker: &Broker, kind_of: fn(&Subject) -> Option<usize>) -> Result<Self, Failure> {
        let inbox = broker.client.new_inbox();
        let subscriber = broker.client.subscribe(format!("{inbox}.*")).await;
        let subscriber = subscriber.map_err(|error| Failure::Request(Box::new(error)))?;
        Ok(Self { inbox, subscriber, number: 0, came: 0, withdrawn: false, open: [None; KINDS], kind_of })
    }

    /// Sends a request of a kind that is not open.
    pub(super) async fn ask(&mut self, broker: &Broker, kind: usize, ask: Ask<'_>) -> Result<(), Failure> {
        self.number += 1;
        let mut body = json!({ "batch": ask.count });
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        match ask.patience {
            Patience::None => body["no_wait"] = json!(true),
            Patience::UntilFirst(time) => {
                body["no_wait"] = json!(true);
                body["expires"] = json!(nanoseconds(time));
            }
            Patience::UntilAll(time) => body["expires"] = json!(nanoseconds(time)),
        }
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", ask.stream, ask.consumer);
        let reply = format!("{}.{}", self.inbox, self.number);
        let sent = broker.client.publish_with_reply(subject, reply, body.to_string().into()).await;
        sent.map_err(|error| Failure::Request(Box::new(error)))?;
        self.open[kind] = Some(Open { number: self.number, remaining: ask.count });
        Ok(())
    }

    pub(super) fn is_open(&self, kind: usize) -> bool {
        self.open[kind].is_some()
    }

    pub(super) fn any_open(&self) -> bool {
        self.open.iter().any(Option::is_some)
    }

    /// Has the server forget the open requests, by ending the interest in their answers; what is under way still comes, and
    /// then all requests have ended.
    ///
    /// The client's own way of draining ends before the server has heard of it, and loses what comes in between. Therefore the
    /// subscription ends, on both sides, with one certain message: we send as many empty ones after the word that it shall
    /// end as it takes to get there. Where a server does not let us send them, the requests end when their time is over.
    pub(super) async fn withdraw(&mut self, broker: &Broker) -> Result<(), Failure> {
        // A request brings its messages and one word more.
        let open: usize = self.open.iter().flatten().map(|open| open.remaining + 1).sum();
        let left = open as u64 + SPARE;
        self.withdrawn = true;
        self.subscriber.unsubscribe_after(self.came + left).await.map_err(|error| Failure::Request(Box::new(error)))?;
        let subject = format!("{}{END}", self.inbox);
        for _ in 0..left {
            let sent = broker.client.publish(subject.clone(), Bytes::new()).await;
            sent.map_err(|error| Failure::Request(Box::new(error)))?;
        }
        Ok(())
    }

    pub(super) fn is_withdrawn(&self) -> bool {
        self.withdrawn
    }

    /// What comes next; safe to drop while it waits.
    pub(super) async fn next(&mut self) -> Answer {
        loop {
            let Some(message) = self.subscriber.next().await else {
                if self.withdrawn {
                    self.open = [None; KINDS];
                    return Answer::Ended;
                }
                return Answer::Interrupted("the connection was closed".to_owned());
            };
            self.came += 1;
            if message.subject.strip_prefix(self.inbox.as_str()) == Some(END) {
                continue;
            }
            match message.status {
                None | Some(StatusCode::OK) => {
                    let Some(kind) = (self.kind_of)(&message.subject).filter(|kind| *kind < KINDS) else { continue };
                    if let Some(open) = &mut self.open[kind] {
                        open.remaining -= 1;
                        if open.remaining == 0 {
                            self.open[kind] = None;
                        }
                    }
                    return Answer::Message(kind, message);
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(StatusCode::NO_RESPONDERS) => return Answer::Missing,
                Some(status) => {
                    let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
                    let kind = self.open.iter().position(|open| open.is_some_and(|open| Some(open.number) == number));
                    // A late word about a request that has ended already says nothing.
                    let Some(kind) = kind else { continue };
                    self.open[kind] = None;
                    if matches!(status, StatusCode::NOT_FOUND | StatusCode::TIMEOUT) {
                        return Answer::Ended;
                    }
                    return Answer::Interrupted(message.description.unwrap_or_else(|| status.to_string()));
                }
            }
        }
    }
}
