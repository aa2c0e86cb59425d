//! Publishes again what documents owe that have not moved for a while.
//!
//! A writer that dies between its write and its publish leaves a record with something outstanding and nobody who knows.
//! Usually the redelivery of the task it was working repairs that; the sweeper does where there is none.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flow::{DocumentRecord, Event};

use super::{
    driver::{Driver, Error, Unreached},
    faults, now,
    stop::Stop,
};
use crate::error::chain;

/// How often all records are looked at.
const EVERY: Duration = Duration::from_secs(30);
/// A sweep of many records takes at most this part of the time: one in so many.
const SHARE: u32 = 20;
/// Longer than a lease: a redelivery comes first.
pub const QUIET_MILLIS: u64 = 60_000;
/// Large, because a broker lists all names for each page.
const PAGE: usize = 2_000;

/// What a sweep met.
#[derive(Debug, Default)]
pub struct Swept {
    /// Unfinished documents that had not moved for a while.
    pub quiet: usize,
    /// How many of these still owe something, for it could not be published.
    pub failed: usize,
    /// The first failure.
    pub failure: Option<Error>,
}

/// Sweeps the record of a run until it is asked to stop. A document that cannot go on ends it, after the others: a
/// person waits for the run and must know.
pub async fn run(driver: Arc<Driver>, stop: Stop) -> Result<(), Error> {
    let mut pause = EVERY;
    while rest(pause, &stop).await {
        let begun = Instant::now();
        let swept = sweep(&driver, now(), &mut Unreached::default(), |_| {}).await?;
        if let Some(failure) = swept.failure {
            return Err(failure);
        }
        pause = pause_after(begun.elapsed());
    }
    Ok(())
}

/// Waits; whether there is to be another sweep.
pub async fn rest(pause: Duration, stop: &Stop) -> bool {
    tokio::select! {
        () = stop.cordoned() => false,
        () = tokio::time::sleep(pause) => true,
    }
}

/// How long to rest after a sweep that took so long.
pub fn pause_after(took: Duration) -> Duration {
    EVERY.max(took.saturating_mul(SHARE))
}

/// One sweep, which shows every document to `each`. Publishing twice is harmless: ids tell. A document that cannot be
/// published stands in nobody's way: it fails alone, and is told and counted. What is `unreached` is told once, with
/// the first document that needs it.
pub async fn sweep(
    driver: &Driver,
    now: u64,
    unreached: &mut Unreached,
    mut each: impl FnMut(&DocumentRecord),
) -> Result<Swept, Error> {
    let mut after: Option<String> = None;
    let mut swept = Swept::default();
    loop {
        let page = driver.scan(after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.submission.document.clone());
        for record in &page {
            each(record);
            if record.end.is_some() || record.changed_at + QUIET_MILLIS > now || faults::acknowledges_first() {
                continue;
            }
            swept.quiet += 1;
            match driver.publish_outstanding_past(record, unreached).await {
                Ok(true) => {}
                Ok(false) => swept.failed += 1,
                Err(error) => {
                    let (pipeline, document) = (&record.pipeline, &record.submission.document);
                    tracing::error!(pipeline, document, error = %chain(&error), "a document cannot go on now");
                    swept.failed += 1;
                    swept.failure.get_or_insert(error);
                }
            }
        }
    }
    if swept.failed > 0 {
        tracing::warn!(scope = driver.scope.name(), documents = swept.failed, "documents wait for the next sweep");
    }
    Ok(swept)
}

/// Documents that began while their pipeline was suspended go on when it is not any more, and the other way round. They
/// keep their plan; whether it may be worked is not part of what it is. One that cannot be told so is told by the next
/// sweep; how many those are.
pub async fn hold_or_go_on(driver: &Driver, suspend: bool, documents: &[String], unreached: &mut Unreached) -> usize {
    let event = if suspend { Event::Suspend } else { Event::Resume };
    let (mut failed, mut first) = (0, None);
    for document in documents {
        match driver.apply_past(document, &event, unreached).await {
            // It was erased since.
            Ok(_) | Err(Error::Unknown { .. }) => {}
            Err(error) => {
                failed += 1;
                first.get_or_insert((document, error));
            }
        }
    }
    // Once a sweep, however many they are: what fails for one often fails for all.
    if let Some((document, error)) = first {
        let error = chain(&error);
        tracing::error!(document, documents = failed, error, suspend, "documents are not held or let go on");
    }
    failed
}
