//! One pool at work: read what is remembered, look, decide, act, remember, tell. A pool that sleeps is left alone until
//! something comes, but for a look now and then.

use std::{collections::BTreeMap, sync::Arc};

use crds::{AgentPool, ScalingMode, ScalingStatus};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use queue::Records;
use scaler::{ColdStart, Reason, Settings, few_digits, recommend};
use serde::Deserialize;

use super::{
    CONDITION, act,
    board::Report,
    foreseen::{Branches, Finished},
    keeping::Keeping,
    observe::Sight,
    pool::{Memory, Outlook, PoolScaler, Step, is_asleep},
    seen::SeenDeployment,
    settings,
    told::{self, Decisions, Told},
};
use crate::{
    chain,
    condition::{Observed, State},
    context::Context,
    kept::{KeepError, Kept},
    watching::namespace_of,
};

/// A pool that is scaled, from its first second to its last.
#[derive(Default)]
pub struct Follower {
    loaded: Option<Loaded>,
    /// Whether agents were told to rest.
    said: bool,
    /// Agents that it would have if there were devices for all pools.
    pub wanted: u32,
}

struct Loaded {
    records: Arc<dyn Records>,
    memory: Kept,
    decisions: Kept,
    scaler: PoolScaler,
    keeping: Keeping,
}

#[derive(Deserialize)]
struct KeptDecisions {
    decisions: Vec<Told>,
}

impl Follower {
    /// What was learned of tasks that are foreseen, with how many were handed on and came so far.
    pub fn branches(&mut self, handed_on: &BTreeMap<String, Finished>, arrived: Option<u64>) -> Branches {
        let Some(loaded) = &mut self.loaded else { return Branches::default() };
        let branches = &mut loaded.scaler.memory.branches;
        if let Some(arrived) = arrived {
            branches.learn(handed_on, arrived);
        }
        branches.clone()
    }

    /// Whether the pool ever had tasks at the broker, by what is remembered. Where that cannot be read, it may have had some.
    pub async fn had_tasks(&mut self, ctx: &Context, namespace: &str, pool: &str) -> bool {
        if self.loaded.is_none() {
            self.loaded = Loaded::read(ctx, namespace, pool).await.ok();
        }
        self.loaded.as_ref().is_none_or(|loaded| loaded.scaler.memory.had_tasks)
    }

    /// How long its agents took to start, where any start was measured.
    pub fn cold_start(&self) -> Option<ColdStart> {
        self.loaded.as_ref().and_then(|loaded| loaded.scaler.memory.starts.distribution())
    }

    /// One second of the pool. `is_current` says whether the pool is still the one that is looked at. Says whether the pool may sleep.
    pub async fn follow(
        &mut self,
        ctx: &Context,
        (pool, is_current): (&AgentPool, &(dyn Fn() -> bool + Sync)),
        sight: &Sight,
        deployment: Option<&SeenDeployment>,
        outlook: Outlook,
    ) -> bool {
        let Some(scaling) = &pool.spec.scaling else { return true };
        let settings = match settings::of(scaling) {
            Ok(settings) => settings,
            Err(invalid) => {
                let active = Observed::new(CONDITION, State::False, "ScalingInvalid", format!("scaling: {invalid}"));
                say(ctx, pool, ScalingStatus::default(), active);
                return false;
            }
        };
        if deployment.is_none() {
            // A pass makes it in a moment, or says why not.
            ctx.metrics.held(&namespace_of(pool), &pool.name_any());
            say(
                ctx,
                pool,
                ScalingStatus::default(),
                held("Held:Missing", "the pool's Deployment is not there".to_owned()),
            );
            return false;
        }
        let (namespace, name) = (namespace_of(pool), pool.name_any());
        if self.loaded.is_none() {
            match Loaded::read(ctx, &namespace, &name).await {
                Ok(loaded) => self.loaded = Some(loaded),
                Err(error) => {
                    ctx.metrics.held(&namespace, &name);
                    let message = format!("what was learned of the pool cannot be read: {}", chain(&error));
                    say(ctx, pool, ScalingStatus::default(), held("Held:Missing", message));
                    return false;
                }
            }
        }
        let Some(loaded) = &mut self.loaded else { return false };
        let (slots, now) = (pool.spec.effective().concurrency, now());
        let step = loaded.scaler.step(&settings, sight, deployment, slots, outlook, now);
        self.wanted = step.wanted;
        ctx.metrics.scaled(&namespace, &name, scaling.mode, &step);
        let changed = match (scaling.mode, deployment) {
            (ScalingMode::Apply, Some(deployment)) => {
                let resting = &step.choice.resting;
                if let Err(error) = act::order(ctx, (&namespace, &name), resting, &mut self.said).await {
                    tracing::debug!(%namespace, pool = name, error = %chain(&error), "agents were not told who rests");
                }
                let pods = sight.pods.as_deref().unwrap_or_default();
                // A pool that was changed meanwhile is decided about in a second.
                let acted =
                    if is_current() { act::replicas(ctx, pool, deployment, pods, &step).await } else { Ok(false) };
                acted.unwrap_or_else(|error| {
                    ctx.metrics.failed("AgentPool", "ScaleFailed");
                    tracing::warn!(%namespace, pool = name, error = %chain(&error), "the number of agents was not changed");
                    false
                })
            }
            (ScalingMode::Apply, None) => false,
            (ScalingMode::Advise | ScalingMode::External, _) => {
                loaded.scaler.release();
                let nobody = std::collections::BTreeSet::new();
                // What is not said again holds no longer anyway.
                drop(act::order(ctx, (&namespace, &name), &nobody, &mut self.said).await);
                false
            }
        };
        let sleeps = is_asleep(sight, &step);
        if loaded.keeping.is_due(changed || step.is_news, sleeps, now) {
            if let Err(error) = loaded.keep(ctx, &name, scaling.mode, &settings, &step, now).await {
                tracing::debug!(%namespace, pool = name, error = %chain(&error), "what was learned of a pool was not kept");
                if matches!(error, KeepError::Overtaken { .. }) {
                    self.loaded = None;
                    return false;
                }
            }
        }
        let number = |number: u32| Some(i32::try_from(number).unwrap_or(i32::MAX));
        let status = ScalingStatus {
            desired: number(step.decision.replicas),
            pulling: number(step.decision.pulling),
            decisions: loaded.scaler.told.iter().map(Told::in_status).collect(),
            ..ScalingStatus::default()
        };
        say(ctx, pool, status, active(scaling.mode, &step, loaded.scaler.last_change()));
        sleeps
    }

