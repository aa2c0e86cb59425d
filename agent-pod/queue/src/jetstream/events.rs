//! Events: the broker's plain subjects, which nobody stores. Watchers have the same bounded ring as in one process.

use std::{sync::Arc, time::Duration};

use async_nats::connection::State;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use tokio::{sync::mpsc, time::timeout};

use super::{broker::Broker, failure::Failure, names};
use crate::{
    Events, Result as PortResult,
    events::{Event, Ring, forward},
};

/// How long a publish may wait for room in what is sent: then the event is lost, and nobody waits for it.
const ROOM: Duration = Duration::from_millis(100);

/// Events of a broker.
pub(super) struct JetStreamEvents {
    broker: Arc<Broker>,
    subjects: String,
}

impl JetStreamEvents {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self { subjects: format!("{}.events", broker.prefix), broker }
    }

    async fn subscribe(&self, prefix: &str) -> Result<async_nats::Subscriber, Failure> {
        let subject = format!("{}.{}", self.subjects, names::wildcard(prefix));
        self.broker.subscribe(subject).await
    }
}

#[async_trait]
impl Events for JetStreamEvents {
    async fn publish(&self, subject: &str, body: Bytes) -> PortResult<()> {
        // What is published while no connection is there would come later, in a heap: it is lost instead.
        if self.broker.client.connection_state() != State::Connected {
            return Ok(());
        }
        let subject = format!("{}.{}", self.subjects, names::path(subject));
        match timeout(ROOM, self.broker.client.publish(subject, body)).await {
            Ok(Err(error)) => Err(Failure::Request(Box::new(error)).during("publish an event")),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    async fn watch(&self, prefix: &str) -> PortResult<mpsc::Receiver<Event>> {
        let subscriber = self.subscribe(prefix).await.map_err(|failure| failure.during("watch events"))?;
        let ring = Arc::new(Ring::default());
        let (sender, receiver) = mpsc::channel(1);
        let start = self.subjects.len() + 1;
        self.broker.runtime.spawn(receive(subscriber, start, prefix.to_owned(), Arc::clone(&ring)));
        self.broker.runtime.spawn(forward(ring, sender));
        Ok(receiver)
    }
}

/// Puts what comes into the ring until the watcher has left.
async fn receive(mut subscriber: async_nats::Subscriber, start: usize, prefix: String, ring: Arc<Ring>) {
    loop {
        let message = tokio::select! {
            message = subscriber.next() => message,
            () = ring.closed() => None,
        };
        let Some(message) = message else { break };
        let Some(subject) = message.subject.get(start..).and_then(names::path_of) else { continue };
        if subject.starts_with(&prefix) {
            ring.push((subject, message.payload));
        }
    }
    ring.close();
}
