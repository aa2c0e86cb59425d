//! A place among the requests that are answered at once, and the account of what became of each.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Route, refusal::Refusal};
use crate::runtime::metrics::Metrics;

/// What is counted of a request whose client went away before the end of the answer.
const LEFT: &str = "left";

/// The places.
pub struct Admission {
    places: Arc<Semaphore>,
    working: BTreeMap<String, Arc<AtomicU32>>,
    metrics: Arc<Metrics>,
}

/// A request that has a place, until its answer has gone out or its client has left.
pub struct Admitted {
    _place: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
    route: Route,
    begun: Instant,
    pool: OnceLock<(String, Arc<AtomicU32>)>,
    outcome: OnceLock<&'static str>,
}

impl Admission {
    /// So many places, for models of these pools.
    pub fn new(places: u32, pools: impl Iterator<Item = String>, metrics: Arc<Metrics>) -> Self {
        let working = pools.map(|pool| (pool, Arc::default())).collect();
        Self { places: Arc::new(Semaphore::new(places as usize)), working, metrics }
    }

    /// A place for a request, until the answer has gone out. Fails where there is none.
    pub fn admit(&self, route: Route) -> Result<Arc<Admitted>, Refusal> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let refusal = Refusal::Busy("as many requests are being answered as may at once".to_owned());
            self.metrics.inference("", route.word(), refusal.reason(), 0.0);
            return Err(refusal);
        };
        Ok(Arc::new(Admitted {
            _place: place,
            metrics: Arc::clone(&self.metrics),
            route,
            begun: Instant::now(),
            pool: OnceLock::new(),
            outcome: OnceLock::new(),
        }))
    }

    /// It is for a model of this pool.
    pub fn of_pool(&self, admitted: &Admitted, pool: &str) {
        let Some(working) = self.working.get(pool) else { return };
        if admitted.pool.set((pool.to_owned(), Arc::clone(working))).is_ok() {
            working.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests that are being answered by models of this pool.
    pub fn working(&self, pool: &str) -> u32 {
        self.working.get(pool).map_or(0, |working| working.load(Ordering::Relaxed))
    }
}

impl Admitted {
    /// What became of it; the first word counts.
    pub fn ended(&self, outcome: &'static str) {
        let _ = self.outcome.set(outcome);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let pool = self.pool.get().map_or("", |(pool, working)| {
            working.fetch_sub(1, Ordering::Relaxed);
            pool.as_str()
        });
        let outcome = self.outcome.get().copied().unwrap_or(LEFT);
        self.metrics.inference(pool, self.route.word(), outcome, self.begun.elapsed().as_secs_f64());
    }
}
