//! What waits in the pools, who works there, and how long work takes; and when documents will have ended by that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
};

use flow::{DocumentRecord, Plan, PodStatus, RESULTS_POOL, StageStatus};
use queue::{Depth, Priority};
use serde_json::{Map, Value, json};

use super::{
    api::Api,
    estimate::{self, PoolLoad},
    refusal::Refusal,
    tokens::Caller,
};
use crate::{commands::explain::time, error::chain, runtime::now};

/// How loaded the pools were when they were last looked at.
#[derive(Default)]
pub struct Loads(RwLock<BTreeMap<String, PoolLoad>>);

impl Loads {
    /// A pool was looked at.
    pub fn set(&self, pool: &str, depth: &Depth, workers: &[PodStatus]) {
        let of_pool = workers.iter().filter(|worker| worker.pool == pool);
        let load = PoolLoad::new(depth.pending.iter().sum(), depth.in_work, of_pool);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(pool.to_owned(), load);
    }

    /// Seconds that a document has left, or a new one would take.
    pub(super) fn remaining(&self, plan: &Plan, record: Option<&DocumentRecord>) -> Option<f64> {
        if plan.spec.suspend || record.is_some_and(|record| record.suspended) {
            return None;
        }
        let is_done = |stage: &str| {
            let state = record.and_then(|record| record.stages.get(stage));
            state.is_some_and(|state| {
                matches!(state.status, StageStatus::Done(_) | StageStatus::Skipped | StageStatus::Failed(_))
            })
        };
        estimate::remaining(plan, is_done, &self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// When a document will have ended that is under way, or that comes now.
    pub(super) fn expected_finish(&self, plan: &Plan, record: Option<&DocumentRecord>) -> Option<String> {
        let seconds = self.remaining(plan, record)?;
        // The largest number stands for all that are too large, and for none.
        let millis = (seconds * 1_000.0) as u64;
        Some(time(now().saturating_add(millis)))
    }
}

impl Api {
    /// The pools that the caller's pipelines use, and how many of its documents are open.
    pub(super) async fn stats(&self, caller: &Caller) -> Result<Value, Refusal> {
        let plans: Vec<_> = self.plans.values().filter(|plan| self.plan(caller, &plan.name).is_ok()).collect();
        let workers = self.live.workers().await?;
        let pools: BTreeSet<&String> = plans.iter().flat_map(|plan| plan.pools.keys()).collect();
        let mut described = Vec::new();
        for pool in pools {
            let depth = self.ports.queue.depth(pool).await?;
            let of_pool = workers.iter().filter(|worker| worker.pool == *pool).cloned();
            let mut of_pool: Vec<PodStatus> = of_pool.collect();
            // Pools are shared; what other pipelines do is not this caller's to see.
            for worker in &mut of_pool {
                worker.service_times.retain(|time| plans.iter().any(|plan| plan.name == time.pipeline));
                worker.heads.retain(|head| plans.iter().any(|plan| plan.name == head.pipeline));
            }
            described.push(pool_stats(pool, &depth, &of_pool));
        }
        let open = |plan: &&std::sync::Arc<Plan>| json!({"name": plan.name, "open": self.credits.open(&plan.name, caller.tenant.as_deref())});
        Ok(json!({"pools": described, "pipelines": plans.iter().map(open).collect::<Vec<_>>()}))
    }
}

/// What is said of a pool, as the sum of its workers.
pub fn pool_stats(pool: &str, depth: &Depth, workers: &[PodStatus]) -> Value {
    let words = Priority::ALL.map(|priority| format!("{priority:?}").to_lowercase());
    let waiting: Map<String, Value> = words.into_iter().zip(depth.pending.map(Value::from)).collect();
    let taking = workers.iter().filter(|worker| worker.ready && !worker.cordoned);
    json!({
        "name": pool,
        "waiting": waiting,
        "inWork": depth.in_work,
        "oldestSeconds": depth.oldest.map(|age| age.as_secs_f64()),
        "slots": taking.map(|worker| worker.slots).sum::<u32>(),
        "resting": workers.iter().filter(|worker| worker.resting).count(),
        "serviceTimes": service_times(workers),
        "cache": cache(workers),
        "workers": workers,
    })
}

/// Times by stage, of all workers and sizes: the mean of all tasks; of percentiles, which do not add up, the largest.
fn service_times(workers: &[PodStatus]) -> Vec<Value> {
    #[derive(Default)]
    struct Stage {
        count: u64,
        seconds: f64,
        p50: f64,
        p95: f64,
    }
    let mut stages: BTreeMap<(&str, &str), Stage> = BTreeMap::new();
    for time in workers.iter().flat_map(|worker| &worker.service_times) {
        let stage = stages.entry((&time.pipeline, &time.stage)).or_default();
        stage.count += u64::from(time.count);
        stage.seconds += time.mean * f64::from(time.count);
        stage.p50 = stage.p50.max(time.p50);
        stage.p95 = stage.p95.max(time.p95);
    }
    let described = stages.into_iter().map(|((pipeline, name), stage)| {
        json!({
            "pipeline": pipeline, "stage": name, "count": stage.count,
            "mean": stage.seconds / stage.count.max(1) as f64, "p50": stage.p50, "p95": stage.p95,
        })
    });
    described.collect()
}

/// Lookups by level, of all workers.
fn cache(workers: &[PodStatus]) -> Map<String, Value> {
    let mut levels: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for counts in workers.iter().flat_map(|worker| &worker.cache) {
        let (hits, misses, errors) = levels.entry(&counts.level).or_default();
        *hits += counts.hits;
        *misses += counts.misses;
        *errors += counts.errors;
    }
    let described = |(level, (hits, misses, errors)): (&str, (u64, u64, u64))| {
        let asked = hits + misses;
        let rate = (asked > 0).then(|| hits as f64 / asked as f64);
        (level.to_owned(), json!({"hits": hits, "misses": misses, "errors": errors, "hitRate": rate}))
    };
    levels.into_iter().map(described).collect()
}

/// Looks at all pools: for metrics, and for what clients are told to expect.
pub(super) async fn look(api: &Api) {
    let workers = match api.live.workers().await {
        Ok(workers) => Some(workers),
        Err(error) => {
            tracing::debug!(error = %chain(&error), "the workers' statuses are not known");
            None
        }
    };
    let mut pools: BTreeSet<&str> = api.plans.values().flat_map(|plan| plan.pools.keys()).map(String::as_str).collect();
    if api.plans.values().any(|plan| plan.spec.results.is_some()) {
        pools.insert(RESULTS_POOL);
    }
    for pool in pools {
        match api.ports.queue.depth(pool).await {
            Ok(depth) => {
                api.drivers.metrics().depth(pool, &depth);
                if let Some(workers) = &workers {
                    api.loads.set(pool, &depth, workers);
                }
            }
            // Without a number the last one stays; a wrong zero would be worse.
            Err(error) => tracing::debug!(error = %chain(&error), %pool, "the depth is not known"),
        }
    }
}
