//! What workers say of themselves, and who reads it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use agent_pod::{
    runtime::stop::Stop,
    serve::{
        cpu::CpuMeter,
        status::{Live, Speaker, advertised},
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use flow::PodStatus;
use queue::{STATUS_TTL, Statuses};
use tokio::sync::watch;

#[test]
fn a_listener_is_reached_by_what_was_written_or_by_where_it_listens() {
    let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
    assert_eq!(advertised(None, at("127.0.0.1:8080")), "127.0.0.1:8080");
    assert_eq!(advertised(None, at("[::1]:8080")), "[::1]:8080");
    assert_eq!(advertised(Some("pod-1.pool:80"), at("0.0.0.0:8080")), "pod-1.pool:80");
    for (written, expected) in
        [("fd00::7:8080", "[fd00::7]:8080"), ("[fd00::7]:8080", "[fd00::7]:8080"), ("10.0.0.7:80", "10.0.0.7:80")]
    {
        assert_eq!(advertised(Some(written), at("0.0.0.0:8080")), expected);
    }
    let by_name = advertised(None, at("0.0.0.0:8080"));
    assert!(by_name.ends_with(":8080") && by_name.len() > ":8080".len() && !by_name.starts_with("0."), "{by_name}");
}

#[tokio::test]
async fn the_last_words_of_workers_are_read_and_those_that_make_no_sense_are_left_out() {
    let ports = queue::memory::open();
    let speaker = Speaker {
        name: "w".to_owned(),
        pool: "readers".to_owned(),
        slots: 4,
        standing: Arc::default(),
        stop: Stop::default(),
        cpu: CpuMeter::of_this_process(),
        began: 7,
        address: None,
        loaded: OnceLock::new(),
    };
    speaker.standing.working(3);
    speaker.standing.done("p", "a", (0, 0), Duration::from_millis(20));
    speaker.standing.started(Duration::from_secs(3));
    let spent = flow::Spent { prompt_tokens: 20, completion_tokens: 10, cost: 250_000_000, ..Default::default() };
    speaker.standing.spent(&spent);
    let _first = speaker.standing.works_until("p", "a", 9_000);
    let second = speaker.standing.works_until("p", "a", 9_000);
    drop(speaker.standing.works_until("p", "b", 9_000));
    let orders = flow::PoolOrders::default().encode();
    ports.statuses.publish("_orders/readers", orders.into()).await.expect("published");
    ports.statuses.publish("readers/broken", Bytes::from("nonsense")).await.expect("published");
    let said = tokio::time::timeout(Duration::from_millis(300), speaker.speak(ports.statuses.as_ref())).await;
    assert!(said.is_err(), "it goes on");
    let workers = Live::new(Arc::clone(&ports.statuses)).workers().await.expect("read");
    let [worker] = workers.as_slice() else { panic!("one worker: {workers:?}") };
    assert_eq!((worker.in_work, worker.slots, worker.ready, worker.cordoned), (3, 4, false, false));
    assert_eq!(worker.service_times[0].stage, "a");
    assert_eq!((worker.began, worker.tokens, worker.cost), (7, 30, 0.25));
    let waits = worker.waits.as_ref().expect("it counts them");
    assert_eq!((waits.started, flow::late(waits, 2.0), flow::late(waits, 5.0)), (1, 1, 0));
    let due =
        |worker: &flow::PodStatus| worker.due.iter().map(|due| (due.stage.clone(), due.deadlines.clone())).collect();
    let told: Vec<(String, Vec<u64>)> = due(worker);
    assert_eq!(told, [("a".to_owned(), vec![9_000, 9_000])], "what is done is not told");
    drop(second);
    let told: Vec<(String, Vec<u64>)> = due(&speaker.status());
    assert_eq!(told, [("a".to_owned(), vec![9_000])]);
    speaker.standing.rests(true);
    assert!(speaker.status().cordoned && speaker.status().resting);
    speaker.stop.cordon();
    assert!(speaker.status().cordoned && !speaker.status().resting, "it stops, and does not come back");
    speaker.fall_silent(ports.statuses.as_ref()).await;
    assert!(Live::new(Arc::clone(&ports.statuses)).workers().await.expect("read").is_empty());
}

/// Statuses of a store that goes away, slowly, after so many answers.
struct GoesAway {
    statuses: Arc<dyn Statuses>,
    answers: usize,
    asked: AtomicUsize,
}

#[async_trait]
impl Statuses for GoesAway {
    async fn publish(&self, key: &str, status: Bytes) -> queue::Result<()> {
        self.statuses.publish(key, status).await
    }

    async fn all(&self, prefix: &str) -> queue::Result<Vec<(String, Bytes)>> {
        if self.asked.fetch_add(1, Ordering::Relaxed) < self.answers {
            return self.statuses.all(prefix).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(queue::Error::Store { action: "ask", source: "it is away".into() })
    }

    async fn remove(&self, key: &str) -> queue::Result<()> {
        self.statuses.remove(key).await
    }

    async fn watch(&self, key: &str) -> queue::Result<watch::Receiver<Option<Bytes>>> {
        self.statuses.watch(key).await
    }
}

fn goes_away_after(answers: usize) -> Arc<GoesAway> {
    let statuses = queue::memory::open().statuses;
    Arc::new(GoesAway { statuses, answers, asked: AtomicUsize::new(0) })
}

#[tokio::test]
async fn those_who_ask_while_the_store_is_away_wait_for_one_try_together() {
    let statuses = goes_away_after(0);
    let live = Live::new(Arc::<GoesAway>::clone(&statuses));
    let asking = futures::future::join_all((0..10).map(|_| live.workers())).await;
    for answer in asking {
        let error = answer.expect_err("nobody was ever seen");
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(source.contains("it is away"), "{source}");
    }
    assert_eq!(statuses.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn workers_are_known_for_as_long_as_their_words_count_although_the_store_is_away() {
    for _ in 0..4 {
        if is_known_while_the_store_is_away().await {
            return;
        }
    }
    panic!("each time the test was held up until no word counted any more");
}

/// Fails where a worker is not known whose word counts; `false` where none counts any more before the store was missed.
async fn is_known_while_the_store_is_away() -> bool {
    let statuses = goes_away_after(1);
    let status = PodStatus { name: "w".to_owned(), pool: "readers".to_owned(), ..PodStatus::default() };
    let spoke = Instant::now();
    statuses.publish("readers/w", Bytes::from(status.encode())).await.expect("published");
    let live = Live::new(Arc::<GoesAway>::clone(&statuses));
    loop {
        let workers = live.workers().await;
        if spoke.elapsed() >= STATUS_TTL {
            return false;
        }
        assert_eq!(workers.expect("read, or what was read before").len(), 1);
        if statuses.asked.load(Ordering::Relaxed) >= 2 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
