//! Stops work on documents: what is open is cancelled, and no worker has a task of it any more.

use std::{collections::BTreeSet, sync::Arc};

use flow::Event;
use tokio::time::{Duration, Instant, sleep};

use super::{Eraser, Error, PlaceReport, records::Found};
use crate::{
    error::chain,
    runtime::{
        driver::{Driver, Scope},
        leftovers::Leftovers,
    },
};

/// How often tasks are looked at that a worker has.
const LOOK: Duration = Duration::from_millis(100);

impl Eraser {
    fn driver(&self, scope: &Scope) -> Arc<Driver> {
        match scope {
            Scope::Run(run) => Driver::new(run.clone(), self.ports.clone()).0,
            Scope::Pipeline(name) => {
                let (plans, metrics) = (Arc::clone(&self.plans), Arc::clone(&self.metrics));
                Arc::new(Driver::of_pipeline(name, self.ports.clone(), plans, metrics))
            }
        }
    }

    /// Cancels what is open: from now on every task of it is stale.
    pub(super) async fn cancel(&self, found: &mut [Found]) -> Result<(), Error> {
        for found in found.iter_mut().filter(|found| found.record.end.is_none()) {
            let document = found.record.submission.document.clone();
            let cancelled = self.driver(&found.scope).apply(&document, Event::Cancel).await;
            found.record = cancelled.map_err(|source| Error::Cancel { document, source })?;
        }
        Ok(())
    }

    /// Removes tasks. One that a worker has is waited for: until it is done, the worker may store what it makes. Without its
    /// plan a document has none that anybody could work.
    pub(super) async fn tasks(&self, found: &[Found]) -> PlaceReport {
        let mut report = PlaceReport::of("tasks");
        let until = Instant::now() + self.wait;
        for found in found {
            let left = Leftovers::of(&found.scope, found.plan.as_deref(), &found.record);
            loop {
                let tasks = match left.discard_tasks(&self.ports).await {
                    Ok(tasks) => tasks,
                    Err(error) => {
                        report.left.push(format!("{}: {}", found.name(), chain(&error)));
                        break;
                    }
                };
                report.removed += tasks.removed;
                if tasks.in_work.is_empty() {
                    report.absent += tasks.looked_for;
                    break;
                }
                if Instant::now() >= until {
                    report.left.push(in_work(found, &tasks.in_work));
                    break;
                }
                sleep(LOOK).await;
            }
        }
        report
    }

    /// Cancels timers. The store has no way to be asked for one: an alarm that is cancelled does not ring.
    pub(super) async fn timers(&self, found: &[Found]) -> PlaceReport {
        let mut report = PlaceReport::of("timers");
        for found in found {
            let left = Leftovers::of(&found.scope, found.plan.as_deref(), &found.record);
            match left.cancel_timers(&self.ports).await {
                Ok(cancelled) => report.absent += cancelled,
                Err(error) => report.left.push(format!("{}: {}", found.name(), chain(&error))),
            }
        }
        report
    }
}

fn in_work(found: &Found, stages: &BTreeSet<String>) -> String {
    let stages = stages.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    format!(
        "{}: a worker has, or had when it died, its stage {stages}; erase it again when workers have gone on",
        found.name()
    )
}
