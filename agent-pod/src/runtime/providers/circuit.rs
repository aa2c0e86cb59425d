//! One circuit for each provider and each model of a pool: after failures in a row it is not asked for a while.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crds::CircuitBreaker;
use prometheus::IntGauge;

use super::meters::Meters;
use crate::runtime::breaker::{Breaker, Permit};

/// How the calls of a stage are guarded.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// The pipeline's `circuitBreaker`. Without it models of others have the default and the agent's own none: what runs in
    /// the same process cannot be away.
    pub breaker: Option<CircuitBreaker>,
    /// Pool and model, as the circuit of one of the agent's own models is called.
    pub model: String,
}

/// The circuits of a process. Clones share them.
#[derive(Clone, Default)]
pub struct Circuits {
    circuits: Arc<Mutex<BTreeMap<String, Arc<Circuit>>>>,
    meters: Meters,
}

/// The circuit of one target.
pub struct Circuit {
    target: String,
    breaker: Mutex<Breaker>,
    gauge: IntGauge,
}

/// Why a target is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// What is left alone.
    pub target: String,
    /// How long one does well to wait.
    pub wait: Duration,
}

/// Leave to ask the target. Dropped before it was told how that went, it counts as a failure: whoever waited gave up.
pub struct Asked {
    circuit: Arc<Circuit>,
    is_trial: bool,
    told: bool,
}

impl Circuits {
    /// Circuits whose states are shown by `meters`.
    pub fn new(meters: Meters) -> Self {
        Self { circuits: Arc::default(), meters }
    }

    /// The circuit of a target: a host, or pool and model.
    pub fn of(&self, target: &str) -> Arc<Circuit> {
        let mut circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        let made = circuits.entry(target.to_owned()).or_insert_with(|| {
            let CircuitBreaker { failures, open } = CircuitBreaker::default();
            let breaker = Mutex::new(Breaker::closed(failures, open.0));
            Arc::new(Circuit { target: target.to_owned(), breaker, gauge: self.meters.circuit(target) })
        });
        Arc::clone(made)
    }
}

impl Circuit {
    /// Leave to ask, where the circuit lets a call through. What it takes to open it is what the last asker said.
    pub fn ask(self: &Arc<Self>, settings: CircuitBreaker) -> Result<Asked, Open> {
        let now = Instant::now();
        let mut breaker = self.breaker();
        breaker.set(settings.failures, settings.open.0);
        let permit = breaker.ask(now);
        self.gauge.set(breaker.number());
        match permit {
            Permit::Refused => Err(Open { target: self.target.clone(), wait: breaker.wait(now) }),
            Permit::Call => Ok(Asked { circuit: Arc::clone(self), is_trial: false, told: false }),
            Permit::Try => Ok(Asked { circuit: Arc::clone(self), is_trial: true, told: false }),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // No step of a breaker can panic half-way.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, is_trial: bool, works: bool) {
        let now = Instant::now();
        let mut breaker = self.breaker();
        let opened = match (is_trial, works) {
            (true, works) => {
                breaker.tried(works, now);
                !works
            }
            (false, true) => {
                breaker.succeeded();
                false
            }
            (false, false) => breaker.failed(now),
        };
        self.gauge.set(breaker.number());
        drop(breaker);
        if opened {
            tracing::warn!(target_name = %self.target, is_trial, "the circuit is open: it is not asked for a while");
        } else if is_trial {
            tracing::info!(target_name = %self.target, "the circuit is closed: it works again");
        }
    }
}

impl Asked {
    /// Tells whether the target works, whatever it thinks of the request.
    pub fn tell(mut self, works: bool) {
        self.told = true;
        self.circuit.told(self.is_trial, works);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.told {
            self.circuit.told(self.is_trial, false);
        }
    }
}
