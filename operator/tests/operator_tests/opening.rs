//! Things that are opened, of which some hang: alone, and the broker's connections.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use operator::{broker::Brokers, config::Config, lease::Leadership, opening::Openings};
use queue::Error;
use tokio::{net::TcpListener, sync::watch, time::Instant};

const SECOND: Duration = Duration::from_secs(1);

/// An opening that takes five seconds and fails.
async fn hang(tries: &AtomicUsize) -> Result<&'static str, Error> {
    tries.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(SECOND * 5).await;
    Err(Error::Store { action: "connect", source: "nobody answers".into() })
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_keeps_no_other_waiting_and_is_not_tried_by_each_in_turn() {
    let (openings, tries, began) = (Openings::default(), AtomicUsize::new(0), Instant::now());
    let slow = async || openings.get_or_open("slow", || hang(&tries)).await.expect_err("nobody answers");
    let quick = async || {
        tokio::time::sleep(SECOND).await;
        let opened = openings.get_or_open("quick", async || Ok("open")).await.expect("it opens");
        (*opened, began.elapsed().as_secs())
    };
    let (first, second, quick) = tokio::join!(slow(), slow(), quick());
    assert_eq!(quick, ("open", 1));
    assert_eq!((began.elapsed().as_secs(), tries.load(Ordering::Relaxed)), (5, 1));
    for error in [&first, &second, &slow().await] {
        assert_eq!(
            operator::chain(error),
            "failed to open a connection to the broker: failed to connect: nobody answers"
        );
    }
    assert_eq!(began.elapsed().as_secs(), 5, "the third one was answered from memory");

    tokio::time::sleep(SECOND * 4).await;
    slow().await;
    assert_eq!(tries.load(Ordering::Relaxed), 2, "it is tried again after a while");
}

#[tokio::test(start_paused = true)]
async fn what_is_open_is_kept_until_it_is_closed() {
    let openings = Openings::default();
    let open = async |number: u32| *openings.get_or_open("one", async || Ok(number)).await.expect("it opens");
    assert_eq!(openings.get("one"), None);
    assert_eq!((open(1).await, open(2).await), (1, 1));
    assert_eq!(openings.get("one").as_deref(), Some(&1));
    openings.close("one");
    assert_eq!((openings.get("one"), open(3).await), (None, 3));

    // What is being opened when all is forgotten is not found later.
    let opening = openings.get_or_open("two", async || {
        tokio::time::sleep(SECOND).await;
        Ok(4)
    });
    let forgetting = async { openings.close_all() };
    let (opened, ()) = tokio::join!(opening, forgetting);
    assert_eq!((*opened.expect("it opens"), openings.get("two"), openings.get("one")), (4, None, None));
}

/// A broker that accepts and says nothing.
async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(accepted) = listener.accept().await {
            held.push(accepted);
        }
    });
    format!("nats://{address}")
}

// In simulated time, in which nothing but waiting takes any: a machine that stands still waits for nobody.
#[tokio::test(start_paused = true)]
async fn namespaces_ask_a_silent_broker_side_by_side_and_only_once() {
    let config = Config { nats_servers: vec![silent().await], nats_replicas: 1, ..crate::support::config() };
    let until = Instant::now() + Duration::from_secs(3_600);
    let (_leads, leadership) = watch::channel(Leadership::Leading { epoch: 1, until });
    let brokers = Brokers::new(config, leadership);
    let began = Instant::now();
    let (one, again, other) =
        tokio::join!(brokers.agents("one"), brokers.depth("one", "readers"), brokers.agents("other"));
    assert!(one.is_err() && again.is_err() && other.is_err());
    let took = began.elapsed();
    assert!(took < SECOND * 9, "they waited for each other: {took:?}");
    assert!(brokers.agents("one").await.is_err());
    assert!(began.elapsed() < took + SECOND, "it is remembered");
}
