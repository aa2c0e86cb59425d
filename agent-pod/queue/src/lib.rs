//! The six ports that carry documents, and their implementations.
//!
//! Ports know nothing of plans or records: they carry bytes under names. [`memory`] serves tests and work that leaves
//! nothing, [`embedded`] one process on a laptop (redb and files, durable), [`jetstream`] many processes on a cluster
//! (NATS). One contract suite in `tests/` runs on every implementation.

pub mod clock;
mod condemned;
pub mod embedded;
mod events;
mod faults;
pub mod jetstream;
pub mod memory;
pub mod payloads;
mod ports;
mod redelivery;
mod signals;
mod statuses;
mod waiting;
mod weights;

pub use condemned::{Condemned, Mark, Removal};
pub use faults::Faults;
pub use ports::*;
