//! Delivers timers whose time has come to their records.

use std::{sync::Arc, time::Duration};

use flow::{Event, Timer};
use queue::Timers;
use tokio_util::sync::CancellationToken;

use super::{
    driver::{Driver, Error},
    now,
};

/// How many alarms are taken at once.
const BATCH: usize = 64;
/// Longest sleep; a new alarm wakes the store's own wait sooner.
const WAIT: Duration = Duration::from_secs(5);

/// Delivers alarms until `shutdown`.
pub async fn run(driver: Arc<Driver>, timers: Arc<dyn Timers>, shutdown: CancellationToken) -> Result<(), Error> {
    let prefix = format!("{}/", driver.run.id);
    loop {
        let due = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            due = timers.due(now(), BATCH, WAIT) => due.map_err(|source| Error::Store { action: "read the timers", source })?,
        };
        for alarm in due {
            // Alarms of an earlier run concern nobody any more; one that cannot be read never will be.
            if alarm.id.starts_with(&prefix) {
                match Timer::decode(&alarm.body) {
                    Ok(timer) => match driver.apply(&timer.document, Event::Alarm(timer.alarm)).await {
                        Ok(_) | Err(Error::Unknown(_)) => {}
                        Err(error) => return Err(error),
                    },
                    Err(error) => tracing::error!(id = %alarm.id, %error, "a timer cannot be read and is dropped"),
                }
            }
            timers.done(&alarm).await.map_err(|source| Error::Store { action: "end a timer", source })?;
        }
    }
}
