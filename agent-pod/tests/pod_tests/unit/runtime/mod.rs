//! What carries documents: drivers, workers, timers, caches, providers.

mod adaptive;
mod breaker;
mod cache;
mod devices;
mod driver;
mod erasure;
mod faults;
mod feedback;
mod learner;
mod metrics;
mod ports;
mod progress;
mod providers;
mod rest;
mod retention;
mod service_times;
mod sweeper;
mod templates;
mod timers;
mod vectors;
mod worker;
