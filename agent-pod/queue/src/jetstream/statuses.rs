//! Statuses: a stream in the broker's memory with a subject a key, whose messages the broker itself lets go when they are too
//! old. An empty one says that there is none any more: who may say something must not be able to remove what others say.
//!
//! Who listens to a key hears that as well.
//!
//! The stream does not outlive a broker that stands alone and is started again; the next status makes it anew.

use std::{sync::Arc, time::Duration};

use async_nats::{
    HeaderMap, Subscriber,
    jetstream::stream::{Config, DiscardPolicy, StorageType},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::watch;

use super::{
    broker::Broker,
    failure::{Failure, code},
    names,
};
use crate::{Result as PortResult, Statuses};

/// Statuses that are read at once.
const READS_AT_ONCE: usize = 32;

/// The statuses at a broker.
pub(super) struct JetStreamStatuses {
    broker: Arc<Broker>,
    config: Config,
    subjects: String,
}

impl JetStreamStatuses {
    /// Opens the stream, which is made if it does not exist.
    pub(super) async fn open(broker: Arc<Broker>, ttl: Duration) -> Result<Self, Failure> {
        let subjects = format!("{}.status", broker.prefix);
        let config = Config {
            storage: StorageType::Memory,
            max_age: ttl,
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            allow_direct: false,
            ..broker.stream(&format!("{}-status", broker.prefix), &format!("{subjects}.>"))
        };
        broker.ensure_stream(&config).await?;
        Ok(Self { broker, config, subjects })
    }

    fn subject(&self, key: &str) -> String {
        format!("{}.{}", self.subjects, names::path(key))
    }

    async fn say(&self, key: &str, status: Bytes) -> Result<(), Failure> {
        let subject = self.subject(key);
        match self.broker.publish(&subject, HeaderMap::new(), status.clone()).await {
            Err(Failure::Nobody { .. }) => {
                self.broker.ensure_stream(&self.config).await?;
                self.broker.publish(&subject, HeaderMap::new(), status).await.map(drop)
            }
            said => said.map(drop),
        }
    }

    async fn said(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, Failure> {
        let start = self.subjects.len() + 1;
        let filter = format!("{}.{}", self.subjects, names::wildcard(prefix));
        let mut keys = Vec::new();
        let listed = self.broker.subjects(&self.config.name, &filter, |subject| {
            let key = subject.get(start..).and_then(names::path_of);
            keys.extend(key.filter(|key| key.starts_with(prefix)));
        });
        match listed.await {
            // Nobody has said anything since the broker was started again.
            Err(failure) if failure.is(code::STREAM_NOT_FOUND) => {
                // Those who speak may not be allowed to make it.
                if self.broker.makes_streams {
                    self.broker.ensure_stream(&self.config).await?;
                }
                return Ok(Vec::new());
            }
            listed => listed?,
        }
        keys.sort_unstable();
        let reads = keys.into_iter().map(|key| async move {
            let message = self.broker.last(&self.config.name, &self.subject(&key)).await?;
            let message = message.filter(|message| !message.payload.is_empty());
            Ok::<_, Failure>(message.map(|message| (key, message.payload)))
        });
        // One that fell silent since its key was listed is not there.
        stream::iter(reads).buffered(READS_AT_ONCE).try_filter_map(async |found| Ok(found)).try_collect().await
    }
}

#[async_trait]
impl Statuses for JetStreamStatuses {
    async fn publish(&self, key: &str, status: Bytes) -> PortResult<()> {
        self.say(key, status).await.map_err(|failure| failure.during("publish a status"))
    }

    async fn all(&self, prefix: &str) -> PortResult<Vec<(String, Bytes)>> {
        self.said(prefix).await.map_err(|failure| failure.during("read the statuses"))
    }

    async fn remove(&self, key: &str) -> PortResult<()> {
        match self.broker.publish(&self.subject(key), HeaderMap::new(), Bytes::new()).await {
            Err(Failure::Nobody { .. }) => Ok(()),
            said => said.map(drop).map_err(|failure| failure.during("take a status back")),
        }
    }

    async fn watch(&self, key: &str) -> PortResult<watch::Receiver<Option<Bytes>>> {
        let subscriber = self.broker.subscribe(self.subject(key)).await;
        let subscriber = subscriber.map_err(|failure| failure.during("watch a status"))?;
        let (sender, receiver) = watch::channel(None);
        self.broker.runtime.spawn(hear(subscriber, sender));
        Ok(receiver)
    }
}

/// Passes on what is said until nobody listens.
async fn hear(mut subscriber: Subscriber, listener: watch::Sender<Option<Bytes>>) {
    loop {
        let message = tokio::select! {
            message = subscriber.next() => message,
            () = listener.closed() => None,
        };
        let Some(message) = message else { return };
        listener.send_replace(Some(message.payload).filter(|status| !status.is_empty()));
    }
}
