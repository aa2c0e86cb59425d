//! Delivers timers whose time has come to their records.

use std::{sync::Arc, time::Duration};

use flow::{Event, Timer};
use futures::future::join_all;
use queue::{Alarm, Timers};

use super::{driver::Error, drivers::Drivers, now, stop::Stop};
use crate::error::chain;

/// How many alarms are taken at once.
const BATCH: usize = 64;
/// Longest sleep; a new alarm wakes the store's own wait sooner.
const WAIT: Duration = Duration::from_secs(5);

/// Delivers alarms until it is asked to stop. One that cannot be delivered ends it, after all that are due with it.
pub async fn run(drivers: &Drivers, timers: &Arc<dyn Timers>, stop: &Stop) -> Result<(), Error> {
    loop {
        let due = tokio::select! {
            () = stop.cordoned() => return Ok(()),
            due = timers.due(now(), BATCH, WAIT) => due.map_err(|source| Error::Store { action: "read the timers", source })?,
        };
        // All of them, whatever becomes of each: what is not done comes again together with those behind it. And at
        // once, for a broker's patience with one must not use up the time that the others have.
        let rung = join_all(due.iter().map(|alarm| ring(drivers, timers, alarm))).await;
        rung.into_iter().collect::<Result<(), Error>>()?;
    }
}

async fn ring(drivers: &Drivers, timers: &Arc<dyn Timers>, alarm: &Alarm) -> Result<(), Error> {
    let rung = async {
        // Alarms of an earlier run concern nobody any more; one that cannot be read never will be.
        if drivers.expects_alarm(&alarm.id) {
            deliver(drivers, alarm).await?;
        }
        timers.done(alarm).await.map_err(|source| Error::Store { action: "end a timer", source })
    };
    let rung: Result<(), Error> = rung.await;
    rung.inspect_err(|error| tracing::error!(id = %alarm.id, error = %chain(error), "an alarm is late"))
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
