//! What every implementation promises.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// The six ports of one store.
#[derive(Clone)]
pub struct Ports {
    /// Tasks.
    pub queue: Arc<dyn Queue>,
    /// Small state, compare-and-set.
    pub records: Arc<dyn Records>,
    /// Bytes by digest.
    pub payloads: Arc<dyn Payloads>,
    /// Deliver this at that time.
    pub timers: Arc<dyn Timers>,
    /// Progress and tokens; may be lost.
    pub events: Arc<dyn Events>,
    /// What processes say of themselves; may be lost.
    pub statuses: Arc<dyn Statuses>,
}

/// What a port could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The record exists already or was changed by another writer: read it again.
    #[error("\"{key}\" was changed by another writer")]
    Conflict {
        /// Which record.
        key: String,
    },
    /// There is nothing under this name.
    #[error("\"{name}\" does not exist")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The lease has ended and the task belongs to another worker, or was acknowledged already.
    #[error("the lease of task \"{id}\" is over")]
    LeaseOver {
        /// The task.
        id: String,
    },
    /// The store holds bytes that do not match their digest.
    #[error("payload {digest} is damaged")]
    Damaged {
        /// The digest.
        digest: String,
    },
    /// The bytes of a payload broke off before their end; nothing of it is stored. Whoever sends them can fix it.
    #[error("the bytes broke off")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store failed: disk full, broken file, no answer. Nothing of the operation took effect, except where a broker's
    /// answer was lost: then it may have, and can be repeated without harm. Its operator can fix it.
    #[error("failed to {action}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Result of a port.
pub type Result<T> = std::result::Result<T, Error>;

/// Urgency of a message. Pulls serve the four classes by weight (8, 4, 2, 1), so that none starves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Priority {
    /// Weight 8.
    Critical,
    /// Weight 4.
    High,
    /// Weight 2.
    #[default]
    Normal,
    /// Weight 1.
    Low,
}

impl Priority {
    /// All classes, most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// Share of this class in pulls while all classes wait.
    pub fn weight(self) -> u32 {
        match self {
            Self::Critical => 8,
            Self::High => 4,
            Self::Normal => 2,
            Self::Low => 1,
        }
    }
}

/// Something to be worked once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unique in its pool: a second publish of the same id is swallowed while the first is queued or in work, however long
    /// that is, and within [`DEDUPLICATION_WINDOW`] of its publish. Stores of one process count the window from the
    /// acknowledgement, and see ids in all pools. An id always has the same priority.
    pub id: String,
    /// Queue that it lies in.
    pub pool: String,
    /// Its class.
    pub priority: Priority,
    /// What it says.
    pub body: Bytes,
}

/// How long the id of a message that is gone is remembered, unless the store is opened with another window.
pub const DEDUPLICATION_WINDOW: Duration = Duration::from_secs(120);

/// How long a status counts that is not said again: a few times the second after which it should be.
pub const STATUS_TTL: Duration = Duration::from_secs(5);

/// How long a lease lasts, unless the store is opened with another: a worker extends it several times in that time, and
/// a document waits no longer than that for the successor of a worker that died.
pub const LEASE: Duration = Duration::from_secs(30);

/// A message in the hands of a worker, under a lease.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Names this delivery, not the message: after the lease has ended it is worth nothing.
    pub receipt: Receipt,
    /// 1 for the first delivery. A broker also counts one that found nobody there any more.
    pub deliveries: u32,
    /// When the message was published.
    pub published_at: Millis,
}

/// Names one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The message's id.
    pub id: String,
    /// The pool.
    pub pool: String,
    /// Which delivery of it.
    pub lease: u64,
}

/// What waits in a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages not delivered, by class in the order of [`Priority::ALL`].
    pub pending: [u64; 4],
    /// Messages under a lease. A broker counts here, until they are pulled again, what was in work when its lease ended and
    /// what waits out a delay.
    pub in_work: u64,
    /// Age of the oldest message that is not acknowledged.
    pub oldest: Option<Duration>,
    /// Age of the oldest message that `pending` counts: nobody holds it.
    pub oldest_wait: Option<Duration>,
    /// Messages that were ever published to the pool and not swallowed. Starts anew with a pool that is removed and made again.
    pub arrived: u64,
    /// Messages of these that were ever done with: acknowledged or discarded.
    pub finished: u64,
}

