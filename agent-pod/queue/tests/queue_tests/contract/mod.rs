//! One module a subject. Every test takes a [`Fixture`] and knows nothing of the implementation behind it.
//!
//! Time is moved by hand where the implementation lets us, and passes by itself where a broker keeps it: then leases and
//! windows are short, and what a test wants to see is waited for.

pub mod condemned;
pub mod deduplication;
pub mod delivery;
pub mod events;
pub mod leases;
pub mod payloads;
pub mod priorities;
pub mod records;
pub mod statuses;
pub mod timers;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use queue::{
    DEDUPLICATION_WINDOW, Delivery, Depth, Faults, LEASE, Message, Millis, Ports, Priority, STATUS_TTL,
    clock::{Clock, ManualClock},
    embedded, jetstream, memory, payloads as object_payloads,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::nats;

/// Where the tests' clock starts.
pub const START: Millis = 1_700_000_000_000;
/// Ten minutes of the tests' clock, which stands still unless moved: whoever waits that long waits for a signal.
pub const LONG: Duration = Duration::from_secs(600);
const MOMENT: Duration = Duration::from_millis(1);
/// What a broker may be late, on a busy machine.
const LATE: Duration = Duration::from_secs(30);
/// How long an outcome is waited for that must come.
const SOON: Duration = Duration::from_secs(120);
/// How long a broker may stall before its silence is taken for an answer.
const STALL: Duration = Duration::from_secs(5);

/// Fresh ports, and their time.
pub struct Fixture {
    pub ports: Ports,
    pub lease: Duration,
    pub window: Duration,
    pub redelivery: Duration,
    pub status_ttl: Duration,
    time: Time,
    _folder: Option<TempDir>,
}

enum Time {
    /// Stands still unless moved.
    Manual(Arc<ManualClock>),
    /// Passes; the broker says who waits.
    Real { client: async_nats::Client, prefix: String },
}

impl Fixture {
    pub fn memory() -> Self {
        Self::manual(|clock| memory::open_at(clock, LEASE, Faults::default()), None)
    }

    pub fn embedded() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().to_owned();
        let open = |clock| embedded::open_at(&path, clock, LEASE, Faults::default()).expect("open a new folder").ports;
        Self::manual(open, Some(folder))
    }

