//! How a document moves through a pipeline, as pure functions.
//!
//! A [`Plan`] is a pipeline, compiled and checked. A [`DocumentRecord`] is the small state of one document. [`transition`]
//! makes the next record from an event. There is no I/O here, no clock and no async: time comes in as a parameter, effects
//! go out as values, so every crash and every order of events can be tested.
#![deny(missing_docs)]

mod budget;
pub mod keys;
mod plan;
mod record;
mod size;
mod spent;
mod status;
mod traces;
mod transition;
mod waits;
mod wire;

pub use budget::Allowance;
pub use plan::{Plan, PlannedStage, Problem, RESULTS_POOL, RESULTS_STAGE, STAGE_TIMEOUT, compile, fallbacks};
pub use record::*;
pub use size::size_class;
pub use spent::{NanoCost, Spent, nano_cost, units};
pub use status::{
    CacheCounts, DueInWork, GatewayStatus, HeldModel, LearnedHead, PipelineTally, PodStatus, PoolOrders, ServiceTime,
};
pub use traces::Traces;
pub use transition::{Answer, Event, Transition, reason, refuse, submit, transition};
pub use waits::{WAIT_BOUNDS, WAIT_BUCKETS, WaitCounts, late};
pub use wire::DecodeError;
