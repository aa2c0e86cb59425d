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
pub(super) struct Loads(RwLock<BTreeMap<String, PoolLoad>>);

impl Loads {
    /// A pool was looked at.
    pub(super) fn set(&self, pool: &str, depth: &Depth, workers: &[PodStatus]) {
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

fn pool_stats(pool: &str, depth: &Depth, workers: &[PodStatus]) -> Value {
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

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc, time::Duration};

    use bytes::Bytes;
    use flow::{CacheCounts, ServiceTime};
    use futures::stream;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{
        results::Sinks,
        runtime::{drivers::Drivers, metrics::Metrics, stop::Stop},
        serve::{
            config::{Limits, Passes},
            gateway::{
                api::{Accepted, Head},
                credits::Credits,
                erasing,
                intake::{Intake, Room},
                tally::Tallies,
                tokens::Tokens,
            },
            status::Live,
        },
    };

    /// A gateway's requests on a pipeline of one stage, which nobody works.
    async fn api(limits: Limits) -> Api {
        let spec = json!({"stages": [{"name": "a", "pool": "readers", "transform": {"template": "a"}}]});
        let pools = BTreeMap::from([("readers".to_owned(), serde_json::from_value(json!({})).expect("a pool"))]);
        let plan = flow::compile("p", 1, &serde_json::from_value(spec).expect("a pipeline"), &pools).expect("a plan");
        let ports = queue::memory::open();
        let drivers = Drivers::of_store(ports.clone(), Arc::new(Metrics::default()));
        let plan = drivers.plans().put(plan).await.expect("stored");
        let eraser = erasing::eraser(&drivers, &ports, Vec::new());
        Api {
            drivers,
            plans: BTreeMap::from([("p".to_owned(), plan)]),
            closed: BTreeSet::new(),
            credits: Credits::new(limits.in_flight),
            tokens: Arc::new(Tokens::open(None, None, &Arc::default()).expect("no file")),
            watchers: Arc::new(Semaphore::new(1)),
            intake: Intake::new(&limits),
            eraser,
            passes: Passes::default(),
            sinks: Arc::new(Sinks::new(Arc::clone(&ports.payloads), Path::new("unused"), Arc::default())),
            redis: None,
            live: Live::new(Arc::clone(&ports.statuses)),
            loads: Loads::default(),
            tallies: Tallies::default(),
            ports,
            limits,
            stop: Stop::default(),
            works_alone: false,
        }
    }

    async fn submit(api: &Api, id: &str) -> Result<Accepted, Refusal> {
        let head = Head { pipeline: "p".to_owned(), id: Some(id.to_owned()), ..Head::default() };
        api.submit(&Caller::default(), head, (stream::iter([Ok(Bytes::from("text"))]), Room::default())).await
    }

    #[tokio::test]
    async fn clients_are_told_what_follows_from_measured_times() {
        let api = api(Limits { in_flight: 2, ..Limits::default() }).await;
        assert_eq!(submit(&api, "one").await.map(|accepted| accepted.expected_finish), Ok(None), "nothing is measured");
        let time = ServiceTime {
            pipeline: "p".to_owned(),
            stage: "a".to_owned(),
            count: 9,
            mean: 60.0,
            ..ServiceTime::default()
        };
        let worker = PodStatus {
            pool: "readers".to_owned(),
            slots: 1,
            ready: true,
            service_times: vec![time],
            ..PodStatus::default()
        };
        let of_another = PodStatus { pool: "writers".to_owned(), slots: 99, ..worker.clone() };
        api.loads.set("readers", &Depth { pending: [0, 0, 1, 0], ..Depth::default() }, &[worker, of_another]);
        // A minute for the one that waits, a minute of its own.
        let before = now();
        let expected = submit(&api, "two").await.expect("accepted").expected_finish.expect("a time");
        let expected: jiff::Timestamp = expected.parse().expect("RFC 3339");
        let millis = u64::try_from(expected.as_millisecond()).expect("after 1970") - before;
        assert!((120_000..180_000).contains(&millis), "{millis}");
        let (driver, record) = api.record(&Caller::default(), "p", "two").await.expect("it is there");
        assert!(api.result(&driver, &record).await.expect("a result")["expectedFinish"].is_string());
        // Two documents in two minutes: one of them should end within one.
        let Err(Refusal::Busy { retry_after, .. }) = submit(&api, "three").await else { panic!("two are in flight") };
        assert_eq!(retry_after, Duration::from_secs(60));
    }

    #[test]
    fn a_pool_is_the_sum_of_its_workers() {
        let time = |count: u32, mean: f64, p95: f64| ServiceTime {
            pipeline: "p".to_owned(),
            stage: "a".to_owned(),
            count,
            mean,
            p50: mean,
            p95,
            ..ServiceTime::default()
        };
        let counts = |hits, misses| CacheCounts { level: "memory".to_owned(), hits, misses, errors: 0 };
        let worker = |time: ServiceTime, counts: CacheCounts, cordoned: bool| PodStatus {
            slots: 4,
            ready: true,
            cordoned,
            resting: cordoned,
            service_times: vec![time],
            cache: vec![counts],
            ..PodStatus::default()
        };
        let workers = [worker(time(1, 1.0, 2.0), counts(3, 1), false), worker(time(3, 5.0, 1.0), counts(0, 0), true)];
        let depth = Depth { pending: [1, 0, 2, 0], in_work: 5, ..Depth::default() };
        let stats = pool_stats("readers", &depth, &workers);
        assert_eq!(stats["resting"], 1);
        assert_eq!(stats["waiting"], json!({"critical": 1, "high": 0, "normal": 2, "low": 0}));
        assert_eq!((&stats["slots"], &stats["inWork"], &stats["oldestSeconds"]), (&json!(4), &json!(5), &Value::Null));
        let expected = json!({"pipeline": "p", "stage": "a", "count": 4, "mean": 4.0, "p50": 5.0, "p95": 2.0});
        assert_eq!(stats["serviceTimes"], json!([expected]));
        assert_eq!(stats["cache"]["memory"], json!({"hits": 3, "misses": 1, "errors": 0, "hitRate": 0.75}));
        assert_eq!(stats["workers"].as_array().map(Vec::len), Some(2));
    }
}
