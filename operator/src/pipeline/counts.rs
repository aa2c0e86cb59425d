//! The numbers in a pipeline's status: open documents, ends a minute, latency, dead letters. They come from what gateways
//! say; while none speaks, the last numbers stand for a moment (`standing`), and are left out then.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crds::{Pipeline, PipelineStatus};
use flow::{GatewayStatus, PipelineTally};
use futures::{StreamExt as _, stream};
use kube::{Resource, ResourceExt, core::DeserializeGuard, runtime::reflector::Store};
use tokio_util::sync::CancellationToken;

use crate::{
    agent_pool::counts::{AT_ONCE, shown},
    apply, chain,
    context::Context,
    standing::{Numbers, Standing},
    watching::namespace_of,
};

/// Numbers change at most so often.
const EVERY: Duration = Duration::from_secs(5);

/// Keeps the numbers of all pipelines until it is stopped.
pub async fn run(ctx: Arc<Context>, pipelines: Store<DeserializeGuard<Pipeline>>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let standing = Mutex::new(Standing::default());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let mut namespaces: BTreeMap<String, Vec<Arc<DeserializeGuard<Pipeline>>>> = BTreeMap::new();
        for guarded in pipelines.state() {
            if let Ok(pipeline) = &guarded.0 {
                namespaces.entry(namespace_of(pipeline)).or_default().push(guarded);
            }
        }
        let look = async |(namespace, pipelines): (String, Vec<_>)| {
            of_namespace(&ctx, &namespace, &pipelines, &standing).await;
        };
        stream::iter(namespaces).for_each_concurrent(AT_ONCE, look).await;
        standing.lock().unwrap_or_else(PoisonError::into_inner).forget_others();
    }
}

async fn of_namespace(
    ctx: &Context,
    namespace: &str,
    pipelines: &[Arc<DeserializeGuard<Pipeline>>],
    standing: &Mutex<Standing>,
) {
    for pipeline in pipelines.iter().filter(|pipeline| pipeline.meta().deletion_timestamp.is_none()) {
        if let Err(error) = ctx.brokers.keep_pipeline(namespace, &pipeline.name_any()).await {
            tracing::debug!(%namespace, error = %chain(&error), "a pipeline has no place at the broker");
            break;
        }
    }
    let gateways = ctx.brokers.gateways(namespace).await.unwrap_or_else(|error| {
        tracing::debug!(%namespace, error = %chain(&error), "the numbers of pipelines are not known");
        Vec::new()
    });
    for pipeline in pipelines.iter().filter_map(|pipeline| pipeline.0.as_ref().ok()) {
        let Some(before) = pipeline.status.as_ref().filter(|_| pipeline.metadata.deletion_timestamp.is_none()) else {
            continue;
        };
        let name = pipeline.name_any();
        // The gateway that spoke last has counted last.
        let mut spoken: Vec<&GatewayStatus> = gateways.iter().collect();
        spoken.sort_unstable_by_key(|gateway| gateway.at);
        let tallies = spoken.iter().rev().flat_map(|gateway| &gateway.pipelines);
        let tally = tallies.into_iter().find(|tally| tally.pipeline == name);
        let numbers =
            standing.lock().unwrap_or_else(PoisonError::into_inner).of(namespace, &name, tally, Instant::now());
        let after = with_counts(before, numbers);
        if let Err(error) = apply::status(ctx, pipeline, apply::Read::Before, Some(before), &after).await {
            tracing::debug!(pipeline = %name, error = %chain(&error), "numbers were not written");
        }
    }
}

/// A status with what the gateways say, as far as it is known.
pub fn with_counts(before: &PipelineStatus, numbers: Numbers<&PipelineTally>) -> PipelineStatus {
    let tally = match numbers {
        Numbers::Read(tally) => Some(tally),
        Numbers::Stand => return before.clone(),
        Numbers::Unknown => None,
    };
    let number = |of: fn(&PipelineTally) -> u64| tally.map(|tally| i64::try_from(of(tally)).unwrap_or(i64::MAX));
    PipelineStatus {
        open: number(|tally| tally.open),
        done_per_minute: number(|tally| tally.done_per_minute),
        dead_letters: number(|tally| tally.dead_letters),
        latency_p50: tally.and_then(|tally| tally.p50).map(shown),
        latency_p95: tally.and_then(|tally| tally.p95).map(shown),
        ..before.clone()
    }
}
