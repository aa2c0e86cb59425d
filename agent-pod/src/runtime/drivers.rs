//! From a document's pipeline to the driver of its records: one run in one process, or all pipelines of a store.

use std::sync::Arc;

use queue::Ports;

use super::{driver::Driver, metrics::Metrics, plans::Plans};

/// Finds the driver of a document.
#[derive(Clone)]
pub struct Drivers {
    ports: Ports,
    plans: Arc<Plans>,
    metrics: Arc<Metrics>,
    run: Option<Arc<Driver>>,
}

impl Drivers {
    /// Every document belongs to the one run.
    pub fn of_run(driver: &Arc<Driver>) -> Self {
        Self {
            ports: driver.ports.clone(),
            plans: Arc::clone(&driver.plans),
            metrics: Arc::clone(&driver.metrics),
            run: Some(Arc::clone(driver)),
        }
    }

    /// Documents of all pipelines of a store.
    pub fn of_store(ports: Ports, metrics: Arc<Metrics>) -> Self {
        let plans = Arc::new(Plans::new(Arc::clone(&ports.records)));
        Self { ports, plans, metrics, run: None }
    }

    /// The driver of a pipeline's documents. Making one costs next to nothing, so none is kept.
    pub fn of(&self, pipeline: &str) -> Arc<Driver> {
        let new =
            || Driver::of_pipeline(pipeline, self.ports.clone(), Arc::clone(&self.plans), Arc::clone(&self.metrics));
        self.run.as_ref().map_or_else(|| Arc::new(new()), Arc::clone)
    }

    /// The queue's name of a pool.
    pub fn pool(&self, pool: &str) -> String {
        self.run.as_ref().map_or_else(|| pool.to_owned(), |run| run.scope.pool(pool))
    }

    /// Whether an alarm of this id concerns anybody: those of an earlier run do not.
    pub fn expects_alarm(&self, id: &str) -> bool {
        let of_run = |run: &Arc<Driver>| id.strip_prefix(run.scope.name()).is_some_and(|rest| rest.starts_with('/'));
        self.run.as_ref().is_none_or(of_run)
    }

    /// The ports of the store.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The metrics that the drivers count into.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The plans of the store.
    pub fn plans(&self) -> &Arc<Plans> {
        &self.plans
    }
}
