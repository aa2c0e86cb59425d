//! Breaks a running Docket on purpose and checks that no document is lost or done twice; and measures what its queue costs.
//!
//! ```text
//!   schedule (seed) ──▶ faults: kill -9, stop, drain, restart ──▶ broker, gateway, workers (real processes)
//!   documents ─────────▶ client: what was accepted, refused, left unclear ─┐
//!   the broker: every change of every record ──▶ ledger: what was repeated ┤
//!   the gateway's answers: what ended, how, and with which output ─────────┴▶ checker: lost, stuck, repeated, wrong
//! ```
//!
//! Everything is done to the built command, from outside. What it does inside is known in two places: `ledger` reads the
//! records as they are written, and processes are told to die at steps of their work (`agent-pod/src/runtime/faults.rs`).

pub mod broker;
pub mod campaign;
pub mod cases;
pub mod checker;
pub mod client;
pub mod cluster;
pub mod documents;
pub mod ledger;
pub mod load;
pub mod measure;
pub mod process;
pub mod proxy;
pub mod report;
pub mod s3;
pub mod schedule;
pub mod tools;