impl Depth {
    /// Everything that is not acknowledged.
    pub fn total(&self) -> u64 {
        self.pending.iter().sum::<u64>() + self.in_work
    }
}

/// Tasks. Delivered at least once; a message leaves only by `ack`.
///
/// How long a lease lasts is a property of the open store, because a broker keeps one time for all who pull. It runs from
/// the pull or the last `extend`; when it ends, the message is delivered again. Redelivery is without limit: limits live in
/// the record.
///
/// A broker judges by what the process knows that pulled: a receipt that was settled, that it never saw or whose time is
/// over is refused, even where the server would still have taken it.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Stores messages; they are durable when this returns. Never refuses for lack of room.
    async fn publish(&self, messages: Vec<Message>) -> Result<()>;
    /// Takes up to `max` messages of a pool, the most urgent by weight; waits up to `wait` for the first. A call that is given
    /// up takes none along; what a broker has sent meanwhile comes to others within a second, unless it dies on the way.
    async fn pull(&self, pool: &str, max: usize, wait: Duration) -> Result<Vec<Delivery>>;
    /// This process pulls no more from the pool for now. Pulls that wait end, with what has come for them; a broker sends
    /// nothing more here that they or those before them have asked for. A later pull asks again.
    fn leave(&self, pool: &str);
    /// Starts the lease again.
    async fn extend(&self, receipt: &Receipt) -> Result<()>;
    /// Removes the message for good.
    async fn ack(&self, receipt: &Receipt) -> Result<()>;
    /// Hands the message back; it can be pulled again after `delay`.
    async fn release(&self, receipt: &Receipt, delay: Duration) -> Result<()>;
    /// What waits.
    async fn depth(&self, pool: &str) -> Result<Depth>;
    /// Removes a message that no worker has. A broker says that one is in work for as long as it may be: also when its lease
    /// has ended and nobody has pulled it again.
    async fn discard(&self, pool: &str, priority: Priority, id: &str) -> Result<Discarded>;
    /// How long a message stays with who pulled it, unless it is extended.
    fn lease(&self) -> Duration;
}

/// What became of a message that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// There is none of this id.
    Absent,
    /// It is removed.
    Removed,
    /// A worker has it; it stays.
    InWork,
}

/// A record's bytes and the revision to name when changing them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Grows with each change of this key.
    pub revision: u64,
    /// The bytes.
    pub bytes: Bytes,
}

/// Small state under keys, changed by compare-and-set; a read sees every write that returned before it began.
#[async_trait]
pub trait Records: Send + Sync {
    /// The newest bytes.
    async fn get(&self, key: &str) -> Result<Option<Versioned>>;
    /// Writes a key that does not exist; [`Error::Conflict`] where it does.
    async fn create(&self, key: &str, bytes: Bytes) -> Result<u64>;
    /// Writes a key whose revision is `revision`; [`Error::Conflict`] where it is not.
    async fn update(&self, key: &str, revision: u64, bytes: Bytes) -> Result<u64>;
    /// Removes a key; removing nothing is no error.
    async fn delete(&self, key: &str) -> Result<()>;
    /// Removes a key whose revision is `revision`; [`Error::Conflict`] where another was written since. Removing nothing is no
    /// error.
    async fn remove(&self, key: &str, revision: u64) -> Result<()>;
    /// Keys that begin with `prefix`, in order, after `after`, at most `limit`. A broker looks at all keys of the prefix for
    /// each page (and at no value that is not on it): read large pages.
    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Versioned)>>;
}

/// The bytes of a payload as they come; an error among them ends them.
pub type ByteStream<'a> = BoxStream<'a, std::result::Result<Bytes, Box<dyn std::error::Error + Send + Sync>>>;

