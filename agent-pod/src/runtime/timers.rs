//! Delivers timers whose time has come to their records.

use std::{sync::Arc, time::Duration};

use flow::{Event, Timer};
use queue::{Alarm, Timers};

use super::{driver::Error, drivers::Drivers, now, stop::Stop};

/// How many alarms are taken at once.
const BATCH: usize = 64;
/// Longest sleep; a new alarm wakes the store's own wait sooner.
const WAIT: Duration = Duration::from_secs(5);

/// Delivers alarms until it is asked to stop.
pub async fn run(drivers: &Drivers, timers: &Arc<dyn Timers>, stop: &Stop) -> Result<(), Error> {
    loop {
        let due = tokio::select! {
            () = stop.cordoned() => return Ok(()),
            due = timers.due(now(), BATCH, WAIT) => due.map_err(|source| Error::Store { action: "read the timers", source })?,
        };
        for alarm in due {
            // Alarms of an earlier run concern nobody any more; one that cannot be read never will be.
            if drivers.expects_alarm(&alarm.id) {
                deliver(drivers, &alarm).await?;
            }
            timers.done(&alarm).await.map_err(|source| Error::Store { action: "end a timer", source })?;
        }
    }
}

async fn deliver(drivers: &Drivers, alarm: &Alarm) -> Result<(), Error> {
    let timer = match Timer::decode(&alarm.body) {
        Ok(timer) => timer,
        Err(error) => {
            tracing::error!(id = %alarm.id, %error, "a timer cannot be read and is dropped");
            return Ok(());
        }
    };
    match drivers.of(&timer.pipeline).apply(&timer.document, Event::Alarm(timer.alarm)).await {
        Ok(_) | Err(Error::Unknown { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
