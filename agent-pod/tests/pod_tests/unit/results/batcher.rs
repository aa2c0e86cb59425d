//! Which rows are written together, and what becomes of them when some cannot be written.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_pod::{
    results::{Sink, Unavailable, batcher::Batcher, row::Row},
    stages::Failure,
};
use async_trait::async_trait;

/// Remembers batches; refuses some rows, or is away.
#[derive(Default)]
struct Fake {
    batches: Mutex<Vec<usize>>,
    away: Mutex<bool>,
}

#[async_trait]
impl Sink for Fake {
    const NAME: &'static str = "fake";

    async fn write(&self, rows: &[Arc<Row>]) -> Result<Vec<Result<(), String>>, Unavailable> {
        if *self.away.lock().expect("no panic") {
            return Err(Unavailable("it is away".to_owned()));
        }
        self.batches.lock().expect("no panic").push(rows.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(rows.iter().map(|row| if row.document == "bad" { Err("refused".to_owned()) } else { Ok(()) }).collect())
    }
}

fn row(document: &str) -> Arc<Row> {
    Arc::new(Row { document: document.to_owned(), ..Row::default() })
}

#[tokio::test]
async fn rows_that_come_while_others_are_written_are_written_together() {
    let sink = Arc::new(Fake::default());
    let batcher = Batcher::start(Arc::clone(&sink), Arc::default());
    let rows = (0..50).map(|n| {
        let batcher = batcher.clone();
        async move { batcher.write(row(&n.to_string())).await }
    });
    assert!(futures::future::join_all(rows).await.iter().all(Result::is_ok));
    let batches = sink.batches.lock().expect("no panic").clone();
    assert_eq!(batches.iter().sum::<usize>(), 50);
    assert!(batches.len() <= 3, "{batches:?}");
}

#[tokio::test]
async fn a_refused_row_fails_alone_and_a_sink_that_is_away_fails_nobody_for_good() {
    let sink = Arc::new(Fake::default());
    let batcher = Batcher::start(Arc::clone(&sink), Arc::default());
    let (good, bad) = tokio::join!(batcher.write(row("good")), batcher.write(row("bad")));
    assert!(good.is_ok());
    assert!(matches!(bad, Err(Failure::Document { reason: "ResultRefused", transient: false, .. })), "{bad:?}");
    *sink.away.lock().expect("no panic") = true;
    let waits = batcher.write(row("good")).await;
    assert!(matches!(waits, Err(Failure::Document { reason: "ResultsUnavailable", transient: true, .. })));
}

/// Panics at its first row.
struct Broken;

#[async_trait]
impl Sink for Broken {
    const NAME: &'static str = "broken";

    async fn write(&self, _rows: &[Arc<Row>]) -> Result<Vec<Result<(), String>>, Unavailable> {
        panic!("as a fault in the sink would have it");
    }
}

#[tokio::test]
async fn a_writer_that_a_panic_has_ended_says_so_and_is_not_used_again() {
    let batcher = Batcher::start(Arc::new(Broken), Arc::default());
    assert!(!batcher.has_ended());
    let failed = batcher.write(row("a")).await;
    assert!(matches!(failed, Err(Failure::System(_))), "{failed:?}");
    let ended = async {
        while !batcher.has_ended() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it is known to have ended");
}
