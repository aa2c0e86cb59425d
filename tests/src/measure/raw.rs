//! JetStream alone: a message published, pulled and acknowledged, each with the server's word for it. What any queue on this
//! broker costs at least.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use async_nats::jetstream::{
    self,
    consumer::{Consumer, pull},
    stream::{Config, RetentionPolicy, StorageType},
};
use futures::StreamExt as _;

use crate::broker;

const SUBJECT: &str = "raw.task";
const BODY: usize = 200;
/// Longest wait for a message that was published.
const WAIT: Duration = Duration::from_secs(10);

/// A work queue and somebody who pulls from it.
pub(super) struct Raw {
    context: jetstream::Context,
    consumer: Consumer<pull::Config>,
}

impl Raw {
    pub(super) async fn open(servers: &str) -> Result<Self> {
        let context = jetstream::new(broker::connect(servers).await?);
        let stream = context
            .get_or_create_stream(Config {
                name: "raw".to_owned(),
                subjects: vec!["raw.>".to_owned()],
                storage: StorageType::File,
                retention: RetentionPolicy::WorkQueue,
                ..Config::default()
            })
            .await
            .context("make a stream")?;
        let config = pull::Config { durable_name: Some("raw".to_owned()), ..pull::Config::default() };
        let consumer = stream.get_or_create_consumer("raw", config).await.context("make a consumer")?;
        Ok(Self { context, consumer })
    }

    /// The times of so many messages, one after another. The pull waits at the server before the message comes, as a worker's
    /// does.
    pub(super) async fn times(&self, count: usize) -> Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let mut messages = self.consumer.batch().max_messages(1).expires(WAIT).messages().await.context("pull")?;
            let begun = Instant::now();
            let published = self.context.publish(SUBJECT, vec![b'x'; BODY].into()).await.context("publish")?;
            published.await.context("publish")?;
            let message = messages.next().await.context("nothing came")?.map_err(|error| anyhow!(error))?;
            message.double_ack().await.map_err(|error| anyhow!(error)).context("acknowledge")?;
            times.push(begun.elapsed());
        }
        Ok(times)
    }
}
