//! The numbers in a pool's status: what waits, what is in work, how long tasks take, which models are loaded, what
//! they are used for.
//!
//! They come from the broker and from what agents say of themselves, and change all the time; so they are not part of a pass.
//! While the broker does not answer, the last numbers stand for a moment (`standing`), and are left out then.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crds::{AgentPool, AgentPoolStatus, LoadedModel};
use flow::PodStatus;
use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt, core::DeserializeGuard, runtime::reflector::Store};
use queue::Depth;
use tokio_util::sync::CancellationToken;

use super::spending::{Amount, Spending};
use crate::{
    apply, chain,
    context::Context,
    standing::{Numbers, Standing},
    watching::{Scope, namespace_of},
};

/// Numbers change at most so often.
const EVERY: Duration = Duration::from_secs(5);

/// Namespaces that are asked about at the same time: one whose answers do not come holds up no other.
pub const AT_ONCE: usize = 16;

/// What is known of pools from one look to the next.
#[derive(Default)]
struct Memory {
    spending: Spending,
    standing: Standing,
}

impl Memory {
    fn forget_others(&mut self) {
        self.spending.forget_others();
        self.standing.forget_others();
    }
}

/// Keeps the numbers of all pools of a scope until it is stopped.
pub async fn run(ctx: Arc<Context>, scope: &Scope, pools: Store<DeserializeGuard<AgentPool>>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let memory = Mutex::new(Memory::default());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        ctx.metrics.pools(scope, pools.state().iter().filter_map(|pool| pool.0.as_ref().ok()));
        let mut namespaces: BTreeMap<String, Vec<Arc<DeserializeGuard<AgentPool>>>> = BTreeMap::new();
        for guarded in pools.state() {
            if let Ok(pool) = &guarded.0 {
                namespaces.entry(namespace_of(pool)).or_default().push(guarded);
            }
        }
        let look = async |(namespace, pools): (String, Vec<_>)| of_namespace(&ctx, &namespace, &pools, &memory).await;
        stream::iter(namespaces).for_each_concurrent(AT_ONCE, look).await;
        memory.lock().unwrap_or_else(PoisonError::into_inner).forget_others();
    }
}

async fn of_namespace(
    ctx: &Context,
    namespace: &str,
    pools: &[Arc<DeserializeGuard<AgentPool>>],
    memory: &Mutex<Memory>,
) {
    let mut agents = ctx.brokers.agents(namespace).await;
    for pool in pools.iter().filter_map(|pool| pool.0.as_ref().ok()) {
        // Before its first pass a pool has no status to add numbers to.
        let Some(before) = pool.status.as_ref().filter(|_| pool.metadata.deletion_timestamp.is_none()) else {
            continue;
        };
        let name = pool.name_any();
        let mut depth = None;
        if agents.is_ok() {
            match ctx.brokers.depth(namespace, &name).await {
                Ok(read) => depth = Some(read),
                // Nor would it answer for the next pool.
                Err(error) => agents = Err(error),
            }
        }
        let said: Vec<&PodStatus> = agents.iter().flatten().filter(|agent| agent.pool == name).collect();
        let mut after = looked(before, pool, depth.as_ref().map(|depth| (depth, said)), memory);
        // That the broker does not answer is what scaling has to say then.
        if let Some(report) = ctx.scaling.of(&(namespace.to_owned(), name), pool.uid().as_deref()) {
            after = report.in_status(after, Timestamp::now());
        }
        if let Err(error) = apply::status(ctx, pool, apply::Read::Before, Some(before), &after).await {
            tracing::debug!(%namespace, pool = %pool.name_any(), error = %chain(&error), "numbers were not written");
        }
    }
    if let Err(error) = agents {
        tracing::debug!(%namespace, error = %chain(&error), "the numbers of pools are not known");
    }
}

/// The status of a pool after a look, which has read this, or nothing.
fn looked(
    before: &AgentPoolStatus,
    pool: &AgentPool,
    read: Option<(&Depth, Vec<&PodStatus>)>,
    memory: &Mutex<Memory>,
) -> AgentPoolStatus {
    let (namespace, name) = (namespace_of(pool), pool.name_any());
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    match memory.standing.of(&namespace, &name, read, Instant::now()) {
        Numbers::Read((depth, agents)) => {
            let spent = memory.spending.of(&namespace, &name, &agents, now());
            with_counts(before, depth, &agents, spent.filter(|_| !pool.spec.models.is_empty()))
        }
        Numbers::Stand => before.clone(),
        Numbers::Unknown => without_counts(before),
    }
}

/// A status whose numbers are not known any more. Those of its Deployment are, which a pass counts.
pub fn without_counts(before: &AgentPoolStatus) -> AgentPoolStatus {
    AgentPoolStatus {
        waiting: None,
        in_work: None,
        service_p50: None,
        service_p95: None,
        tokens_per_minute: None,
        cost_per_minute: None,
        models: Vec::new(),
        ..before.clone()
    }
}

/// A status with new numbers.
pub fn with_counts(
    before: &AgentPoolStatus,
    depth: &Depth,
    agents: &[&PodStatus],
    spent: Option<Amount>,
) -> AgentPoolStatus {
    let times = || agents.iter().flat_map(|agent| &agent.service_times);
    let largest = |of: fn(&flow::ServiceTime) -> f64| times().map(of).reduce(f64::max).map(shown);
    let mut models: BTreeMap<(String, String), i32> = BTreeMap::new();
    for model in agents.iter().flat_map(|agent| &agent.models) {
        *models.entry((model.name.clone(), model.digest.clone())).or_default() += 1;
    }
    let number = |number: u64| Some(i64::try_from(number).unwrap_or(i64::MAX));
    AgentPoolStatus {
        waiting: number(depth.pending.iter().sum()),
        in_work: number(depth.in_work),
        service_p50: largest(|time| time.p50),
        service_p95: largest(|time| time.p95),
        tokens_per_minute: spent.map(|spent| two_digits(spent.tokens as f64) as i64),
        cost_per_minute: spent.map(|spent| price(spent.cost)),
        models: models.into_iter().map(|((name, digest), agents)| LoadedModel { name, digest, agents }).collect(),
        ..before.clone()
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// A number of which only the first two digits stay: finer ones would change with every task.
fn two_digits(number: f64) -> f64 {
    let number = number.max(0.0);
    let scale = 10_f64.powf((number.max(1.0).log10().floor() - 1.0).max(0.0));
    (number / scale).round() * scale
}

/// An amount of money with two significant digits, such as 0.0013.
pub fn price(amount: f64) -> String {
    // In millionths, so that small prices keep their digits.
    let text = format!("{:.6}", two_digits(amount * 1_000_000.0) / 1_000_000.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Seconds with two significant digits.
pub fn shown(seconds: f64) -> String {
    let millis = two_digits(seconds * 1_000.0) as u64;
    match millis {
        0..1_000 => format!("{millis}ms"),
        1_000..10_000 => format!("{}.{}s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{}s", millis / 1_000),
    }
}
