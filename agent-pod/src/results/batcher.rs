//! One task in front of a sink: rows that come while a batch is written make the next one.
//!
//! No timer is needed: a lone row is written at once, and the busier the sink the larger its batches.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{Sink, Unavailable, row::Row};
use crate::{runtime::metrics::Metrics, stages::Failure};

/// Most rows of a batch.
const MAX_ROWS: usize = 256;
/// Bytes of rows that wait or are written at once, a sink.
const MAX_BYTES: usize = 64 << 20;
/// Unit of these bytes.
const UNIT: usize = 1 << 10;

/// Where rows are handed in.
#[derive(Clone)]
pub struct Batcher {
    rows: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
}

struct Waiting {
    row: Arc<Row>,
    _room: OwnedSemaphorePermit,
    written: oneshot::Sender<Result<Result<(), String>, Unavailable>>,
}

impl Batcher {
    /// Starts the task; it ends with the last handle.
    pub fn start<S: Sink>(sink: Arc<S>, metrics: Arc<Metrics>) -> Self {
        let (rows, received) = mpsc::channel(MAX_ROWS);
        tokio::spawn(write_all(sink, received, metrics));
        Self { rows, room: Arc::new(Semaphore::new(MAX_BYTES / UNIT)) }
    }

    /// Whether the task is gone, after a panic of its sink: no row is written any more.
    pub fn has_ended(&self) -> bool {
        self.rows.is_closed()
    }

    /// Writes a row with others; it is durable when this returns.
    pub async fn write(&self, row: Arc<Row>) -> Result<(), Failure> {
        let units = row.bytes().div_ceil(UNIT).clamp(1, MAX_BYTES / UNIT);
        let gone = || Failure::System("the writer of results has ended".to_owned());
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| gone())?;
        let (written, answer) = oneshot::channel();
        self.rows.send(Waiting { row, _room: room, written }).await.map_err(|_| gone())?;
        match answer.await.map_err(|_| gone())? {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(Failure::permanent("ResultRefused", refused)),
            Err(Unavailable(why)) => Err(Failure::transient("ResultsUnavailable", why)),
        }
    }
}

async fn write_all<S: Sink>(sink: Arc<S>, mut received: mpsc::Receiver<Waiting>, metrics: Arc<Metrics>) {
    let mut away = false;
    let mut batch = Vec::new();
    while received.recv_many(&mut batch, MAX_ROWS).await > 0 {
        let rows: Vec<Arc<Row>> = batch.iter().map(|waiting| Arc::clone(&waiting.row)).collect();
        let outcome = sink.write(&rows).await;
        match &outcome {
            Ok(each) => {
                let refused = each.iter().filter(|outcome| outcome.is_err()).count();
                metrics.results(S::NAME, each.len() - refused, refused);
                if std::mem::replace(&mut away, false) {
                    tracing::warn!(sink = S::NAME, "results are written again");
                }
            }
            // Once an outage, not once a batch.
            Err(error) if !std::mem::replace(&mut away, true) => {
                tracing::warn!(sink = S::NAME, %error, "results cannot be written; their documents wait");
            }
            Err(_) => {}
        }
        for (place, waiting) in batch.drain(..).enumerate() {
            let answer = match &outcome {
                Ok(each) => {
                    let missing = || Err("the sink did not say what became of the row".to_owned());
                    Ok(each.get(place).cloned().unwrap_or_else(missing))
                }
                Err(error) => Err(error.clone()),
            };
            // Who waited may have given up; the row is written all the same.
            let _ = waiting.written.send(answer);
        }
    }
}
