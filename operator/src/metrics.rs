//! What the operator counts, for `/metrics`. The names are part of the interface.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crds::{AgentPool, ScalingMode};
use kube::ResourceExt;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};
use scaler::Reason;

use crate::{
    lease::Leadership,
    scaling::{pool::Step, told},
    watching::{Scope, namespace_of},
};

/// A pass takes milliseconds when nothing is to be done, and up to the deadlines of a few calls when the cluster is ill.
const RECONCILE_SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Labels of what is told of a pool.
const OF_A_POOL: [&str; 2] = ["namespace", "pool"];

/// The metrics of an operator.
pub struct Metrics {
    registry: Registry,
    reconcile_seconds: HistogramVec,
    reconcile_errors: IntCounterVec,
    writes: IntCounterVec,
    events: IntCounterVec,
    leading: IntGauge,
    epoch: IntGauge,
    desired: IntGaugeVec,
    pulling: IntGaugeVec,
    held: IntGaugeVec,
    decisions: IntCounterVec,
    wanted: IntGaugeVec,
    ready: IntGaugeVec,
    /// Namespace and name of the pools that `wanted` and `ready` are told of, by who tells of them.
    pools: Mutex<BTreeMap<Scope, BTreeSet<(String, String)>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::new(),
            reconcile_seconds: expect(HistogramVec::new(
                HistogramOpts::new("docket_reconcile_seconds", "One pass over one object")
                    .buckets(RECONCILE_SECONDS.to_vec()),
                &["kind", "outcome"],
            )),
            reconcile_errors: counter(
                "docket_reconcile_errors_total",
                "Passes that failed, by reason",
                &["kind", "reason"],
            ),
            writes: counter("docket_operator_writes_total", "Writes to the cluster", &["kind", "verb"]),
            events: counter(
                "docket_operator_events_total",
                "Events about objects, by what became of them: published, repeated or failed",
                &["outcome"],
            ),
            leading: gauge("docket_operator_leading", "1 where this process leads"),
            epoch: gauge("docket_operator_epoch", "The epoch of this process's last tenure; 0 before the first"),
            desired: gauges(
                "docket_scaler_desired_replicas",
                "Agents that the autoscaler wants, by who owns the number",
                &["namespace", "pool", "mode"],
            ),
            pulling: gauges("docket_scaler_pulling_replicas", "Ready agents that are to take tasks", &OF_A_POOL),
            held: gauges(
                "docket_scaler_held",
                "1 while the autoscaler holds, because numbers cannot be trusted",
                &OF_A_POOL,
            ),
            decisions: counter(
                "docket_scaler_decisions_total",
                "Decisions, one a second while a pool is awake, by reason: Up, Down, ToZero, Steady, Asleep or Held, with what \
                 decided",
                &["namespace", "pool", "reason"],
            ),
            wanted: gauges("docket_pool_wanted_agents", "Agents that a pool is to have, whoever says so", &OF_A_POOL),
            ready: gauges("docket_pool_ready_agents", "Agents of a pool that take work", &OF_A_POOL),
            pools: Mutex::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let collectors: Vec<Box<dyn Collector>> = vec![
            Box::new(self.reconcile_seconds.clone()),
            Box::new(self.reconcile_errors.clone()),
            Box::new(self.writes.clone()),
            Box::new(self.events.clone()),
            Box::new(self.leading.clone()),
            Box::new(self.epoch.clone()),
            Box::new(self.desired.clone()),
            Box::new(self.pulling.clone()),
            Box::new(self.held.clone()),
            Box::new(self.decisions.clone()),
            Box::new(self.wanted.clone()),
            Box::new(self.ready.clone()),
        ];
        for collector in collectors {
            self.registry.register(collector).expect("every name is registered once, in a registry of its own");
        }
    }

    /// Adds what the kernel knows of this process: memory, CPU time, open files.
    pub fn with_process(self) -> Self {
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.registry.register(Box::new(process)).expect("the process is registered once");
        self
    }

    /// A pass over an object of this kind begins; its time is taken when the answer is dropped.
    pub fn reconciling(&self, kind: &'static str) -> Pass {
        Pass { seconds: self.reconcile_seconds.clone(), kind, outcome: "ok", began: Instant::now() }
    }

    /// The time that a pass over an object of this kind takes, and whether it went well.
    pub async fn timed<T, E>(&self, kind: &'static str, pass: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut timer = self.reconciling(kind);
        let done = pass.await;
        if done.is_err() {
            timer.ends("error");
        }
        done
    }

    /// A pass has failed, for a reason from a closed set.
    pub fn failed(&self, kind: &str, reason: &str) {
        self.reconcile_errors.with_label_values(&[kind, reason]).inc();
    }

    /// Something was written to the cluster.
    pub fn wrote(&self, kind: &str, verb: &str) {
        self.writes.with_label_values(&[kind, verb]).inc();
    }

    /// What became of an Event.
    pub fn event(&self, outcome: &str) {
        self.events.with_label_values(&[outcome]).inc();
    }

    /// What was decided for a pool whose number has this owner.
    pub fn scaled(&self, namespace: &str, pool: &str, mode: ScalingMode, step: &Step) {
        let labels = [namespace, pool];
        self.not_desired(namespace, pool, |other| other != mode);
        self.desired.with_label_values(&[namespace, pool, owner(mode)]).set(step.decision.replicas.into());
        self.pulling.with_label_values(&labels).set(step.decision.pulling.into());
        self.held.with_label_values(&labels).set(matches!(step.decision.reason, Reason::Held(_)).into());
        self.decisions.with_label_values(&[namespace, pool, &told::word(&step.decision.reason)]).inc();
    }

    /// Nothing can be decided for a pool: its number stays.
    pub fn held(&self, namespace: &str, pool: &str) {
        self.held.with_label_values(&[namespace, pool]).set(1);
    }

    /// A pool is not scaled any more.
    pub fn not_scaled(&self, namespace: &str, pool: &str) {
        self.not_desired(namespace, pool, |_| true);
        for family in self.decisions.collect() {
            for told in family.get_metric() {
                let label =
                    |name| told.get_label().iter().find(|label| label.name() == name).map_or("", |it| it.value());
                if (label("namespace"), label("pool")) == (namespace, pool) {
                    drop(self.decisions.remove_label_values(&[namespace, pool, label("reason")]));
                }
            }
        }
        for gauge in [&self.pulling, &self.held] {
            // Where nothing was ever decided there is nothing to remove.
            drop(gauge.remove_label_values(&[namespace, pool]));
        }
    }

    fn not_desired(&self, namespace: &str, pool: &str, is_over: impl Fn(ScalingMode) -> bool) {
        for mode in [ScalingMode::Apply, ScalingMode::Advise, ScalingMode::External] {
            if is_over(mode) {
                // Most pools never had another owner.
                drop(self.desired.remove_label_values(&[namespace, pool, owner(mode)]));
            }
        }
    }

    /// How many agents each pool of a scope is to have and has, as its status says. Of others that were in it nothing is told
    /// any more.
    pub fn pools<'a>(&self, scope: &Scope, pools: impl Iterator<Item = &'a AgentPool>) {
        let mut told = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if self.leading.get() == 0 {
            return;
        }
        let mut now = BTreeSet::new();
        for pool in pools.filter(|pool| pool.metadata.deletion_timestamp.is_none()) {
            // Before its first pass nothing is known of a pool.
            let Some(status) = &pool.status else { continue };
            let Some(wanted) = status.desired_replicas else { continue };
            let (namespace, name) = (namespace_of(pool), pool.name_any());
            let labels = [namespace.as_str(), name.as_str()];
            self.wanted.with_label_values(&labels).set(wanted.into());
            self.ready.with_label_values(&labels).set(status.ready_replicas.into());
            now.insert((namespace, name));
        }
        let told = told.entry(scope.clone()).or_default();
        for (namespace, name) in told.difference(&now) {
            for gauge in [&self.wanted, &self.ready] {
                drop(gauge.remove_label_values(&[namespace.as_str(), name.as_str()]));
            }
        }
        *told = now;
    }

    /// Whether this process leads now.
    pub fn leadership(&self, leadership: &Leadership) {
        match leadership {
            Leadership::Leading { epoch, .. } => {
                self.leading.set(1);
                self.epoch.set(i64::from(*epoch));
            }
            _ => {
                self.leading.set(0);
                // What another process decides now is told there.
                let mut told = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
                told.clear();
                for gauge in [&self.desired, &self.pulling, &self.held, &self.wanted, &self.ready] {
                    gauge.reset();
                }
            }
        }
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// A pass under way.
pub struct Pass {
    seconds: HistogramVec,
    kind: &'static str,
    outcome: &'static str,
    began: Instant,
}

impl Pass {
    /// How it went: `ok` unless said otherwise.
    pub fn ends(&mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.seconds.with_label_values(&[self.kind, self.outcome]).observe(self.began.elapsed().as_secs_f64());
    }
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    expect(IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    expect(IntGaugeVec::new(Opts::new(name, help), labels))
}

/// Who owns the number of a pool's agents, as a label.
fn owner(mode: ScalingMode) -> &'static str {
    match mode {
        ScalingMode::Apply => "Apply",
        ScalingMode::Advise => "Advise",
        ScalingMode::External => "External",
    }
}

fn gauge(name: &str, help: &str) -> IntGauge {
    expect(IntGauge::new(name, help))
}

fn expect<T>(made: prometheus::Result<T>) -> T {
    made.expect("names and labels are constants of the right form")
}
