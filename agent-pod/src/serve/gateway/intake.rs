//! The bytes of documents on their way in: they go to the store as they come, within bounds of length, time and memory.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use queue::Payloads;
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::refusal::Refusal;
use crate::serve::config::Limits;

/// Unit of the room for documents that are being received.
const UNIT: u64 = 1 << 10;
/// Most that one document takes up in memory at once: a message of gRPC, what is being compressed and a part of an upload.
/// What came before lies in the store or in a temporary file.
const MOST: u64 = 8 << 20;
/// Longest wait for room, and the wait that is asked of clients who found none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes the bytes of documents.
pub struct Intake {
    room: Arc<Semaphore>,
    units: u32,
    time: crds::Span,
}

/// What a document may take up in memory; given back when it is dropped.
#[derive(Default)]
pub struct Room {
    permit: Option<OwnedSemaphorePermit>,
    units: u32,
}

/// A document whose bytes are coming.
struct Coming<'a> {
    intake: &'a Intake,
    largest: u64,
    length: u64,
    room: Room,
    refusal: Option<Refusal>,
}

impl Intake {
    /// With the bounds of these limits.
    pub fn new(limits: &Limits) -> Self {
        let units = u32::try_from((limits.buffered_bytes / UNIT).max(1)).unwrap_or(u32::MAX);
        Self { room: Arc::new(Semaphore::new(units as usize)), units, time: limits.request_time }
    }

    /// Longest time that a document may take to come.
    pub(super) fn time(&self) -> Duration {
        self.time.0
    }

    /// Room for so many bytes, before they come.
    pub(super) async fn room(&self, bytes: u64) -> Result<Room, Refusal> {
        let mut room = Room::default();
        self.extend(&mut room, bytes).await?;
        Ok(room)
    }

    /// Stores the bytes, names them and says how many they were; never more than `largest`, never longer than is allowed.
    pub(super) async fn take(
        &self,
        payloads: &dyn Payloads,
        largest: u64,
        (announced, room): (Option<u64>, Room),
        body: impl Stream<Item = Result<Bytes, Refusal>> + Send,
    ) -> Result<(String, u64), Refusal> {
        if announced.is_some_and(|length| length > largest) {
            return Err(too_large(largest));
        }
        let deadline = Instant::now() + self.time.0;
        let coming = Mutex::new(Coming { intake: self, largest, length: 0, room, refusal: None });
        let chunks = stream::unfold((Box::pin(body), &coming), move |(mut body, coming)| async move {
            let mut state = coming.lock().await;
            let next = timeout_at(deadline, body.next()).await.unwrap_or_else(|_| Some(Err(self.too_slow())));
            let chunk = match next? {
                Ok(chunk) => state.admit(&chunk).await.map(|()| chunk),
                Err(refusal) => Err(refusal),
            };
            let chunk = chunk.map_err(|refusal| {
                let why = Box::<dyn std::error::Error + Send + Sync>::from(refusal.reason());
                state.refusal = Some(refusal);
                why
            });
            drop(state);
            Some((chunk, (body, coming)))
        });
        let stored = payloads.put_stream(chunks.boxed()).await;
        match (stored, coming.into_inner().refusal) {
            (_, Some(refusal)) => Err(refusal),
            (Ok(stored), None) => Ok(stored),
            (Err(error), None) => Err(error.into()),
        }
    }

    /// Makes the room as large as a document of so many bytes needs.
    async fn extend(&self, room: &mut Room, bytes: u64) -> Result<(), Refusal> {
        let needed = u32::try_from(bytes.min(MOST).div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        let missing = needed.saturating_sub(room.units);
        if missing == 0 {
            return Ok(());
        }
        match timeout(PATIENCE, Arc::clone(&self.room).acquire_many_owned(missing)).await {
            Ok(Ok(permit)) => {
                match &mut room.permit {
                    Some(held) => held.merge(permit),
                    none => *none = Some(permit),
                }
                room.units = needed;
                Ok(())
            }
            _ => Err(Refusal::Busy {
                message: "the gateway receives as many bytes at once as it may".to_owned(),
                retry_after: PATIENCE,
            }),
        }
    }

    pub(super) fn too_slow(&self) -> Refusal {
        Refusal::TooSlow(format!("the document did not come within {}", self.time))
    }
}

impl Coming<'_> {
    async fn admit(&mut self, chunk: &Bytes) -> Result<(), Refusal> {
        self.length = self.length.saturating_add(chunk.len() as u64);
        if self.length > self.largest {
            return Err(too_large(self.largest));
        }
        self.intake.extend(&mut self.room, self.length).await
    }
}

fn too_large(largest: u64) -> Refusal {
    Refusal::TooLarge(format!("the document has more than {largest} bytes, which is the limit"))
}
