//! Carries documents: state, driver, workers, timers, and the services that stages use.

pub mod breaker;
pub mod cache;
pub mod driver;
pub mod drivers;
pub mod faults;
pub mod heads;
pub mod inputs;
pub mod metrics;
pub mod models;
pub mod plans;
pub mod progress;
pub mod services;
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
