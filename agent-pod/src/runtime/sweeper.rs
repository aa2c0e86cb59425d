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
const QUIET_MILLIS: u64 = 60_000;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use crds::Priority;
    use flow::Submission;

    use super::*;
    use crate::runtime::state::Run;

    /// A run with one document whose record was written and whose writer died.
    async fn abandoned() -> (queue::Ports, Arc<Driver>) {
        let ports = queue::memory::open();
        let run = Run { id: "run".to_owned(), pipeline: "p".to_owned(), started_at: 0 };
        let (driver, _ended) = Driver::new(run, ports.clone());
        let file = "apiVersion: docket.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec: {stages: [{name: a, pool: q, parse: {}}]}\n";
        let resources = crds::file::parse("p.yaml", file).expect("a pipeline");
        let pools = BTreeMap::from([("q".to_owned(), serde_json::from_str("{}").expect("a pool"))]);
        let plan = flow::compile("p", 1, &resources.pipelines[0].resource.spec, &pools).expect("a plan");
        let plan = driver.plans.put(plan).await.expect("stored");
        let submission = Submission {
            document: "d".to_owned(),
            tenant: "t".to_owned(),
            source: "d.txt".to_owned(),
            payload: "00".to_owned(),
            metadata: None,
            priority: Priority::Normal,
            deadline: None,
            bytes: None,
        };
        let record = flow::submit(&plan, submission, 1_000).record;
        ports.records.create("documents/run/d", Bytes::from(record.encode())).await.expect("written");
        (ports, driver)
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_stands_in_nobodys_way() {
        let (ports, driver) = abandoned().await;
        for key in ["documents/run/a", "documents/run/b", "documents/run/z"] {
            ports.records.create(key, Bytes::from_static(&[0x08, 99])).await.expect("written");
        }
        assert_eq!(sweep(&driver, 1_000 + QUIET_MILLIS, |_| {}).await.expect("swept"), 1);
        // A page of nothing but such records is not the end.
        assert_eq!(driver.scan(None, 1).await.expect("read")[0].submission.document, "d");
        assert!(driver.scan(Some("d"), 1).await.expect("read").is_empty());
    }

    #[tokio::test]
    async fn a_task_that_was_never_published_is_published_when_its_document_is_quiet() {
        let (ports, driver) = abandoned().await;
        assert_eq!(sweep(&driver, 1_000 + QUIET_MILLIS - 1, |_| {}).await.expect("swept"), 0);
        assert_eq!(ports.queue.depth("run/q").await.expect("depth").total(), 0);
        assert_eq!(sweep(&driver, 1_000 + QUIET_MILLIS, |_| {}).await.expect("swept"), 1);
        assert_eq!(sweep(&driver, 1_000 + QUIET_MILLIS, |_| {}).await.expect("swept"), 1);
        assert_eq!(ports.queue.depth("run/q").await.expect("depth").total(), 1, "twice is once");
    }
}