    fn manual(open: impl FnOnce(Arc<dyn Clock>) -> Ports, folder: Option<TempDir>) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        Self {
            ports: open(Arc::<ManualClock>::clone(&clock)),
            lease: LEASE,
            window: DEDUPLICATION_WINDOW,
            redelivery: Duration::from_secs(30),
            status_ttl: STATUS_TTL,
            time: Time::Manual(clock),
            _folder: folder,
        }
    }

    /// Payloads in a folder that processes share; the other ports in memory.
    pub fn payloads_in_a_folder() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("file://{}", folder.path().join("payloads").display());
        Self::with_payloads(&url, Some(folder))
    }

    /// Payloads in an object store in memory; the other ports in memory, too.
    pub fn payloads_in_memory() -> Self {
        Self::with_payloads("memory:", None)
    }

    fn with_payloads(url: &str, folder: Option<TempDir>) -> Self {
        let mut fixture = Self::memory();
        fixture.ports.payloads = object_payloads::open(url).expect("open the payloads");
        fixture._folder = folder;
        fixture
    }

    /// Streams of their own at the broker; `None`, and said so, where there is no server. Times are short only where
    /// `subject` is about them: elsewhere a busy machine must not see leases end.
    pub async fn jetstream(version: nats::Version, subject: &str) -> Option<Self> {
        static FIXTURES: AtomicUsize = AtomicUsize::new(0);
        let server = nats::shared(version)?;
        let prefix = format!("t{}", FIXTURES.fetch_add(1, Ordering::Relaxed));
        let mut settings = jetstream::Settings::new(&server.url);
        settings.bucket_prefix = prefix.clone();
        settings.timeout = Duration::from_secs(20);
        settings.silence = STALL;
        settings.scoped = vec!["documents/"];
        match subject {
            "leases" => settings.lease = Duration::from_secs(8),
            "deduplication" => settings.deduplication_window = Duration::from_secs(12),
            "timers" => settings.redelivery = Duration::from_secs(8),
            "statuses" => settings.status_ttl = Duration::from_secs(10),
            _ => {}
        }
        let (lease, window, redelivery) = (settings.lease, settings.deduplication_window, settings.redelivery);
        let status_ttl = settings.status_ttl;
        let ports = jetstream::open(settings).await.expect("open the broker's ports").ports;
        let client = async_nats::connect(&server.url).await.expect("connect");
        let time = Time::Real { client, prefix };
        Some(Self { ports, lease, window, redelivery, status_ttl, time, _folder: None })
    }

    pub fn now(&self) -> Millis {
        match &self.time {
            Time::Manual(clock) => clock.now(),
            Time::Real { .. } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time of our age");
                Millis::try_from(now.as_millis()).expect("a time of our age")
            }
        }
    }

    /// How much two clocks may differ.
    pub fn tolerance(&self) -> Millis {
        match &self.time {
            Time::Manual(_) => 0,
            Time::Real { .. } => 5_000,
        }
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        match &self.time {
            Time::Manual(clock) => clock.advance(time),
            Time::Real { .. } => tokio::time::sleep(time).await,
        }
    }

    /// Lets so much of the time pass that all of it has not passed, by as little as can be told apart: where it passes by
    /// itself, a busy machine has most of it for what the test does next.
    pub async fn almost_pass(&self, time: Duration) {
        match &self.time {
            Time::Manual(clock) => clock.advance(time - MOMENT),
            Time::Real { .. } => tokio::time::sleep(time / 4).await,
        }
    }

    /// Lets the rest of that time pass.
    pub async fn pass_the_rest(&self, time: Duration) {
        match &self.time {
            Time::Manual(clock) => clock.advance(MOMENT),
            Time::Real { .. } => tokio::time::sleep(time * 3 / 4).await,
        }
    }

    /// Lets time pass until then.
    pub async fn reach(&self, time: Millis) {
        self.pass(Duration::from_millis(time.saturating_sub(self.now()))).await;
    }

    /// Lets much time pass, where that costs nothing.
    pub fn skip(&self, time: Duration) {
        if let Time::Manual(clock) = &self.time {
            clock.advance(time);
        }
    }

    /// The one that is better told apart: by hand, or by the broker's clock.
    pub fn scaled<T>(&self, manual: T, real: T) -> T {
        match &self.time {
            Time::Manual(_) => manual,
            Time::Real { .. } => real,
        }
    }

    /// How long something that is due by now may take to show.
    pub fn patience(&self) -> Duration {
        self.scaled(Duration::ZERO, LATE)
    }

    pub async fn publish(&self, ids: &[&str]) {
        self.publish_all(ids.iter().map(|id| message(id)).collect()).await;
    }

    pub async fn publish_all(&self, messages: Vec<Message>) {
        self.ports.queue.publish(messages).await.expect("publish");
    }

    /// Publishes what is remembered no longer: a broker may be late to forget it, and swallows it until then.
    pub async fn publish_anew(&self, id: &str) {
        soon(async {
            loop {
                self.publish(&[id]).await;
                if self.ports.queue.depth("readers").await.expect("depth").total() > 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }

    /// The depth of a pool when all that was published to it counts: a broker that has taken a message may be a moment away from
    /// counting it, and from giving it out.
    pub async fn counted(&self, pool: &str) -> Depth {
        soon(async {
            loop {
                let depth = self.ports.queue.depth(pool).await.expect("depth");
                if depth.total() + depth.finished == depth.arrived {
                    return depth;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// What can be pulled from the pool "readers" now.
    pub async fn pull(&self, max: usize) -> Vec<Delivery> {
        self.ports.queue.pull("readers", max, Duration::ZERO).await.expect("pull")
    }

    pub async fn pull_one(&self) -> Delivery {
        let mut deliveries = self.ports.queue.pull("readers", 1, self.patience()).await.expect("pull");
        deliveries.pop().expect("a message")
    }

    /// Ids of what can be pulled now.
    pub async fn pull_ids(&self, max: usize) -> Vec<String> {
        self.pull(max).await.into_iter().map(|delivery| delivery.message.id).collect()
    }

    /// Begins to pull one message, waiting until there is one. Returns when the pull waits.
    pub async fn waiting_pull(&self) -> JoinHandle<Delivery> {
        let already = match &self.time {
            Time::Manual(clock) => clock.sleepers(),
            Time::Real { .. } => 0,
        };
        let pull = self.spawn_pull();
        let served = async {
            while !pull.is_finished() {
                tokio::time::sleep(MOMENT).await;
            }
        };
        // What it waits for may come before it is seen to wait.
        tokio::select! {
            () = self.sleepers(already + 1) => {}
            () = served => {}
        }
        pull
    }

    /// Returns when so many calls wait. A broker is asked by a process for all its callers: there, when any waits.
    pub async fn sleepers(&self, count: usize) {
        match &self.time {
            Time::Manual(clock) => {
                soon(async {
                    while clock.sleepers() < count {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
            }
            Time::Real { client, prefix } => {
                let consumers = [format!("{prefix}-tasks-readers.normal"), format!("{prefix}-timers.due")];
                soon(async {
                    while !waits(client, &consumers).await {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                })
                .await;
            }
        }
    }

    /// Returns when so many alarms can be delivered, where that is not at once.
    pub async fn alarms(&self, count: u64) {
        let Time::Real { client, prefix } = &self.time else { return };
        soon(async {
            while state(client, &format!("{prefix}-timers.due")).await["num_pending"].as_u64() < Some(count) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Pulls one message, waiting until there is one.
    pub fn spawn_pull(&self) -> JoinHandle<Delivery> {
        let queue = Arc::clone(&self.ports.queue);
        tokio::spawn(async move {
            let mut deliveries = queue.pull("readers", 1, LONG).await.expect("pull");
            deliveries.pop().expect("a message before the time is over")
        })
    }
}

async fn state(client: &async_nats::Client, consumer: &str) -> serde_json::Value {
    let answer = client.request(format!("$JS.API.CONSUMER.INFO.{consumer}"), "".into()).await.expect("an answer");
    serde_json::from_slice(&answer.payload).expect("the state of a consumer")
}

async fn waits(client: &async_nats::Client, consumers: &[String]) -> bool {
    for consumer in consumers {
        if state(client, consumer).await["num_waiting"].as_u64() > Some(0) {
            return true;
        }
    }
    false
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
    tokio::time::timeout(SOON, outcome).await.unwrap_or_else(|_| panic!("no outcome within {SOON:?}"))
}
