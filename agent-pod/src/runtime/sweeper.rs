//! Publishes again what documents owe that have not moved for a while.
//!
//! A writer that dies between its write and its publish leaves a record with something outstanding and nobody who knows.
//! Usually the redelivery of the task it was working repairs that; the sweeper does where there is none.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flow::DocumentRecord;

use super::{
    driver::{Driver, Error},
    faults, now,
    stop::Stop,
};

/// How often all records are looked at.
const EVERY: Duration = Duration::from_secs(30);
/// A sweep of many records takes at most this part of the time: one in so many.
const SHARE: u32 = 20;
/// Longer than a lease: a redelivery comes first.
pub const QUIET_MILLIS: u64 = 60_000;
/// Large, because a broker lists all names for each page.
const PAGE: usize = 2_000;

/// Sweeps the record of a run until it is asked to stop.
pub async fn run(driver: Arc<Driver>, stop: Stop) -> Result<(), Error> {
    let mut pause = EVERY;
    while rest(pause, &stop).await {
        let begun = Instant::now();
        sweep(&driver, now(), |_| {}).await?;
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

/// One sweep, which shows every document to `each`; how many unfinished ones were quiet. Publishing twice is harmless:
/// ids tell.
pub async fn sweep(driver: &Driver, now: u64, mut each: impl FnMut(&DocumentRecord)) -> Result<usize, Error> {
    let mut after: Option<String> = None;
    let mut quiet = 0;
    loop {
        let page = driver.scan(after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(quiet) };
        after = Some(last.submission.document.clone());
        for record in &page {
            each(record);
            if record.end.is_none() && record.changed_at + QUIET_MILLIS <= now && !faults::acknowledges_first() {
                driver.publish_outstanding(record).await?;
                quiet += 1;
            }
        }
    }
}
