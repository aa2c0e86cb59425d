//! All six ports over NATS JetStream, for many processes on many machines.
//!
//! ```text
//! PREFIX-tasks-POOL      a work queue a pool, a consumer a priority, a subject a message
//! KV_PREFIX-records      records of all
//! KV_PREFIX-records-NAME records below prefixes that name a bucket: agent-pod has one a pipeline
//! PREFIX-timers          alarms, which the server delivers at their time
//! PREFIX-payloads        payloads, where no object store is given
//! PREFIX.events.…        events: plain subjects, stored nowhere
//! PREFIX-status          statuses, in memory, each for some seconds
//! ```
//! Streams are made on first use, unless the settings leave that to somebody else, and checked when they exist: one that promises less than the settings ask for is an error.
//! A failure of the broker is an error, never an empty answer, and every call has a time limit. A call that fails for want
//! of an answer may have taken effect; each can be repeated without harm. Connections that break are made again by the
//! client; until then calls fail.
//!
//! Who may do what with them at a server that asks for it: `access`, with the keys of `keys`.
//!
//! Needs nats-server 2.12 or later. The reasons for leases and deduplication: `docs/adr/0005`; for accounts and permissions:
//! `docs/adr/0012`.

mod access;
mod accounts;
mod asking;
mod authorities;
mod broker;
mod depth;
mod events;
mod failure;
mod jwt;
mod keys;
mod leases;
mod look;
mod names;
mod payloads;
mod pool;
mod queue;
mod records;
mod removing;
mod rfc3339;
mod settings;
mod stash;
mod statuses;
mod streams;
mod timers;
mod watch;
mod woken;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use access::Role;
pub use accounts::push;
pub use depth::Sampled;
pub use keys::{Account, Keys, KeysError, User};
pub use settings::{Authorities, Credentials, Settings};
pub use woken::Woken;

use futures::{FutureExt as _, future::BoxFuture};

use self::{
    broker::Broker, events::JetStreamEvents, failure::Failure, payloads::JetStreamPayloads, queue::JetStreamQueue,
    records::JetStreamRecords, statuses::JetStreamStatuses, timers::JetStreamTimers,
};
use crate::{Depth, Payloads, Ports, Records, Result, payloads::GuardedPayloads};

/// Pause between two tries to open.
const AGAIN: Duration = Duration::from_millis(500);

/// Payloads in the broker itself.
const IN_BROKER: &str = "nats:";

/// A connection to the broker. It is closed when the last of the ports is dropped.
pub struct JetStream {
    /// The ports.
    pub ports: Ports,
    broker: Arc<Broker>,
    records: Arc<JetStreamRecords>,
    queue: Arc<JetStreamQueue>,
}

/// Connects, and makes or checks the streams of records, timers and payloads. Pools' streams are made on first use.
///
/// Fails with [`crate::Error::Store`] where no server answers within [`Settings::patience`], the settings make no sense, or what exists is weaker than
/// they ask.
///
/// Boxed, so that its code is generated here and not again wherever it is awaited.
pub fn open(settings: Settings) -> BoxFuture<'static, Result<JetStream>> {
    async move {
        let payloads = match settings.payloads.as_str() {
            IN_BROKER => None,
            url => Some(crate::payloads::open(url)?),
        };
        let began = Instant::now();
        loop {
            match open_ports(&settings, payloads.clone()).await {
                Err(failure) if failure.is_passing() && began.elapsed() < settings.patience => {
                    failure.tell("the broker cannot be used yet; it is tried again");
                    tokio::time::sleep(AGAIN).await;
                }
                opened => return opened.map_err(|failure| failure.during("open the broker's ports")),
            }
        }
    }
    .boxed()
}

async fn open_ports(
    settings: &Settings,
    payloads: Option<Arc<dyn Payloads>>,
) -> std::result::Result<JetStream, Failure> {
    settings.check()?;
    let broker = Arc::new(Broker::connect(settings).await?);
    let payloads = match payloads {
        Some(payloads) => payloads,
        None => Arc::new(JetStreamPayloads::open(Arc::clone(&broker)).await?),
    };
    let own_records = Arc::new(JetStreamRecords::open(Arc::clone(&broker), settings).await?);
    let records: Arc<dyn Records> = Arc::<JetStreamRecords>::clone(&own_records);
    let (redelivery, status_ttl) = (settings.redelivery, settings.status_ttl);
    let queue = Arc::new(JetStreamQueue::new(Arc::clone(&broker), settings.clone()));
    let ports = Ports {
        timers: Arc::new(JetStreamTimers::open(Arc::clone(&broker), redelivery).await?),
        events: Arc::new(JetStreamEvents::new(Arc::clone(&broker))),
        statuses: Arc::new(JetStreamStatuses::open(Arc::clone(&broker), status_ttl).await?),
        queue: Arc::<JetStreamQueue>::clone(&queue),
        payloads: GuardedPayloads::over(payloads, &records),
        records,
    };
    Ok(JetStream { ports, broker, records: own_records, queue })
}

impl JetStream {
    /// Makes the bucket of a name of [`Settings::scoped`], where it is missing.
    pub async fn make_scope(&self, name: &str) -> Result<()> {
        self.records.make_scope(name).await.map_err(|failure| failure.during("make a bucket of records"))
    }

    /// Makes what a pool needs at the broker, where it is missing.
    pub async fn make_pool(&self, name: &str) -> Result<()> {
        self.queue.make_pool(name).await.map_err(|failure| failure.during("make a pool"))
    }

    /// Removes the bucket of a name of [`Settings::scoped`], with all its records. Removing nothing is no error; who writes
    /// such a record later makes a new bucket, whose revisions begin anew.
    pub async fn remove_scope(&self, name: &str) -> Result<()> {
        self.records.remove_scope(name).await.map_err(|failure| failure.during("remove a bucket of records"))
    }

    /// Removes a pool with all its tasks, those in work too. Removing nothing is no error; who publishes to it or pulls from
    /// it later makes it again.
    pub async fn remove_pool(&self, name: &str) -> Result<()> {
        self.queue.remove_pool(name).await.map_err(|failure| failure.during("remove a pool"))
    }

    /// Removes everything whose names begin with [`Settings::bucket_prefix`]: pools, records, payloads, alarms, statuses. What is
    /// another one's, of a longer prefix, stays. The records of all go last, so whoever is interrupted finds there what he kept.
    ///
    /// No process may work with any of it any more; this connection is of no use afterwards.
    pub async fn remove_all(&self) -> Result<()> {
        removing::all(&self.broker, &self.records).await.map_err(|failure| failure.during("remove all that there is"))
    }

    /// What waits in a pool, with at most about `most` of the messages that nobody has pulled yet, evenly spread over the queue,
    /// each for as many as it stands for. None is taken. `None` where the pool is not there: nothing was ever published to it, or
    /// somebody has removed it.
    pub async fn sample(&self, pool: &str, most: usize) -> Result<Option<(Depth, Vec<Sampled>)>> {
        self.queue.sample(pool, most).await.map_err(|failure| failure.during("look at what waits in a pool"))
    }

    /// A way to wait for the next task of a pool that sleeps, also of one that does not exist yet. It is cheap while nothing
    /// comes; what was published before is not seen, so look at the depth after this has returned, and then wait.
    pub async fn woken(&self, pool: &str) -> Result<Woken> {
        self.queue.woken(pool).await.map_err(|failure| failure.during("wait for the first task of a pool"))
    }
}
