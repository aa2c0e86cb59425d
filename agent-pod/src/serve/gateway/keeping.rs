//! What happens beside requests: timers, the sweep, the counting of what is in flight and of what waits.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    super::parts::Parts,
    api::Api,
    in_flight::Earlier,
    stats,
    tally::{self, Tally},
};
use crate::{
    error::chain,
    runtime::{
        driver::{Error, Unreached},
        now, progress, sweeper, timers,
    },
};

/// Pause after the store failed; everything here is tried again for as long as the process runs.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often the depth of the queues is asked for.
const DEPTH: Duration = Duration::from_secs(5);

/// Starts it all.
pub(super) fn spawn(parts: &mut Parts, api: &Arc<Api>, name: &str) {
    let (speaker, name) = (Arc::clone(api), name.to_owned());
    parts.spawn(async move {
        tally::speak(&speaker, &name).await;
        Ok(())
    });
    let ring = Arc::clone(api);
    parts.spawn(async move {
        while let Err(error) = timers::run(&ring.drivers, &ring.ports.timers, &ring.stop).await {
            tracing::error!(error = %chain(&error), "timers are delivered late");
            if !sweeper::rest(AFTER_FAILURE, &ring.stop).await {
                break;
            }
        }
        Ok(())
    });
    let sweep = Arc::clone(api);
    parts.spawn(async move {
        let mut pause = sweeper::pause_after(Duration::ZERO);
        while sweeper::rest(pause, &sweep.stop).await {
            let begun = Instant::now();
            if let Err(error) = count(&sweep).await {
                tracing::error!(error = %chain(&error), "the records could not be swept");
            }
            pause = sweeper::pause_after(begun.elapsed());
        }
        Ok(())
    });
    let ends = Arc::clone(api);
    parts.spawn(async move {
        while !ends.stop.is_cordoned() {
            follow_ends(&ends).await;
            sweeper::rest(AFTER_FAILURE, &ends.stop).await;
        }
        Ok(())
    });
    let depth = Arc::clone(api);
    parts.spawn(async move {
        while sweeper::rest(DEPTH, &depth.stop).await {
            stats::look(&depth).await;
        }
        Ok(())
    });
    let tokens = Arc::clone(api);
    parts.spawn(async move {
        tokens.tokens.follow(&tokens.stop).await;
        Ok(())
    });
}

/// Sweeps the records of all pipelines and counts those in flight. A pipeline whose records cannot be read keeps its
/// numbers and stands in no other's way; the first such failure comes back at the end. A document that cannot go on is
/// no failure of this.
pub(super) async fn count(api: &Api) -> Result<(), Error> {
    let (mut unreached, mut failure) = (Unreached::default(), None);
    for (name, plan) in &api.plans {
        let began = Instant::now();
        let mut unfinished = HashSet::new();
        let mut earlier = Earlier::default();
        let mut tally = Tally::at(now());
        let mut otherwise = Vec::new();
        let driver = api.drivers.of(name);
        let swept = sweeper::sweep(&driver, now(), &mut unreached, |record| {
            tally.count(record);
            if record.end.is_some() {
                return;
            }
            earlier.count(plan, record);
            if record.suspended != plan.spec.suspend {
                otherwise.push(record.submission.document.clone());
            }
            unfinished.insert((record.submission.tenant.clone(), record.submission.document.clone()));
        });
        if let Err(error) = swept.await {
            tracing::error!(pipeline = name, error = %chain(&error), "the records of a pipeline could not be swept");
            failure.get_or_insert(error);
            continue;
        }
        let open = api.credits.recount(name, began, unfinished);
        api.tallies.set(tally.finish(name));
        sweeper::hold_or_go_on(&driver, plan.spec.suspend, &otherwise, &mut unreached).await;
        api.drivers.metrics().open(name, open);
        earlier.report(api, name).await;
    }
    failure.map_or(Ok(()), Err)
}

/// Gives credits back as documents end.
async fn follow_ends(api: &Api) {
    let mut events = match api.ports.events.watch(&progress::prefix(None)).await {
        Ok(events) => events,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "ends of documents are not heard of");
            return;
        }
    };
    loop {
        let body = tokio::select! {
            () = api.stop.cordoned() => return,
            event = events.recv() => match event {
                Some((_, body)) => body,
                None => return,
            },
        };
        let Ok(body) = serde_json::from_slice::<Value>(&body) else { continue };
        if let (Some(pipeline), Some(tenant), Some(document)) =
            (body["pipeline"].as_str(), body["tenant"].as_str(), body["document"].as_str())
            && body["outcome"] != "unfinished"
        {
            api.credits.ended(pipeline, tenant, document);
        }
    }
}
