//! Carries documents: state, driver, workers, timers, and the services that stages use.

pub mod adaptive;
pub mod approvals;
pub mod breaker;
pub mod cache;
pub mod computing;
pub mod devices;
pub mod driver;
pub mod drivers;
pub mod erasure;
pub mod faults;
pub mod feedback;
pub mod heads;
pub mod inputs;
pub mod learner;
pub mod leftovers;
pub mod metrics;
pub mod models;
pub mod plans;
pub mod progress;
pub mod providers;
pub mod rest;
pub mod retention;
pub mod service_times;
pub mod services;
pub mod standing;
pub mod state;
pub mod stop;
pub mod sweeper;
pub mod templates;
pub mod timers;
pub mod vectors;
pub mod worker;

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis().try_into().unwrap_or(u64::MAX))
}
