//! Removes what is over, now and then. Of several gateways one does it, whoever comes first; each keeps its own plans.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use queue::Ports;

use super::{super::parts::Parts, api::Api};
use crate::{
    error::chain,
    runtime::{
        driver::Scope,
        erasure::{WAIT, Workers},
        now,
        retention::{Keeper, Rule},
        sweeper,
    },
};

/// When the last pass began, whoever made it.
const TURN: &str = "retention/turn";
/// A pass takes at most this part of the time: one in so many.
const SHARE: u32 = 10;

/// Begins at once, then goes on until the process stops.
pub(super) fn spawn(parts: &mut Parts, api: &Arc<Api>, with_workers: bool) {
    let api = Arc::clone(api);
    parts.spawn(async move {
        let rules: Vec<Rule> = api
            .plans
            .iter()
            .filter_map(|(name, plan)| {
                let retention = plan.spec.retention.clone()?;
                Some(Rule { scope: Scope::Pipeline(name.clone()), retention })
            })
            .collect();
        let served: BTreeSet<String> = api.plans.values().map(|plan| plan.digest.clone()).collect();
        let metrics = Arc::clone(api.drivers.metrics());
        let mut keeper = Keeper::new(api.ports.clone(), api.passes.settle.0, metrics);
        let every = api.passes.every.0;
        loop {
            let begun = std::time::Instant::now();
            for plan in api.plans.values() {
                if let Err(error) = api.drivers.plans().hold(plan).await {
                    tracing::error!(error = %chain(&error), plan = %plan.digest, "a plan could not be kept");
                }
            }
            match is_our_turn(&api.ports, every, now()).await {
                Ok(false) => {}
                Ok(true) => {
                    if let Err(error) = keeper.pass(&rules, &served, now()).await {
                        tracing::error!(error = %chain(&error), "what is over could not be removed");
                    }
                    let workers = Workers { ports: api.ports.clone(), wait: WAIT };
                    if with_workers && let Err(error) = workers.forget().await {
                        tracing::error!(error = %chain(&error), "orders to erase could not be tidied up");
                    }
                }
                Err(error) => tracing::error!(error = %chain(&error), "it is not known when what is over was removed"),
            }
            if !sweeper::rest(every.max(begun.elapsed().saturating_mul(SHARE)), &api.stop).await {
                return Ok(());
            }
        }
    });
}

/// Whether a pass that began at `last` is not yet so long ago that the next one is due.
pub fn is_recent(last: u64, every: Duration, now: u64) -> bool {
    let milliseconds = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
    // A little less: two clocks do not tick together, and a turn that is missed is a whole one.
    let pause = milliseconds(every.as_millis() * 9 / 10);
    // What lies further ahead was written by a clock that was wrong: nobody waits until it is so late.
    let written_rightly = last <= now.saturating_add(milliseconds(every.as_millis()));
    written_rightly && last.saturating_add(pause) > now
}

/// Whether no gateway has made a pass lately; then this one does.
async fn is_our_turn(ports: &Ports, every: Duration, now: u64) -> queue::Result<bool> {
    let bytes = Bytes::copy_from_slice(&now.to_le_bytes());
    let taken = match ports.records.get(TURN).await? {
        None => ports.records.create(TURN, bytes).await,
        Some(found) => {
            let last = found.bytes.first_chunk().map_or(0, |at| u64::from_le_bytes(*at));
            if is_recent(last, every, now) {
                return Ok(false);
            }
            ports.records.update(TURN, found.revision, bytes).await
        }
    };
    match taken {
        Ok(_) => Ok(true),
        Err(queue::Error::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