    /// The pool is gone, or is not scaled any more: what was said and kept of it goes as well.
    pub async fn forget(mut self, ctx: &Context, namespace: &str, pool: &str) {
        let nobody = std::collections::BTreeSet::new();
        drop(act::order(ctx, (namespace, pool), &nobody, &mut self.said).await);
        drop(ctx.brokers.forget_scaling(namespace, pool).await);
        ctx.metrics.not_scaled(namespace, pool);
        ctx.scaling.forget(&(namespace.to_owned(), pool.to_owned()));
    }
}

impl Loaded {
    async fn read(ctx: &Context, namespace: &str, pool: &str) -> Result<Self, queue::Error> {
        let records = ctx.brokers.records(namespace).await?;
        let (memory, remembered) = Kept::read::<Memory>(&records, format!("{}{pool}", flow::keys::SCALING)).await?;
        let (decisions, told) =
            Kept::read::<KeptDecisions>(&records, format!("{}{pool}", flow::keys::DECISIONS)).await?;
        let told = told.map(|told| told.decisions).unwrap_or_default();
        let scaler = PoolScaler::new(remembered.unwrap_or_default(), told);
        Ok(Self { records, memory, decisions, scaler, keeping: Keeping::default() })
    }

    async fn keep(
        &mut self,
        ctx: &Context,
        pool: &str,
        mode: ScalingMode,
        settings: &Settings,
        step: &Step,
        now: f64,
    ) -> Result<(), KeepError> {
        let Ok(epoch) = ctx.may_write() else { return Ok(()) };
        self.memory.write(&self.records, &few_digits(&self.scaler.memory), epoch).await?;
        let cold_start = step.observation.cold_start.as_ref().map(|start| start.mean);
        let history = &self.scaler.memory.history;
        let recommendation =
            cold_start.and_then(|cold_start| recommend(settings, history, cold_start).into_iter().next());
        let decisions = Decisions {
            pool,
            mode,
            desired: step.decision.replicas,
            replicas: step.observation.replicas,
            at: told::time(now),
            current: Told::of(&step.decision, step.observation.replicas, now),
            decisions: self.scaler.told.make_contiguous(),
            recommendation,
        };
        self.decisions.write(&self.records, &decisions, epoch).await
    }
}

fn say(ctx: &Context, pool: &AgentPool, scaling: ScalingStatus, active: Observed) {
    let report = Report { uid: pool.uid(), generation: pool.metadata.generation, scaling, active };
    ctx.scaling.say((namespace_of(pool), pool.name_any()), report);
}

fn held(reason: impl Into<std::borrow::Cow<'static, str>>, message: String) -> Observed {
    Observed::new(CONDITION, State::False, reason, message)
}

/// Whether the autoscaler acts, and why not.
fn active(mode: ScalingMode, step: &Step, last: Option<&Told>) -> Observed {
    if let Reason::Held(hold) = step.decision.reason {
        return held(told::word(&step.decision.reason), format!("the number stays as it is: {hold}"));
    }
    let last = last.map_or_else(|| "nothing had to be changed yet".to_owned(), |last| last.message.clone());
    match mode {
        ScalingMode::Apply => Observed::new(CONDITION, State::True, "Active", last),
        ScalingMode::Advise => Observed::new(CONDITION, State::False, "Advising", format!("would be: {last}")),
        ScalingMode::External => {
            let message = "whoever writes `replicas` through the scale subresource owns the number";
            Observed::new(CONDITION, State::False, "External", message)
        }
    }
}

/// Seconds since 1970.
pub fn now() -> f64 {
    Timestamp::now().as_millisecond() as f64 / 1_000.0
}