/// Bytes named by their BLAKE3 digest (64 hexadecimal digits). Putting the same bytes twice stores them once.
///
/// Who has put a payload, or was told that it is there, may refer to it from a record: it is not swept before that record can
/// be seen (see [`crate::Condemned`]).
#[async_trait]
pub trait Payloads: Send + Sync {
    /// Stores bytes durably and names them.
    async fn put(&self, bytes: Bytes) -> Result<String>;
    /// Stores bytes as they come, and gives their name and how many they were. They appear under their name when all have
    /// come, or not at all. [`Error::Source`], and a call that is given up before all have come, leave nothing; one that is
    /// given up later leaves what a process that died leaves. Holds a few MiB of them in memory, however many they are; the
    /// store of tests holds all.
    async fn put_stream(&self, bytes: ByteStream<'_>) -> Result<(String, u64)>;
    /// The bytes; checked against the digest: [`Error::Damaged`], [`Error::NotFound`].
    async fn get(&self, digest: &str) -> Result<Bytes>;
    /// Whether they are there.
    async fn contains(&self, digest: &str) -> Result<bool>;
    /// Removes them; removing nothing is no error.
    async fn delete(&self, digest: &str) -> Result<()>;
    /// Digests in order, after `after`, at most `limit`, also those of which a process that died while it stored them has left
    /// something. A broker looks at all names for each page: read large ones.
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>>;
    /// Sees to it that what was deleted (records too, where they lie in the same files) cannot be found in the store's files any
    /// more. Costs as much as copying what is there; a store that overwrites as it deletes does nothing.
    async fn scrub(&self) -> Result<()>;
}

/// A body to be delivered at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Unique: setting the same id again replaces time and body.
    pub id: String,
    /// When.
    pub at: Millis,
    /// What is delivered.
    pub body: Bytes,
}

/// Deliver this at that time. Delivered at least once; an alarm leaves only by `done` or `cancel`.
#[async_trait]
pub trait Timers: Send + Sync {
    /// Sets alarms; they are durable when this returns.
    async fn set(&self, alarms: Vec<Alarm>) -> Result<()>;
    /// Alarms whose time has come, oldest first, at most `max`; waits up to `wait` for the first. An alarm that is not
    /// `done` within 30 s is delivered again. A broker goes by its own clock, not by `now`, and may be a quarter of a second
    /// late.
    async fn due(&self, now: Millis, max: usize, wait: Duration) -> Result<Vec<Alarm>>;
    /// Removes a delivered alarm, unless it was set again meanwhile with another time.
    async fn done(&self, alarm: &Alarm) -> Result<()>;
    /// Removes an alarm; removing nothing is no error.
    async fn cancel(&self, id: &str) -> Result<()>;
}

/// Progress and tokens: lossy, for those who watch now. A slow watcher loses the oldest; nobody waits for it.
#[async_trait]
pub trait Events: Send + Sync {
    /// Tells all watchers of `subject`.
    async fn publish(&self, subject: &str, body: Bytes) -> Result<()>;
    /// Watches all subjects that begin with `prefix`, from now on.
    async fn watch(&self, prefix: &str) -> Result<tokio::sync::mpsc::Receiver<(String, Bytes)>>;
}

/// What processes say of themselves, again and again: the last word of each that still speaks. A status that is not said
/// again within [`STATUS_TTL`] (unless the store is opened with another time) is gone, so a reader sees the living alone.
///
/// A port of its own, because [`Records`] promises what nobody needs here: a status is not durable, has one writer and no
/// condition, costs no sync of a disk, and must vanish by itself. Losing one is mended by the next, a second later.
#[async_trait]
pub trait Statuses: Send + Sync {
    /// Says it, in place of what was said under this key before.
    async fn publish(&self, key: &str, status: Bytes) -> Result<()>;
    /// What is said under keys that begin with `prefix`, in their order.
    async fn all(&self, prefix: &str) -> Result<Vec<(String, Bytes)>>;
    /// Takes it back; taking back nothing is no error.
    async fn remove(&self, key: &str) -> Result<()>;
    /// What is said under a key from now on: the newest word alone, `None` when it is taken back. One that is only not said
    /// again is not told: who listens counts the time. Costs nothing while nothing is said. Ends with the store; words may be
    /// lost while a connection is away.
    async fn watch(&self, key: &str) -> Result<watch::Receiver<Option<Bytes>>>;
}
