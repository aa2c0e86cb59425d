//! One module a subject. Every test takes a [`Fixture`] and knows nothing of the implementation behind it.

pub mod deduplication;
pub mod delivery;
pub mod events;
pub mod leases;
pub mod payloads;
pub mod priorities;
pub mod records;
pub mod timers;

use std::{future::Future, sync::Arc, time::Duration};

use queue::{
    Delivery, Faults, Message, Millis, Ports, Priority,
    clock::{Clock, ManualClock},
    embedded, memory,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Where the tests' clock starts.
pub const START: Millis = 1_700_000_000_000;
/// A lease that ends only when a test wants it to.
pub const LEASE: Duration = Duration::from_secs(30);
/// Ten minutes of the tests' clock, which stands still unless moved: whoever waits that long waits for a signal.
pub const LONG: Duration = Duration::from_secs(600);

/// Fresh ports with a clock that the test moves.
pub struct Fixture {
    pub ports: Ports,
    pub clock: Arc<ManualClock>,
    _folder: Option<TempDir>,
}

impl Fixture {
    pub fn memory() -> Self {
        let clock = Arc::new(ManualClock::at(START));
        Self { ports: memory::open_at(clock.clone(), Faults::default()), clock, _folder: None }
    }

    pub fn embedded() -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let opened = embedded::open_at(folder.path(), clock.clone(), Faults::default()).expect("open a new folder");
        Self { ports: opened.ports, clock, _folder: Some(folder) }
    }

    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    pub async fn publish(&self, ids: &[&str]) {
        self.publish_all(ids.iter().map(|id| message(id)).collect()).await;
    }

    pub async fn publish_all(&self, messages: Vec<Message>) {
        self.ports.queue.publish(messages).await.expect("publish");
    }

    /// What can be pulled from the pool "readers" now.
    pub async fn pull(&self, max: usize) -> Vec<Delivery> {
        self.ports.queue.pull("readers", max, LEASE, Duration::ZERO).await.expect("pull")
    }

    pub async fn pull_one(&self) -> Delivery {
        let mut deliveries = self.pull(1).await;
        deliveries.pop().expect("a message")
    }

    /// Ids of what can be pulled now.
    pub async fn pull_ids(&self, max: usize) -> Vec<String> {
        self.pull(max).await.into_iter().map(|delivery| delivery.message.id).collect()
    }

    /// Begins to pull one message, waiting until there is one. Returns when the pull waits.
    pub async fn waiting_pull(&self) -> JoinHandle<Delivery> {
        let sleepers = self.clock.sleepers();
        let pull = self.spawn_pull();
        self.sleepers(sleepers + 1).await;
        pull
    }

    /// Returns when so many calls wait.
    pub async fn sleepers(&self, count: usize) {
        soon(async {
            while self.clock.sleepers() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Pulls one message, waiting until there is one.
    pub fn spawn_pull(&self) -> JoinHandle<Delivery> {
        let queue = self.ports.queue.clone();
        tokio::spawn(async move {
            let mut deliveries = queue.pull("readers", 1, LEASE, LONG).await.expect("pull");
            deliveries.pop().expect("a message before the time is over")
        })
    }
}

/// A message of the pool "readers".
pub fn message(id: &str) -> Message {
    with_priority(id, Priority::Normal)
}

pub fn with_priority(id: &str, priority: Priority) -> Message {
    Message { id: id.to_owned(), pool: "readers".to_owned(), priority, body: format!("body of {id}").into() }
}

/// The outcome, or a failed test if it does not come.
pub async fn soon<T>(outcome: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), outcome).await.expect("an outcome within 20 s")
}
