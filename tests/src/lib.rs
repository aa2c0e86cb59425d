//! Breaks a running Docket on purpose and checks that no document is lost or done twice.
//!
//! ```text
//!   schedule (seed) ──▶ faults: kill -9, stop, drain, restart ──▶ broker, gateway, workers (real processes)
//!   documents ─────────▶ client: what was accepted, refused, left unclear ─┐
//!   the gateway's answers: what ended, how, and with which output ─────────┴▶ checker: lost, stuck, changed, wrong
//! ```
//!
//! Nothing here knows how Docket works inside: it starts the built command, speaks to its interface, and compares what was
//! promised with what came of it.

pub mod campaign;
pub mod checker;
pub mod client;
pub mod cluster;
pub mod documents;
pub mod process;
pub mod schedule;
