//! Replays traces against autoscalers: a discrete-event simulation, the same for ours and for others'.
//!
//! Knows no cluster. What happens follows from the trace, the settings and the seed alone.

pub mod bench;
pub mod chain;
pub mod clairvoyant;
pub mod cli;
mod course;
pub mod docket;
pub mod engine;
pub mod faults;
pub mod generate;
pub mod given;
pub mod html;
mod manifest;
pub mod outcome;
pub mod policy;
mod pool;
pub mod random;
pub mod report;
pub mod rivals;
pub mod search;
pub mod service;
pub mod trace;
pub mod variations;
